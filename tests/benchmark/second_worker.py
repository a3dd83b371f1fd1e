"""Starting a second ``celery -A tasks worker -Q agent_runs``, with agents that wait 1 s."""

from __future__ import annotations

from dataclasses import dataclass

from app import bootstrap
from app.cli.plan import worker_program
from app.data_plane.ports import Queue
from config import settings, topology
from tests.benchmark.reference_workflow import BATCH, CLOSED, events, saturate
from tests.benchmark.running import Running, service, wait_for_workers
from tests.benchmark.waiting_documents import waiting

WORKFLOWS = 512
RUNS_EACH = 3
IN_FLIGHT = "64"
"""Small, so that it is what limits one worker and not this machine's two cores."""


@dataclass(frozen=True)
class Scaling:
    """Runs a second, and the 95th percentile from decision to receipt in milliseconds, alone and together."""

    alone_per_second: float
    together_per_second: float
    dispatch_alone_ms: float
    dispatch_together_ms: float

    @property
    def ratio(self) -> float:
        """What the second worker brought."""
        return self.together_per_second / self.alone_per_second


def measure() -> Scaling:
    """The same load on one worker, then on two."""
    environment = {"INTERLOCK_AGENT_RUNS_IN_FLIGHT": IN_FLIGHT, "INTERLOCK_RUNS_PER_MESSAGE": "8"}
    with waiting(1.0) as documents, service(documents=documents, environment=environment) as running:
        saturate(running, 32, "warm")
        alone = _load(running, "alone")
        group = next(group for group in topology.BY_QUEUE if group.queues == (Queue.AGENT_RUNS,))
        running.children.start(worker_program(group, settings.load(), name="second"))
        wait_for_workers(running, len(topology.ON_ONE_MACHINE) + 1)
        together = _load(running, "together")
        return Scaling(alone, together, _dispatch_p95(running, "alone"), _dispatch_p95(running, "together"))


def _load(running: Running, prefix: str) -> float:
    services = bootstrap.api_services()
    before = running.number(CLOSED)
    submissions = events(WORKFLOWS, prefix)
    for start in range(0, WORKFLOWS, BATCH):
        services.ingestion.accept(submissions[start : start + BATCH])
    running.wait(CLOSED, before + WORKFLOWS, seconds=180)
    services.close()
    seconds = running.rows(
        "SELECT extract(epoch FROM max(closed_at) - min(created_at)) FROM orchestrations"
        f" WHERE event_id LIKE '{prefix}-%'"
    )[0][0]
    return WORKFLOWS * RUNS_EACH / float(str(seconds))


def _dispatch_p95(running: Running, prefix: str) -> float:
    """From the aggregation that decided to the delivery that was confirmed, as the work index saw it."""
    row = running.rows(
        "SELECT 1000 * percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM d.finished_at - a.finished_at))"
        " FROM work_index d JOIN work_index a USING (orchestration_id) JOIN orchestrations o USING (orchestration_id)"
        f" WHERE d.queue = 'dispatch' AND a.queue = 'aggregation' AND o.event_id LIKE '{prefix}-%'"
    )[0]
    return float(str(row[0]))
