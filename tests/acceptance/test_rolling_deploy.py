"""Old and new code side by side: workers are ended and replaced under load, and nobody notices.

``make rolling-deploys`` makes it as long as for the figures in docs/reliability.md.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from app.adapters.postgresql.reading import Reading
from app.adapters.postgresql.releases import PostgresqlReleases
from app.bootstrap import celery_application
from app.data_plane.ports import Queue
from app.data_plane.replay.verify import verify
from app.data_plane.tools import load_tools, registry
from app.kernel.release import Release
from app.supervisor.run_folder import RunFolder
from config.settings import Settings
from config.topology import WorkerGroup
from interlock.identity import orchestration_id
from tests.acceptance.newer_version import NEWER_TOOL, newer_release
from tests.acceptance.two_sinks import PATIENCE_SECONDS, TwoSinks, issues, two_sinks, two_sinks_release
from tests.eventually import assert_eventually
from tests.system import RunningSystem

DEPLOYS = int(os.environ.get("ROLLING_DEPLOYS", "2"))
"""How often every worker is ended with SIGTERM and replaced."""
OLD, NEW = "tests.acceptance.older_code", "tests.acceptance.newer_code"
EVERYTHING = WorkerGroup("everything", tuple(Queue), "threads", 8)
WORKERS = 2
TURNS = DEPLOYS * WORKERS
BATCH = 2
SECONDS_BETWEEN_BATCHES = 0.5
AGENT_SECONDS = 0.5
STEADY, CHANGING = "steady", "changing"
"""Two workflows that take every event: one keeps its release, the other gets one that only new code can run."""


@dataclass
class Load:
    """Events that keep coming, and the release that each of their orchestrations was promised."""

    system: RunningSystem
    promised: dict[str, str] = field(default_factory=dict)
    _routed: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def publish(self, release: Release, documents: Path) -> None:
        """Publish it and let it take its workflow's events from the next batch on."""
        with self._lock:
            self.system.publish(release, documents)
            self._routed[release.workflow] = release.digest

    def send(self) -> None:
        """One batch of events."""
        with self._lock:
            names = [f"event-{len(self.promised)}-{number}" for number in range(BATCH)]
            self.system.accept(issues(names))
            for name in names:
                for workflow, release in self._routed.items():
                    self.promised[orchestration_id("demo", "/tests", name, workflow)] = release

    @contextmanager
    def keeps_coming(self) -> Iterator[None]:
        """Send a batch now and then, until the block ends."""
        enough = threading.Event()

        def go_on() -> None:
            while not enough.wait(SECONDS_BETWEEN_BATCHES):
                self.send()

        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            yield
        finally:
            enough.set()
            thread.join()


@dataclass
class Fleet:
    """The workers that are up, and what the ended ones were in the middle of."""

    system: RunningSystem
    home: Path
    up: list[subprocess.Popen[bytes]] = field(default_factory=list)
    started: int = 0
    ended_at_work: int = 0
    crashed: list[str] = field(default_factory=list)
    """The last words of those that did not end well."""

    def add(self, application: str) -> None:
        """Start one more and wait until it answers."""
        self.started += 1
        name = f"worker{self.started}"
        self.up.append(self.system.start_worker(EVERYTHING, name, application=application))
        celery = celery_application(Settings(home=self.home, redis_url=RunFolder(self.home).redis_url))
        assert_eventually(
            lambda: any(
                answer.startswith(f"{name}@")
                for one in celery.control.ping(timeout=0.3) or ()
                for answer in one
            ),
            within=PATIENCE_SECONDS,
            what=f"{name} answers",
        )

    def end_the_oldest(self) -> None:
        """SIGTERM while it holds leases, if it comes to hold any, and wait for its end."""
        oldest = self.up.pop(0)
        try:
            assert_eventually(lambda: self._holds(oldest.pid) > 0, within=3)
            self.ended_at_work += 1
        except AssertionError:
            pass
        oldest.send_signal(signal.SIGTERM)
        if oldest.wait(60) != 0:
            log = (self.home / "logs" / f"worker{self.started - WORKERS}.log").read_text(errors="replace")
            self.crashed.append(log[-4000:])

    def _holds(self, pid: int) -> int:
        held = "SELECT count(*) FROM work_index WHERE finished_at IS NULL AND leased_by LIKE %s"
        return int(self.system.rows(held, [f"%:{pid}:%"])[0][0])


