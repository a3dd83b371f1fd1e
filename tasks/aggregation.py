"""The queue ``aggregation``: proposals become outcomes and decisions."""

from __future__ import annotations

from app.adapters.celery.shown import counted
from app.data_plane.ports import Queue
from app.data_plane.work_done import WorkDone
from tasks import celery
from tasks.locked import free_ones
from tasks.unit_of_work import Unit, unit_of_work


@celery.task(name="interlock.aggregation.aggregate")
@unit_of_work(Queue.AGGREGATION)
def aggregate(unit: Unit, step_ids: list[str] | None = None) -> str:
    """Aggregate these stages if their members are final, or whatever is due."""
    services = unit.services
    if not step_ids:
        services.carrier.answer(Queue.AGGREGATION)
        return _told(services.aggregator.aggregate(unit.worker))
    with free_ones(services, step_ids) as free:
        if not free:
            return "0 stages: another worker is on them"
        return _told(services.aggregator.aggregate(unit.worker, free))


def _told(work: WorkDone) -> str:
    return counted(f"{work.steps} stages aggregated, {work.failed} failed", work.orchestration_ids)
