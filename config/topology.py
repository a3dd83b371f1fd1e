"""The declared topology: which queues there are, how they are worked, and the command line of every process.

``python -m app up``, docker-compose.yml and the checks all read it here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from app.data_plane.ports import Queue
from config.settings import CHECKOUT, Settings

Pool = Literal["threads", "solo", "prefork"]


@dataclass(frozen=True, slots=True)
class WorkerGroup:
    """One kind of worker process: the queues it serves, and how many messages at once.

    Args:
        concurrency: messages worked on at once; a message may carry many runs, which then share the process's
            limit of model calls in flight.
        prefetch: messages reserved for each of those beyond the one in work.
    """

    name: str
    queues: tuple[Queue, ...]
    pool: Pool
    concurrency: int
    prefetch: int = 1


def _alone(queue: Queue, concurrency: int) -> WorkerGroup:
    return WorkerGroup(queue.value, (queue,), "threads", concurrency)


BY_QUEUE: tuple[WorkerGroup, ...] = (
    _alone(Queue.INGESTION, 2),
    _alone(Queue.ORCHESTRATION, 2),
    _alone(Queue.AGENT_RUNS, 8),
    _alone(Queue.AGGREGATION, 2),
    _alone(Queue.DISPATCH, 4),
    _alone(Queue.REPLAY, 1),
    _alone(Queue.MAINTENANCE, 1),
    _alone(Queue.DEAD_LETTER, 1),
)
"""One kind of process for each queue: how docker-compose.yml lays them out and a team scales them."""

ON_ONE_MACHINE: tuple[WorkerGroup, ...] = (
    WorkerGroup(
        "orchestration",
        (
            Queue.INGESTION,
            Queue.ORCHESTRATION,
            Queue.AGGREGATION,
            Queue.REPLAY,
            Queue.MAINTENANCE,
            Queue.DEAD_LETTER,
        ),
        "threads",
        2,
    ),
    _alone(Queue.AGENT_RUNS, 8),
    _alone(Queue.DISPATCH, 4),
)
"""What ``up`` starts: what waits on the outside world is apart from what decides."""

Command = tuple[str, ...]
"""A command line whose first word is a program of the virtual environment (``celery``, ``python``)."""

WORKER_ENVIRONMENT = {
    "REMAP_SIGTERM": "SIGQUIT",
    "MALLOC_ARENA_MAX": "2",
}
"""SIGTERM begins Celery's soft shutdown; two allocation arenas keep threads from growing the process."""


def worker(group: WorkerGroup, settings: Settings, *, name: str | None = None) -> Command:
    """The command line of one worker process; ``name`` tells apart several of a group on one host."""
    return (
        *("celery", "-A", "tasks", "worker"),
        *("-Q", ",".join(queue.value for queue in group.queues), "-n", f"{name or group.name}@%h"),
        *("--pool", group.pool, "--concurrency", str(group.concurrency)),
        *("--prefetch-multiplier", str(group.prefetch), "--loglevel", settings.log_level),
        *("--without-gossip", "--without-mingle"),
    )


def api(settings: Settings) -> Command:
    """The HTTP API and the console."""
    return (
        *("python", "-m", "uvicorn", "app.api.application:create", "--factory"),
        *("--host", settings.api_host, "--port", str(settings.api_port), "--no-access-log"),
    )


def beat(settings: Settings) -> Command:
    """Celery's clock, which rings the reconciler."""
    return (
        *("celery", "-A", "tasks", "beat", "--loglevel", settings.log_level),
        *("--schedule", str(settings.folder.run / "beat-schedule"), "--pidfile="),
    )


def flower(settings: Settings) -> Command:
    """Flower, over the same broker; its options are in dashboards/flower.py."""
    return (
        *("celery", "-A", "tasks", "flower", f"--conf={CHECKOUT / 'dashboards' / 'flower.py'}"),
        *(f"--address={settings.flower_host}", f"--port={settings.flower_port}"),
    )


def metrics() -> Command:
    """The exporter of durable facts, for Prometheus."""
    return ("python", "-m", "app", "metrics")


def migrate() -> Command:
    """Bring the database to this checkout's schema."""
    return ("python", "-m", "app", "migrate")


def publish() -> Command:
    """Publish the shipped documents into a database that has no release yet."""
    return ("python", "-m", "app", "releases", "publish", "--if-empty")


def prepare(provider: str | None = None) -> Command:
    """Both in one process, which starts sooner; ``provider`` answers for every agent of a fresh catalogue."""
    return ("python", "-m", "app", "prepare", *(() if provider is None else ("--provider", provider)))


def sink(settings: Settings) -> Command:
    """The HTTP target of a fresh installation, which counts what it applied."""
    return (
        *("python", "-m", "app", "sink"),
        *("--host", settings.sink_host, "--port", str(settings.sink_port)),
    )


def undeclared(groups: Iterable[WorkerGroup]) -> set[Queue]:
    """The queues that none of these groups serves."""
    return set(Queue) - {queue for group in groups for queue in group.queues}