def what_does_not_verify(system: RunningSystem) -> dict[str, str]:
    """In a process of the newer code: the old one cannot load the newer release."""
    releases = PostgresqlReleases(system.services.database, load_tools())
    return {
        found.orchestration_id: str(found.difference)
        for view in Reading(system.services.database).all_views()
        if not (found := verify(view.record, releases.get(view.row.release))).matches
    }


def waiting(system: RunningSystem) -> int:
    """How many orchestrations no worker that met them could load the release of."""
    return system.count_by("orchestrations", "status").get("waiting_for_release", 0)


def code_of(turn: int) -> str:
    """New and old in turn, so that they stay side by side all the time; at last every worker is new."""
    return NEW if turn % 2 == 0 or turn >= TURNS - WORKERS else OLD


@contextmanager
def two_old_workers(database_url: str, home: Path) -> Iterator[tuple[Load, Fleet, TwoSinks]]:
    """Two workers of the old code, and both workflows on their first release."""
    with (
        two_sinks(home / "sinks", delay_seconds=0.05) as sinks,
        RunningSystem(database_url, home, beat=True, groups=()) as system,
    ):
        load, fleet = Load(system), Fleet(system, home)
        system.start_workers()
        for name in (STEADY, CHANGING):
            load.publish(two_sinks_release(agent_seconds=AGENT_SECONDS, name=name), sinks.documents)
        for _ in range(WORKERS):
            fleet.add(OLD)
        yield load, fleet, sinks


def test_workers_are_replaced_under_load_by_newer_and_older_ones(
    fresh_database: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0 duplicate effects, nothing stuck, in doubt or failed; every orchestration ends on the release it began with."""
    with two_old_workers(fresh_database, home) as (load, fleet, sinks):
        system = load.system
        newer = newer_release(two_sinks_release(agent_seconds=AGENT_SECONDS, name=CHANGING))
        with load.keeps_coming():
            assert_eventually(
                lambda: len(load.promised) >= 24 and system.open_orchestrations() > 0,
                what="work on the first releases",
            )
            load.publish(newer, sinks.documents)
            assert_eventually(lambda: waiting(system) > 0, what="old workers leave the newer release alone")
            for turn in range(TURNS):
                fleet.add(code_of(turn))
                fleet.end_the_oldest()
        system.wait_until_all_ended(within=PATIENCE_SECONDS)

        sinks.assert_each_effect_happened_once(system, len(load.promised))
        pinned = dict(system.rows("SELECT orchestration_id, release FROM orchestrations"))
        assert pinned == load.promised
        assert len(set(pinned.values())) == 3, "both workflows' first releases, and the newer one"
        of_the_newer_code = registry.Registry([*map(registry.find, load_tools()), NEWER_TOOL])
        monkeypatch.setattr(registry, "_registry", of_the_newer_code)
        assert what_does_not_verify(system) == {}
        print(
            f"\n{DEPLOYS} deploys of {WORKERS} workers: {fleet.ended_at_work} of {TURNS} were ended with"
            f" leases in hand; {len(pinned)} orchestrations, by release {sorted(Counter(pinned.values()).values())};"
            f" applied {sinks.honouring.applied().total()} at the sink that honours keys,"
            f" {sinks.forgetful.applied().total()} at the other;"
            f" {len(fleet.crashed)} workers did not end well"
        )
        assert fleet.crashed == []
        assert fleet.ended_at_work > 0, "no worker was in the middle of anything"
