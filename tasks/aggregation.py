"""The queue ``aggregation``: proposals become outcomes and decisions."""

from __future__ import annotations

from app.bootstrap import worker_services
from app.data_plane.ports import Queue
from tasks import celery
from tasks.locked import free_ones
from tasks.never_raising import never_raising


@celery.task(name="interlock.aggregation.aggregate")
@never_raising
def aggregate(step_ids: list[str] | None = None) -> str:
    """Aggregate these stages if their members are final, or whatever is due."""
    services = worker_services()
    if not step_ids:
        services.carrier.answer(Queue.AGGREGATION)
        return f"{services.aggregator.aggregate(services.worker_name())} stages aggregated"
    with free_ones(services, step_ids) as free:
        count = services.aggregator.aggregate(services.worker_name(), free) if free else 0
    return f"{count} stages aggregated"
