"""The queue ``aggregation``: proposals become outcomes and decisions."""

from __future__ import annotations

from app.data_plane.ports import Queue
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
        return f"{services.aggregator.aggregate(unit.worker)} stages aggregated"
    with free_ones(services, step_ids) as free:
        count = services.aggregator.aggregate(unit.worker, free) if free else 0
    return f"{count} stages aggregated"
