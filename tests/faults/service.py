"""The service under test: the real ``python -m app up`` in a folder of its own, with the harness's documents and sinks.

With ``proxied`` PostgreSQL and Redis are the harness's, each behind a proxy, and ``up`` finds them by their URLs;
otherwise they are those that ``up`` embeds.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, LiteralString, Self
from urllib.parse import quote

import psycopg

from app.adapters.postgresql.catalogue import PostgresqlCatalogue
from app.adapters.postgresql.database import Database
from app.adapters.postgresql.migrate import upgrade
from app.control_plane.publishing import Change
from app.control_plane.release_desk import ReleaseDesk, Request
from app.data_plane.tools import shipped_tools
from app.supervisor import service
from app.supervisor.embedded import EmbeddedServers
from app.supervisor.process import spawn
from app.supervisor.record import ServiceRecord
from app.supervisor.run_folder import RunFolder
from config.settings import CHECKOUT, Settings
from config.topology import WorkerGroup
from tests.faults.arming import Arming
from tests.faults.evidence import EvidenceFile
from tests.faults.proxy import Proxy, Unix, postgresql_socket
from tests.faults.sinks import SinkUnderTest, three_kinds
from tests.faults.workers import Beside, one_for_all

HERE = Path(__file__).resolve().parent
TENANTS = ("north", "south")
READY_SECONDS = 90.0
COMMAND_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Options:
    """What differs between services under test.

    Args:
        beside: worker processes beside those of ``up``.
        proxied: whether the servers are the harness's, behind proxies.
        planted: whether bugs can be switched on in it (see ``inside/planting.py``).
        environment: settings of the service.
        hang_every: of so many requests the siren applies one without ever answering it; 0 never.
        durable: False saves the disk where no PostgreSQL is ended; only with ``proxied``.
    """

    beside: tuple[WorkerGroup, ...] = field(default_factory=one_for_all)
    proxied: bool = False
    planted: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    hang_every: int = 9
    durable: bool = True


class ServiceUnderTest:
    """The whole service for as long as the ``with`` block lasts; afterwards its folder is gone unless it is kept."""

    def __init__(self, options: Options | None = None, *, keep: Path | None = None) -> None:
        self.options = options or Options()
        self._keep = keep
        self._folder = Path(tempfile.mkdtemp(prefix="interlock-faults-"))
        self._folder.chmod(0o755)
        self.home = self._folder / "home"
        self.outside = self._folder / "outside"
        for folder in (self.home / "logs", self.home / "run", self.outside / "planted" / "on"):
            folder.mkdir(parents=True)
        self.folder = RunFolder(self.home)
        self.arming = Arming(self.outside / "arming")
        self.evidence = EvidenceFile(self.outside / "faults.jsonl")
        self.sinks = {
            kind.name: SinkUnderTest(kind, self.outside) for kind in three_kinds(self.options.hang_every)
        }
        servers_home = self._folder / "servers" if self.options.proxied else self.home
        self.servers = EmbeddedServers(servers_home, durable=self.options.durable)
        self.database_url = self.servers.database_url
        self.redis_url = self.servers.redis_url
        self.proxies: dict[str, Proxy] = {}
        self.one_way: Proxy | None = None
        """Between the worker processes beside those of ``up`` and PostgreSQL, before the proxy that all go through."""
        self.api_port = _free_port()
        self.metrics_port = _free_port()
        self._stack = ExitStack()
        self._up: subprocess.Popen[bytes] | None = None
        self._environment: dict[str, str] = {}
        self.beside: Beside

    @property
    def api_url(self) -> str:
        """Where events are posted to."""
        return f"http://127.0.0.1:{self.api_port}"

    def api_keys(self) -> dict[str, str]:
        """By tenant."""
        return {tenant: f"key-of-{tenant}-for-the-fault-harness" for tenant in TENANTS}

    def signing_keys(self) -> dict[str, str]:
        """By tenant: what its host applications sign with."""
        return {tenant: f"signing-key-of-{tenant}-for-the-fault-harness" for tenant in TENANTS}

    @property
    def environment(self) -> Mapping[str, str]:
        """Of every process of the service; a command of the command line needs it, too."""
        return self._environment

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start_up(self) -> None:
        """Start ``up`` and wait until it is ready. Raises AssertionError with its last words."""
        self.begin_up()
        self.await_up()

    def begin_up(self) -> None:
        """Start ``up`` without waiting for it."""
        with (self.home / "logs" / "up.log").open("ab") as log:
            self._up = spawn(
                [sys.executable, "-m", "app", "up", "--no-flower", "--json"],
                cwd=CHECKOUT,
                output=log,
                env=self._environment,
            )

    def await_up(self) -> None:
        """Wait until ``up`` says that it is ready."""
        assert self._up is not None
        deadline = time.monotonic() + READY_SECONDS
        while True:
            record = self.record()
            supervisor = record.process(service.SUPERVISOR)
            if record.ready and supervisor is not None and supervisor.pid == self._up.pid:
                return
            assert self._up.poll() is None, f"up ended with {self._up.returncode}: {self.last_words('up')}"
            assert time.monotonic() < deadline, f"up is not ready: {self.last_words('up')}"
            time.sleep(0.05)

    def kill_up(self) -> int:
        """``kill -9`` of the supervisor; returns its process id."""
        assert self._up is not None
        self._up.send_signal(signal.SIGKILL)
        self._up.wait()
        return self._up.pid

    def command(self, *arguments: str) -> str:
        """Run ``python -m app`` beside the service, as an operator does; returns what it printed.

        Raises AssertionError with its error.
        """
        done = self._run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ask(self, *arguments: str) -> dict[str, Any]:
        """The JSON object that a command prints, also when it exits with 1 because of what it found."""
        done = self._run(*arguments)
        assert done.returncode in {0, 1}, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "app", *arguments],
            cwd=CHECKOUT,
            env={name: value for name, value in self._environment.items() if not name.startswith("FAULTS_")},
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )

    def stop(self) -> None:
        """End everything, and remove the folder unless it is to be kept."""
        self._stack.close()
        if self._keep is not None:
            for part, name in ((self.home / "logs", "logs"), (self.outside, "outside")):
                if part.exists():
                    shutil.copytree(part, self._keep / self._folder.name / name, dirs_exist_ok=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def record(self) -> ServiceRecord:
        """What the supervisor has written down of its processes."""
        return service.recorded(self.folder)

    def pids(self) -> dict[str, int]:
        """Every process of the service that runs, by name; the sinks are no part of it."""
        found = {
            entry.name: entry.pid for entry in self.record().processes if entry.find() is not None
        } | self.servers.pids()
        return found | self.beside.pids()

    def rows(
        self, query: LiteralString, parameters: Mapping[str, object] | None = None
    ) -> list[tuple[Any, ...]]:
        """What the database's owner reads, past every proxy."""
        with psycopg.connect(self.database_url, connect_timeout=5) as connection:
            return connection.execute(query, parameters).fetchall()

    def execute(self, statement: LiteralString) -> None:
        """What the database's owner changes, past every proxy."""
        with psycopg.connect(self.database_url, connect_timeout=5) as connection:
            connection.execute(statement)

    def last_words(self, name: str) -> str:
        """The end of a process's log."""
        log = self.home / "logs" / f"{name}.log"
        return log.read_text(errors="replace")[-1200:] if log.exists() else "nothing"

    def _start(self) -> None:
        for sink in self.sinks.values():
            sink.begin()
            self._stack.callback(sink.stop)
        self._publish_documents()
        for sink in self.sinks.values():
            sink.ready()
        self._environment = self._make_environment()
        self._stack.callback(self._end_up)
        self.begin_up()
        settings = Settings(home=self.home, log_level="WARNING")
        environment = {**self._environment, **self._way_of_its_own()}
        self.beside = Beside(self.options.beside, settings, environment, self.home / "logs")
        self.beside.start()
        self._stack.callback(self.beside.stop)
        self.await_up()

    def _publish_documents(self) -> None:
        """Before ``up`` looks: where something is published, it publishes nothing of its own."""
        self.servers.start()
        self._stack.callback(self.servers.stop)
        upgrade(self.database_url)
        database = Database(self.database_url, "interlock_control", size=1)
        try:
            request = Request(HERE / "documents", Change("faults", "the fault harness"), route=True)
            ReleaseDesk(PostgresqlCatalogue(database), shipped_tools()).publish(request)
        finally:
            database.close()
        if not self.options.proxied:
            self.servers.stop()
            return
        sockets = self._folder / "proxies"
        sockets.mkdir()
        self.proxies = {
            "postgresql": Proxy(
                postgresql_socket(sockets), postgresql_socket(self.servers.folder.postgres_sockets)
            ),
            "redis": Proxy(Unix(sockets / "redis.sock"), Unix(self.servers.folder.redis_socket)),
        }
        own = self._folder / "way"
        own.mkdir()
        self.one_way = Proxy(postgresql_socket(own), postgresql_socket(sockets))
        for proxy in (*self.proxies.values(), self.one_way):
            self._stack.enter_context(proxy)

    def _make_environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("INTERLOCK_")}
        keys = {f"INTERLOCK_SECRET_{name.upper()}_API_KEY": key for name, key in self.api_keys().items()}
        signing = {
            f"INTERLOCK_SECRET_{name.upper()}_SIGNING_KEY": key for name, key in self.signing_keys().items()
        }
        sinks = {f"FAULTS_{name.upper()}_URL": sink.url for name, sink in self.sinks.items()}
        servers = {}
        if self.options.proxied:
            sockets = self._folder / "proxies"
            servers = {
                "INTERLOCK_DATABASE_URL": _database_at(sockets),
                "INTERLOCK_REDIS_URL": f"unix://{sockets / 'redis.sock'}?db=0",
            }
        planted = {"FAULTS_PLANTED": str(self.outside / "planted")} if self.options.planted else {}
        return {
            **inherited,
            **keys,
            **signing,
            **sinks,
            **servers,
            **planted,
            "INTERLOCK_HOME": str(self.home),
            "INTERLOCK_API_PORT": str(self.api_port),
            "INTERLOCK_METRICS_PORT": str(self.metrics_port),
            "INTERLOCK_TRACE_SAMPLE_RATIO": "0",
            "INTERLOCK_LOG_LEVEL": "WARNING",
            # So that `up` runs no sink of its own.
            "INTERLOCK_DEMO_SINK_URL": sinks["FAULTS_LEDGER_URL"],
            "PYTHONPATH": os.pathsep.join([str(HERE / "site"), str(CHECKOUT)]),
            "PYTHONUNBUFFERED": "1",
            "FAULTS_ARMING": str(self.arming.folder),
            **self.options.environment,
        }

    def _way_of_its_own(self) -> dict[str, str]:
        return {"INTERLOCK_DATABASE_URL": _database_at(self._folder / "way")} if self.one_way else {}

    def _end_up(self) -> None:
        if self._up is not None and self._up.poll() is None:
            self._up.terminate()
            self._up.wait(90)
        service.down(self.folder)


def _database_at(sockets: Path) -> str:
    return f"postgresql://postgres@/interlock?host={quote(str(sockets), safe='')}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
