"""A thousand runs whose model takes a second, on one agent_runs process: what holding hundreds of calls costs.

The model is a real HTTP server on loopback, in a process of its own, that sleeps and answers.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Thread

import psutil

from app import bootstrap
from app.adapters.postgresql.catalogue import PostgresqlCatalogue
from app.adapters.postgresql.database import Database
from app.cli.plan import worker_program
from app.control_plane.publishing import Change, Plan
from app.data_plane.ports import Queue
from app.kernel.release import Release
from config import settings, topology
from config.settings import CHECKOUT
from tests.benchmark.running import Running, service, wait_for_workers
from tests.modelled_workflow import KEY, issues, modelled_release, openai

RUNS = 1_000
MODEL_SECONDS = 1.0
IN_FLIGHT = 256
READY = "SELECT count(*) FROM work_index WHERE queue = 'agent_runs' AND finished_at IS NULL"
CLOSED = "SELECT count(*) FROM orchestrations WHERE closed_at IS NOT NULL"
BY_BENCHMARK = Change("benchmark", "a benchmark's own release")
_SERVER = "import sys; from tests.benchmark.waiting import serve; serve(float(sys.argv[1]))"


@dataclass(frozen=True)
class Waiting:
    """What was seen: seconds from the first question to the last answer, and the process's largest sizes."""

    runs: int
    seconds: float
    ideal_seconds: float
    most_at_once: int
    memory_mb: float


def serve(seconds: float) -> None:
    """Answer every question after so many seconds; print the address, and at the end of input the history."""
    from tests.model_faults import faulty_models

    with faulty_models("answers", '{"level": "high"}', seconds) as models:
        print(models.url("openai"), flush=True)
        sys.stdin.read()
        moments = [(one.began, one.ended) for one in models.history if one.ended is not None]
        print(json.dumps(moments), flush=True)


def measure() -> Waiting:
    """All runs are due before the worker starts; the time counts from the first question to the last answer."""
    with _model() as (url, history):
        largest = _run_all(url)
    moments = history()
    seconds = max(ended for _, ended in moments) - min(began for began, _ in moments)
    rounds = -(-RUNS // IN_FLIGHT)
    return Waiting(RUNS, seconds, rounds * MODEL_SECONDS, _most_at_once(moments), largest)


def _run_all(url: str) -> float:
    """Every run; the largest size of the process that asked, in megabytes."""
    agents = next(group for group in topology.ON_ONE_MACHINE if Queue.AGENT_RUNS in group.queues)
    others = tuple(group for group in topology.ON_ONE_MACHINE if group is not agents)
    with service(environment=KEY, groups=others) as running:
        release = modelled_release(
            [openai("model", url)],
            name="waiting",
            agent={"timeout_seconds": 60},
            stage_fields={"timeout_seconds": 120},
        )
        _publish(running, release)
        _accept(running, [f"run-{number}" for number in range(RUNS)])
        running.wait(READY, RUNS, seconds=120)
        running.children.start(worker_program(agents, settings.load()))
        wait_for_workers(running, len(topology.ON_ONE_MACHINE))
        with _largest(_agents_process(running)) as largest:
            running.wait(CLOSED, RUNS, seconds=180)
        return largest[0]


def _publish(running: Running, release: Release) -> None:
    database = Database(running.database_url, "interlock_control")
    catalogue = PostgresqlCatalogue(database)
    catalogue.publish(Plan((), (release,), 0, 0), "benchmark")
    catalogue.route(release.workflow, "stable", release.digest, BY_BENCHMARK)
    database.close()


def _accept(running: Running, names: list[str]) -> None:
    services = bootstrap.api_services()
    for start in range(0, len(names), 100):
        services.ingestion.accept(issues(names[start : start + 100]))
    services.close()


def _agents_process(running: Running) -> psutil.Process:
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
            if "agent_runs@%h" in line and process.environ().get("INTERLOCK_HOME") == str(running.home):
                return process
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    raise RuntimeError("there is no agent_runs worker")


@contextmanager
def _largest(process: psutil.Process) -> Iterator[list[float]]:
    """The largest proportional set size until the block ends, in megabytes."""
    found, over = [0.0], Event()

    def watch() -> None:
        while not over.wait(0.25):
            found[0] = max(found[0], process.memory_full_info().pss / 1e6)

    thread = Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


@contextmanager
def _model() -> Iterator[tuple[str, Callable[[], list[tuple[float, float]]]]]:
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER, str(MODEL_SECONDS)],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    told: list[list[tuple[float, float]]] = []

    def history() -> list[tuple[float, float]]:
        return told[0]

    try:
        yield process.stdout.readline().strip(), history
    finally:
        assert process.stdin is not None
        process.stdin.close()
        told.append(json.loads(process.stdout.readline()))
        process.wait(10)


def _most_at_once(moments: list[tuple[float, float]]) -> int:
    """How many calls were open at the same time, as the model's server saw it."""
    steps = sorted([(began, 1) for began, _ in moments] + [(ended, -1) for _, ended in moments])
    most = now = 0
    for _, step in steps:
        now += step
        most = max(most, now)
    return most
