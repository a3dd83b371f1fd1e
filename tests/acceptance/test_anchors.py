"""A running service anchors what it records, by itself, within seconds; and it is found as it was recorded.

Also when one of its workers is killed, and while retention archives and removes beside it.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import psycopg

from app.adapters.anchor_file import AnchorFolder
from app.adapters.archive_file import ArchiveFolder, read_archive
from app.adapters.postgresql.auditing import journals_as_of_now
from app.adapters.postgresql.database import Database
from app.adapters.postgresql.retention import PostgresqlClosed
from app.adapters.scratch_notes import ScratchNotes
from app.data_plane.audit.verify import Audit, Auditor
from app.data_plane.retention.retention import Cut, Retained, Retention
from app.kernel.clock import SystemClock
from tests.acceptance.test_snapshot_is_pinned import alert
from tests.eventually import assert_eventually
from tests.independent_verifier import first_bad
from tests.system import EVERYTHING, RunningSystem


def audit(system: RunningSystem) -> Audit:
    """What ``audit verify`` finds now, beside the service."""
    written = AnchorFolder(system.home / "anchors").as_of_now()
    with journals_as_of_now(system.services.database) as journals, ScratchNotes() as notes:
        assert journals is not None
        found = Auditor(journals, written, notes).verify()
    assert found.faults == []
    return found


def retain(system: RunningSystem, *, days: int) -> Retained:
    """What ``retention --older-than DAYSd --batch 2`` does."""
    database = Database(system.database_url, "interlock_retention", size=1)
    closed = PostgresqlClosed(database, ["demo"])
    clock = SystemClock()
    archives, anchors = ArchiveFolder(system.home / "archive", clock), AnchorFolder(system.home / "anchors")
    cut = Cut(closed.before(timedelta(days=days).total_seconds()))
    done = Retention(closed, archives, anchors, clock).remove(cut, size=2)
    database.close()
    return done


def grow_old(system: RunningSystem, *, days: int) -> None:
    """As if everything had happened so many days earlier."""
    ago = timedelta(days=days)
    with psycopg.connect(system.database_url) as connection:
        connection.execute(
            "UPDATE orchestrations SET created_at = created_at - %s, closed_at = closed_at - %s", [ago, ago]
        )
        connection.execute("UPDATE payloads SET put_at = put_at - %s", [ago])


def test_a_running_service_anchors_everything_within_seconds_and_is_found_whole(
    fresh_database: str, home: Path
) -> None:
    """The task rings by itself; where a worker died, the next look goes on; what retention takes is not missed."""
    environment = {"INTERLOCK_ANCHOR_SECONDS": "0.5"}
    with RunningSystem(fresh_database, home, beat=True, environment=environment) as system:
        system.publish_shipped()
        system.start_workers()
        second = system.start_worker(EVERYTHING[0], "second")
        system.accept([alert(f"old-{number}") for number in range(8)])
        audit(system)
        second.kill()
        system.wait_until_all_ended(within=90, consenting="the release manager")
        assert_eventually(lambda: audit(system).anchors.facts_since == 0, what="every fact anchored")
        grow_old(system, days=40)

        system.accept([alert(f"new-{number}") for number in range(8)])
        done = retain(system, days=30)
        system.wait_until_all_ended(within=90, consenting="the release manager")

        assert (done.orchestrations, sum(done.stays.values())) == (8, 0)
        assert done.contents > 0
        assert sum(1 for path in (home / "archive").iterdir() for _ in read_archive(path)) == 8
        assert_eventually(lambda: audit(system).anchors.facts_since == 0, what="every fact anchored")
        assert audit(system).orchestrations == 8
        assert first_bad(fresh_database, home / "anchors") is None
        assert system.verify_all() == {}
        assert len(set(system.sink_keys())) == system.sink_counts().received == 3 * 16
