"""The spans of a prefork pool's children: written by themselves, and by nobody else, until their very end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from app.adapters.opentelemetry.exporters import TracingOptions, configure
from app.adapters.postgresql.migrate import upgrade
from app.supervisor.embedded import EmbeddedServers
from app.telemetry import tracing
from app.telemetry.tracing import Keys
from config import settings
from tests.eventually import assert_eventually
from tests.recorded_spans import recorded_spans

WORKER = (
    *(sys.executable, "-m", "celery", "-A", "tests.integration.traced_worker", "worker"),
    *("--pool", "prefork", "--concurrency", "1", "--max-tasks-per-child", "2"),
    *("--without-gossip", "--without-mingle", "--without-heartbeat"),
)


@pytest.fixture
def servers(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedServers]:
    monkeypatch.setenv("INTERLOCK_HOME", str(home))
    settings.load.cache_clear()
    with EmbeddedServers(home, durable=False) as running:
        upgrade(running.database_url)
        yield running
    settings.load.cache_clear()


def test_neither_the_recycling_of_a_child_nor_the_end_of_the_worker_costs_a_span(
    servers: EmbeddedServers, home: Path
) -> None:
    """A child is gone right after its last task: what it writes at its end is all that there can be."""
    from tests.integration.traced_worker import work

    def processes() -> dict[str, int]:
        return {one.name: int(str(one.attributes["process"])) for one in recorded_spans(servers.database_url)}

    worker = subprocess.Popen(WORKER, env=dict(os.environ), stderr=subprocess.DEVNULL)
    try:
        for name in ("recycled", "recycled too", "ended"):
            work.delay(name)
        assert_eventually((home / "ended").exists, what="the second child's task is done")
        assert set(processes()) == {"recycled", "recycled too"}
        worker.send_signal(signal.SIGTERM)
        worker.wait(30)
    finally:
        worker.kill()
        worker.wait()
    found = processes()
    assert set(found) == {"recycled", "recycled too", "ended"}
    assert found["recycled"] == found["recycled too"]
    assert len({*found.values(), worker.pid}) == 3


def test_a_living_child_writes_by_itself_and_leaves_its_parents_connection_alone(fresh_database: str) -> None:
    """As Celery's signals do it: the parent's export began before the fork, the child begins one of its own."""
    options = TracingOptions("forked", fresh_database, export_seconds=0.05)
    parents = configure(options)
    with tracing.span("before", Keys("demo")):
        pass
    parents.flush()
    before = _sessions(fresh_database)
    told_to_end, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            own = configure(options)
            with tracing.span("child", Keys("demo")):
                pass
            os.close(tell)
            os.read(told_to_end, 1)
            parents.shutdown()
            own.shutdown()
        finally:
            os._exit(0)
    assert_eventually(lambda: "child" in _names(fresh_database), what="a living child's span is written")
    os.close(tell)
    os.close(told_to_end)
    os.waitpid(child, 0)
    assert_eventually(lambda: len(_sessions(fresh_database)) == 1, what="the child's connection is closed")
    assert _sessions(fresh_database) == before
    parents.shutdown()


def _names(url: str) -> set[str]:
    return {one.name for one in recorded_spans(url)}


def _sessions(url: str) -> list[int]:
    """The connections over which spans are written."""
    with psycopg.connect(url) as connection:
        query = (
            "SELECT pid FROM pg_stat_activity"
            " WHERE application_name = 'interlock_spans' AND datname = current_database()"
        )
        return [row[0] for row in connection.execute(query)]
