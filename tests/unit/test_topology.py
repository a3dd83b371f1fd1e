"""The declared topology: no queue without a worker, and command lines that Celery understands."""

from __future__ import annotations

import pytest

from app.data_plane.ports import Queue
from config import topology
from config.settings import Settings

LAYOUTS = {"one machine": topology.ON_ONE_MACHINE, "a process for each queue": topology.BY_QUEUE}


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings without this machine's own."""
    return Settings.model_construct()


@pytest.mark.parametrize("groups", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_every_queue_has_exactly_one_group_of_workers(groups: tuple[topology.WorkerGroup, ...]) -> None:
    """A queue that nobody serves would fill in silence."""
    assert topology.undeclared(groups) == set()
    served = [queue for group in groups for queue in group.queues]
    assert len(served) == len(set(served))


def test_a_forgotten_queue_is_named() -> None:
    """The check above can fail."""
    assert topology.undeclared(topology.BY_QUEUE[1:]) == {topology.BY_QUEUE[0].queues[0]}


def test_waiting_on_the_outside_world_shares_no_process_with_deciding() -> None:
    """Slow models and targets must not hold up decisions; an agent_runs worker holds no target's secret."""
    for group in topology.ON_ONE_MACHINE:
        if {Queue.AGENT_RUNS, Queue.DISPATCH} & set(group.queues):
            assert len(group.queues) == 1


def test_a_workers_command_line_says_queues_pool_concurrency_prefetch_and_name(settings: Settings) -> None:
    """Written out once, so that a change of it is seen."""
    group = topology.WorkerGroup("both", (Queue.AGGREGATION, Queue.DISPATCH), "threads", 8)

    assert topology.worker(group, settings, name="second") == (
        *("celery", "-A", "tasks", "worker", "-Q", "aggregation,dispatch", "-n", "second@%h"),
        *("--pool", "threads", "--concurrency", "8", "--prefetch-multiplier", "1", "--loglevel", "INFO"),
        *("--without-gossip", "--without-mingle"),
    )
