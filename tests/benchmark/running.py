"""A whole service for a benchmark: embedded servers, the sink and workers, in a temporary run folder."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from app.adapters.postgresql.migrate import upgrade
from app.cli.plan import worker_program
from app.supervisor.children import Children, Program
from app.supervisor.embedded import EmbeddedServers
from app.telemetry.logs import configure_logs
from config import settings, topology
from config.settings import CHECKOUT

_PUBLISH = (
    *("python", "-m", "app", "releases", "publish"),
    *("--route", "--actor", "benchmark", "--reason", "benchmark"),
)

DOCUMENTS = CHECKOUT / "tests" / "benchmark" / "documents"


@dataclass(frozen=True)
class Running:
    """A service that runs; its processes inherited this process's environment."""

    home: Path
    database_url: str
    redis_url: str
    sink_url: str
    children: Children

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """What the database answers, as its owner."""
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(query).fetchall()

    def number(self, query: str) -> int:
        """The one number that the database answers."""
        value = self.rows(query)[0][0]
        assert isinstance(value, int)
        return value

    def wait(self, query: str, wanted: int, *, seconds: float) -> None:
        """Until the number is there. Raises TimeoutError with what it was."""
        ends = time.monotonic() + seconds
        while (found := self.number(query)) < wanted:
            self.children.tick()
            if time.monotonic() > ends:
                raise TimeoutError(
                    f"{query}: {found} of {wanted} after {seconds} s; see {self.home / 'logs'}"
                )
            time.sleep(0.02)


@contextmanager
def service(
    *,
    documents: Path = DOCUMENTS,
    groups: Sequence[topology.WorkerGroup] = topology.ON_ONE_MACHINE,
    environment: dict[str, str] | None = None,
    durable: bool = True,
) -> Iterator[Running]:
    """Start it all, publish ``documents``, and end it all."""
    with (
        tempfile.TemporaryDirectory(prefix="interlock-bench-") as folder,
        _environment(Path(folder), environment),
    ):
        home = Path(folder)
        configure_logs(level="WARNING")
        chosen = settings.load()
        port = _free_port()
        os.environ["INTERLOCK_DEMO_SINK_URL"] = f"http://127.0.0.1:{port}"
        with EmbeddedServers(home, durable=durable) as servers:
            upgrade(servers.database_url)
            children = Children(chosen.folder, CHECKOUT)
            try:
                children.run(Program("publish", (*_PUBLISH, "--folder", str(documents))))
                children.start(Program("sink", ("python", "-m", "app", "sink", "--port", str(port))))
                for group in groups:
                    children.start(worker_program(group, chosen))
                running = Running(
                    home,
                    servers.database_url,
                    servers.redis_url,
                    os.environ["INTERLOCK_DEMO_SINK_URL"],
                    children,
                )
                wait_for_workers(running, len(groups))
                yield running
            finally:
                children.stop()


@contextmanager
def _environment(home: Path, more: dict[str, str] | None) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(
        {"INTERLOCK_HOME": str(home), "INTERLOCK_TRACE_SAMPLE_RATIO": "0", "INTERLOCK_LOG_LEVEL": "WARNING"}
    )
    os.environ.update(more or {})
    settings.load.cache_clear()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        settings.load.cache_clear()


def wait_for_workers(running: Running, count: int) -> None:
    """Until that many workers answer. Raises TimeoutError."""
    from app.bootstrap import celery_application

    application = celery_application(settings.load())
    ends = time.monotonic() + 90
    while len(application.control.ping(timeout=0.5)) < count:
        running.children.tick()
        if time.monotonic() > ends:
            raise TimeoutError(f"the workers did not start; see {running.home / 'logs'}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
