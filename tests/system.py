"""A small running system for tests: a database and a Redis of its own, the real sink, and real worker processes.

It is what ``up`` starts without the API: events are accepted in this process, by the same service.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
import psycopg
import redis

from app.adapters.postgresql.catalogue import PostgresqlCatalogue
from app.adapters.postgresql.database import Database
from app.adapters.postgresql.reading import Reading
from app.adapters.postgresql.store import PostgresqlStore
from app.adapters.redis.connection import connect
from app.bootstrap import Services, celery_application
from app.control_plane.publishing import Change, Plan
from app.control_plane.release_desk import ReleaseDesk, Request
from app.data_plane.ingestion.accept import Accepted, Submission
from app.data_plane.orchestration.approvals import Answer, awaiting, give
from app.data_plane.orchestration.recorder import Recorder
from app.data_plane.ports import Queue
from app.data_plane.replay.verify import verify
from app.data_plane.tools import load_tools
from app.kernel.clock import SystemClock
from app.kernel.errors import PermanentError
from app.kernel.release import Release
from app.supervisor.embedded import EmbeddedServers
from config import topology
from config.settings import CHECKOUT, Settings
from config.topology import WorkerGroup
from tests.eventually import assert_eventually

EVERYTHING = (WorkerGroup("everything", tuple(Queue), "threads", 8),)
"""One process for all queues: enough to show what carries the work."""
BY_TESTS = Change("tests", "a test's own system")
STOP_SECONDS = 30.0

_OPEN = """
SELECT w.queue, w.stage, w.subject, w.step_id, w.attempts, w.open_members, w.leased_by, w.due_at - clock_timestamp()
FROM work_index w WHERE w.finished_at IS NULL ORDER BY w.queue, w.step_id LIMIT 12
"""


@dataclass(frozen=True, slots=True)
class Counts:
    """What the sink received."""

    received: int
    applied: int
    repeated: int


class RunningSystem:
    """Redis, the sink and workers, for as long as the ``with`` block lasts.

    Args:
        database_url: a migrated database of the test's own.
        home: the run folder of this system alone.
        groups: the worker processes.
        beat: whether the reconciler's clock runs.
        environment: settings of the workers (``INTERLOCK_*``) and of Python.
        application: the module given to ``celery -A``.
        tool_modules: a team's own modules of tools, which every process imports.
    """

    def __init__(
        self,
        database_url: str,
        home: Path,
        *,
        groups: Sequence[WorkerGroup] = EVERYTHING,
        beat: bool = False,
        environment: Mapping[str, str] | None = None,
        application: str = "tasks",
        tool_modules: tuple[str, ...] = (),
    ) -> None:
        self.home = home
        self.database_url = database_url
        self._groups = groups
        self._beat = beat
        self._application = application
        self._servers = EmbeddedServers(home, postgresql=False, durable=False)
        self._settings = Settings(
            home=home,
            database_url=database_url,
            redis_url=self._servers.redis_url,
            tool_modules=tool_modules,
        )
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("INTERLOCK_")},
            **topology.WORKER_ENVIRONMENT,
            "INTERLOCK_HOME": str(home),
            "INTERLOCK_DATABASE_URL": database_url,
            "INTERLOCK_REDIS_URL": self._servers.redis_url,
            "INTERLOCK_RECONCILE_SECONDS": "0.5",
            "INTERLOCK_LOG_LEVEL": "WARNING",
            "INTERLOCK_TOOL_MODULES": ",".join(tool_modules),
            **(environment or {}),
        }
        self._processes: list[subprocess.Popen[bytes]] = []
        self._sink = ""
        self.redis: redis.Redis = connect(self._servers.redis_url)
        self.services = Services(self._settings, celery_application(self._settings), "interlock_api")

    @property
    def environment(self) -> Mapping[str, str]:
        """Of every process of the system; one that a test starts beside them needs it, too."""
        return self._environment

    def __enter__(self) -> Self:
        (self.home / "logs").mkdir(parents=True, exist_ok=True)
        (self.home / "run").mkdir(exist_ok=True)
        self._servers.start()
        try:
            self._start_sink()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start_workers(self) -> None:
        """Start the declared worker processes, and beat when it is wanted; messages may wait for them already."""
        for group in self._groups:
            self.start_worker(group, group.name)
        if self._beat:
            self._start("beat", topology.beat(self._settings))

    def start_worker(
        self, group: WorkerGroup, name: str, *, application: str | None = None
    ) -> subprocess.Popen[bytes]:
        """One more worker process, as ``celery -A tasks worker -Q ... -n NAME@%h``; ``application`` if another's."""
        command = topology.worker(group, self._settings, name=name)
        return self._start(name, command, application=application)

    def start(self, name: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start another process of the installation beside the workers, such as the API or the exporter."""
        return self._start(name, command)

    def stop(self) -> None:
        """End what was started, by its own process ids."""
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()
        self.services.close()
        self.redis.close()
        self._servers.stop()

    def publish_shipped(
        self, folder: Path = CHECKOUT / "config", *, route: bool = True, provider: str | None = None
    ) -> None:
        """Publish the shipped documents, and let them take the traffic; ``provider`` answers for every agent."""
        request = Request(folder, BY_TESTS, route=route, provider=provider)
        with self._catalogue() as catalogue:
            ReleaseDesk(catalogue, load_tools(self._settings.tool_modules)).publish(request)

    def publish(self, release: Release, documents: Path = CHECKOUT / "config") -> None:
        """Publish and route one release of a test's own, with the demo's tenant and nothing else routed."""
        self.publish_shipped(documents, route=False)
        self.publish_one(release)

    def publish_one(self, release: Release) -> None:
        """Publish and route a release; its tenant is published already."""
        with self._catalogue() as catalogue:
            catalogue.publish(Plan((), (release,), 0, 0), "tests")
            catalogue.route(release.workflow, "stable", release.digest, BY_TESTS)

    def accept(self, submissions: Sequence[Submission]) -> list[Accepted]:
        """Accept a batch of events; none may be refused."""
        answers = self.services.ingestion.accept(submissions)
        accepted = []
        for answer in answers:
            if isinstance(answer, PermanentError):
                raise answer
            accepted.append(answer)
        return accepted

    def wait_until_all_ended(self, *, within: float = 60.0, consenting: str = "") -> None:
        """Wait until every orchestration is closed; what is stuck is told.

        Args:
            consenting: who consents meanwhile to all that waits for a person; nobody does when it is empty.
        """

        def ended() -> bool:
            if consenting:
                self.consent_to_all(consenting)
            return not self.open_orchestrations()

        try:
            assert_eventually(ended, within=within)
        except AssertionError:
            raise AssertionError(self._what_is_stuck(within)) from None

    def consent_to_all(self, actor: str) -> int:
        """Have a person consent to every action that waits for one; returns to how many."""
        given = 0
        waiting = "SELECT tenant_id, orchestration_id FROM orchestrations WHERE status = 'awaiting_approval'"
        with closing(Database(self.database_url, "interlock_worker", size=1)) as database:
            store = PostgresqlStore(database, SystemClock())
            recorder = Recorder(store, self.services.releases, self.services.carrier)
            for tenant, key in self.rows(waiting):
                facts = store.histories([tenant], [key])[key].facts
                for action in awaiting(facts):
                    answer = Answer(tenant, key, action, consents=True, actor=actor, reason="a test's")
                    give(recorder, answer, SystemClock().now)
                    given += 1
        return given

    def open_orchestrations(self) -> int:
        """How many orchestrations are not closed."""
        return int(self.rows("SELECT count(*) FROM orchestrations WHERE closed_at IS NULL")[0][0])

    def rows(self, query: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """What the database's owner reads."""
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(query, parameters).fetchall()

    def count_by(self, table: str, column: str) -> dict[str, int]:
        """How many rows there are, by the values of a column."""
        return dict(self.rows(f"SELECT {column}, count(*) FROM {table} GROUP BY 1 ORDER BY 1"))

    def sink_counts(self) -> Counts:
        """What the sink received and applied."""
        body = httpx2.get(f"{self._sink}/v1/counts", trust_env=False).json()
        return Counts(body["received"], body["applied"], body["repeated"])

    def sink_keys(self) -> list[str]:
        """The idempotency key of every effect that was applied."""
        return [effect["key"] for effect in self.sink_effects()]

    def sink_effects(self) -> list[dict[str, Any]]:
        """Every effect that was applied, the newest first, as the sink keeps it."""
        body = httpx2.get(f"{self._sink}/v1/effects?limit=10000", trust_env=False).json()
        effects: list[dict[str, Any]] = body["effects"] if isinstance(body, dict) else body
        return effects

    def verify_all(self) -> dict[str, str]:
        """Why each orchestration that does not verify does not."""
        reading = Reading(self.services.database)
        return {
            found.orchestration_id: str(found.difference)
            for view in reading.all_views()
            if not (found := verify(view.record, self.services.releases.get(view.row.release))).matches
        }

    @contextmanager
    def _catalogue(self) -> Iterator[PostgresqlCatalogue]:
        database = Database(self.database_url, "interlock_control")
        yield PostgresqlCatalogue(database)
        database.close()

    def _start(
        self, name: str, command: Sequence[str], *, application: str | None = None
    ) -> subprocess.Popen[bytes]:
        program, *arguments = command
        argv = [sys.executable, *(["-m", "celery"] if program == "celery" else []), *arguments]
        if "-A" in argv:
            argv[argv.index("-A") + 1] = application or self._application
        with (self.home / "logs" / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                argv, cwd=CHECKOUT, env=self._environment, stdout=log, stderr=subprocess.STDOUT
            )
        self._processes.append(process)
        return process

    def _start_sink(self) -> None:
        process = self._start("sink", ("python", "-m", "app", "sink", "--port", "0"))
        log = self.home / "logs" / "sink.log"
        assert_eventually(lambda: b"\n" in log.read_bytes() or process.poll() is not None, what="the sink")
        self._sink = log.read_text().splitlines()[0]
        self._environment["INTERLOCK_DEMO_SINK_URL"] = self._sink

    def _what_is_stuck(self, within: float) -> str:
        logs = [
            f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-8:])
            for log in sorted((self.home / "logs").glob("*.log"))
        ]
        steps = "\n".join(" ".join(str(value) for value in row) for row in self.rows(_OPEN))
        states = self.count_by("orchestrations", "status")
        return f"after {within:g} s: {states}; open steps:\n{steps}\n" + "\n".join(logs)
