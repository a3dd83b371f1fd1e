"""Runs Interlock under the same load and fault, and reads off the same sinks and its own record what came of it."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from app.adapters.postgresql.migrate import upgrade
from app.bootstrap import celery_application
from app.data_plane.ports import Queue
from app.supervisor.embedded import EmbeddedServers
from app.supervisor.run_folder import RunFolder
from config.settings import Settings
from config.topology import WorkerGroup
from tests.acceptance.two_sinks import FORGETFUL, TwoSinks, issues, two_sinks, two_sinks_release
from tests.eventually import assert_eventually
from tests.faults import plain_chord_load as load
from tests.faults.plain_chord_load import Environment, Fault, Outcome, Scenario
from tests.system import RunningSystem

CHILDREN_EACH = 8
APPLICATION = "tests.faults.plain_chord_counted"


@dataclass
class InterlockWorkers:
    """Workers that serve every queue."""

    system: RunningSystem
    group: WorkerGroup
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def pids(self) -> Sequence[int]:
        """Those that are up."""
        return [process.pid for process in self.processes if process.poll() is None]

    def start_another(self) -> None:
        """One more."""
        self.processes.append(self.system.start_worker(self.group, f"interlock{len(self.processes)}"))


@dataclass
class Measured:
    """Interlock, running."""

    scenario: Scenario
    sinks: TwoSinks
    system: RunningSystem
    workers: InterlockWorkers
    home: Path

    def run(self) -> Outcome:
        """Begin the load, let the fault happen, and wait for the end or the deadline."""
        settings = Settings(home=self.home, redis_url=RunFolder(self.home).redis_url)
        celery = celery_application(settings)
        assert_eventually(
            lambda: len(celery.control.ping(timeout=0.5) or ()) >= 2, within=120, what="two workers answer"
        )
        started = time.monotonic()
        evidence = load.begin_all(
            self.scenario, lambda name: self.system.accept(issues([name])), self.sinks, self._fault
        )
        deadline = time.monotonic() + self.scenario.deadline_seconds
        while time.monotonic() < deadline and self.system.open_orchestrations():
            time.sleep(0.2)
        return self._judge(time.monotonic() - started, evidence)

    def _fault(self) -> str:
        match self.scenario.fault:
            case Fault.WORKER_KILLED:
                return load.kill_worker(self.workers)
            case Fault.FLUSHED:
                held = self._number(
                    "SELECT count(*) FROM work_index WHERE finished_at IS NULL AND leased_by IS NOT NULL"
                )
                self.system.redis.flushall()
                return f"{held} steps in hand when Redis forgot their messages"
            case Fault.CHILD_KILLED:
                return load.kill_children(self.workers, self.scenario.seed)
        return "no fault"

    def _judge(self, seconds: float, evidence: str) -> Outcome:
        rows = self.system.rows(
            "SELECT o.event_id, o.closed_at IS NOT NULL, a.target, a.idempotency_key, a.state"
            " FROM orchestrations o LEFT JOIN actions a USING (orchestration_id)"
        )
        honouring, forgetful = self.sinks.honouring.applied(), self.sinks.forgetful.applied()
        doubted = [row for row in rows if row[4] == "in_doubt"]
        lacking = {
            event
            for event, _, target, key, state in rows
            if state != "in_doubt" and not (forgetful if target == FORGETFUL else honouring)[key]
        }
        still_open = {event for event, closed, *_ in rows if not closed}
        accepted = {row[0] for row in rows}
        doubled = {row[0] for row in rows if row[2] == FORGETFUL and forgetful[row[3]] > 1}
        lapses = self._number("SELECT coalesce(sum(lapses), 0) FROM work_index")
        return Outcome(
            finished=len(accepted - lacking - still_open - doubled - {row[0] for row in doubted}),
            lost=self.scenario.workflows - len(accepted) + len(lacking - still_open),
            stuck=len(still_open),
            in_doubt=len(doubted),
            doubled=len(doubled),
            absorbed=(self.sinks.honouring.received() - honouring).total(),
            model_calls=load.noted(self.home / "model_calls"),
            redelivered=load.noted(self.home / "redelivered"),
            seconds=seconds,
            evidence=f"{evidence}; {lapses} leases ended without a result",
        )

    def _number(self, query: str) -> int:
        return int(self.system.rows(query)[0][0])


def measure(scenario: Scenario) -> Outcome:
    """One run of Interlock, with servers and sinks of its own."""
    with _running(scenario) as measured:
        return measured.run()


@contextmanager
def _running(scenario: Scenario) -> Iterator[Measured]:
    with (
        tempfile.TemporaryDirectory(prefix="interlock-plain-") as folder,
        EmbeddedServers(Path(folder) / "pg", durable=False, redis=False) as servers,
        two_sinks(Path(folder) / "sinks", delay_seconds=load.STEP_SECONDS) as sinks,
    ):
        upgrade(servers.database_url)
        home = Path(folder)
        system = RunningSystem(
            servers.database_url,
            home,
            groups=(),
            beat=True,
            environment=_environment(scenario, home),
            application=APPLICATION,
        )
        with system:
            system.publish(two_sinks_release(agent_seconds=load.STEP_SECONDS), sinks.documents)
            group = WorkerGroup("interlock", tuple(Queue), scenario.pool, CHILDREN_EACH)
            workers = InterlockWorkers(system, group)
            system.start_workers()
            for _ in range(2):
                workers.start_another()
            yield Measured(scenario, sinks, system, workers, home)


def _environment(scenario: Scenario, home: Path) -> dict[str, str]:
    environment = {
        Environment.MODEL_CALLS: str(home / "model_calls"),
        Environment.REDELIVERED: str(home / "redelivered"),
        "INTERLOCK_RECONCILE_SECONDS": "2",
    }
    if scenario.visibility_seconds is not None:
        environment["INTERLOCK_UNSAFE_VISIBILITY_TIMEOUT_SECONDS"] = str(scenario.visibility_seconds)
    return environment
