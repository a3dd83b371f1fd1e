"""The spans of a prefork pool's children: written by themselves, and by nobody else, until their very end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.adapters.postgresql.migrate import upgrade
from app.supervisor.embedded import EmbeddedServers
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


def test_a_childs_spans_arrive_and_neither_its_recycling_nor_the_workers_end_costs_one(
    servers: EmbeddedServers, home: Path
) -> None:
    """The first child writes as it goes; those after it only at their end, which is all that can write theirs."""
    from tests.integration.traced_worker import AT_THE_END_ONLY, work

    def processes() -> dict[str, int]:
        return {one.name: int(str(one.attributes["process"])) for one in recorded_spans(servers.database_url)}

    worker = subprocess.Popen(WORKER, env=dict(os.environ), stderr=subprocess.DEVNULL)
    try:
        work.delay("alive")
        assert_eventually(lambda: "alive" in processes(), what="a living child's span is written")
        AT_THE_END_ONLY.touch()
        for name in ("last", "recycled", "recycled too", "ended"):
            work.delay(name)
        assert_eventually((home / "ended").exists, what="the third child's task is done")
        assert "ended" not in processes()
        worker.send_signal(signal.SIGTERM)
        worker.wait(30)
    finally:
        worker.kill()
        worker.wait()
    found = processes()
    assert set(found) == {"alive", "last", "recycled", "recycled too", "ended"}
    assert found["alive"] == found["last"]
    assert found["recycled"] == found["recycled too"]
    assert len({*found.values(), worker.pid}) == 4
