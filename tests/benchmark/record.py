"""What the record costs: verifying it, anchoring it, archiving it. Over orchestrations cloned from a recorded one."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from app.adapters.anchor_file import AnchorFolder
from app.adapters.archive_file import ArchiveFolder
from app.adapters.postgresql.anchoring import PostgresqlHeads
from app.adapters.postgresql.auditing import journals_as_of_now
from app.adapters.postgresql.database import Database
from app.adapters.postgresql.migrate import upgrade
from app.adapters.postgresql.retention import PostgresqlClosed
from app.adapters.scratch_notes import ScratchNotes
from app.data_plane.audit.anchorer import Anchorer
from app.data_plane.audit.verify import Audit, Auditor
from app.data_plane.retention.retention import Cut, Retained, Retention
from app.kernel.clock import SystemClock
from app.supervisor.embedded import EmbeddedServers
from tests.cloned_histories import Past, clone, put, put_tenants

AT_ONCE = 500
RECENT = 100

T = TypeVar("T")


@dataclass(frozen=True)
class Record:
    """What was measured over a journal of ``facts`` facts; times in seconds."""

    facts: int
    first_look: float
    idle_look: float
    busy_look: float
    """With 100 orchestrations recorded since the last one."""
    verifying: float
    removed: int
    removing: float


def measure(orchestrations: int) -> Record:
    """Half of them old enough to be removed."""
    with tempfile.TemporaryDirectory(prefix="interlock-bench-") as folder:
        home = Path(folder)
        with EmbeddedServers(home, redis=False) as servers:
            upgrade(servers.database_url)
            put_tenants(servers.database_url)
            for start in range(0, orchestrations, AT_ONCE):
                numbers = range(start, min(start + AT_ONCE, orchestrations))
                age = timedelta(days=60 if start < orchestrations // 2 else 1)
                put(servers.database_url, [Past(clone(number), age) for number in numbers])
            return _measure(servers.database_url, home, orchestrations)


def _measure(url: str, home: Path, orchestrations: int) -> Record:
    worker = Database(url, "interlock_worker")
    anchorer = Anchorer(PostgresqlHeads(worker), AnchorFolder(home / "anchors"), SystemClock())
    first, _ = _timed(anchorer.anchor)
    idle, _ = _timed(anchorer.anchor)
    put(url, [Past(clone(number), timedelta()) for number in range(orchestrations, orchestrations + RECENT)])
    busy, _ = _timed(anchorer.anchor)
    worker.close()
    verifying, audit = _timed(lambda: _verify(url, home))
    if not audit.whole:
        raise AssertionError(f"the benchmark's own record is not whole: {audit.faults[0]}")
    removing, retained = _timed(lambda: _retain(url, home))
    return Record(audit.facts, first, idle, busy, verifying, retained.orchestrations, removing)


def _verify(url: str, home: Path) -> Audit:
    database = Database(url, "interlock_api", size=1)
    written = AnchorFolder(home / "anchors").as_of_now()
    with journals_as_of_now(database) as journals, ScratchNotes() as notes:
        if journals is None:
            raise AssertionError("the benchmark has no tenant")
        audit = Auditor(journals, written, notes).verify()
    database.close()
    return audit


def _retain(url: str, home: Path) -> Retained:
    database = Database(url, "interlock_retention", size=1)
    closed = PostgresqlClosed(database, ["demo"])
    cut = Cut(closed.before(timedelta(days=30).total_seconds()))
    archives = ArchiveFolder(home / "archive", SystemClock())
    retained = Retention(closed, archives, AnchorFolder(home / "anchors"), SystemClock()).remove(
        cut, size=500
    )
    database.close()
    return retained


def _timed(do: Callable[[], T]) -> tuple[float, T]:
    began = time.perf_counter()
    done = do()
    return time.perf_counter() - began, done
