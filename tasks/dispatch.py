"""The queue ``dispatch``: permitted actions are sent."""

from __future__ import annotations

from app.data_plane.ports import Queue
from tasks import celery
from tasks.locked import free_ones
from tasks.unit_of_work import Unit, unit_of_work


@celery.task(name="interlock.dispatch.deliver")
@unit_of_work(Queue.DISPATCH)
def deliver(
    unit: Unit, action_ids: list[str] | None = None, orchestration_ids: list[str] | None = None
) -> str:
    """Deliver these actions, those of the orchestrations, or whatever is due."""
    services = unit.services
    ids = action_ids or orchestration_ids
    if not ids:
        services.carrier.answer(Queue.DISPATCH)
        count, failed = services.event_loop.run(services.dispatcher.deliver(unit.worker))
        return f"{count} deliveries, {failed} not confirmed"
    with free_ones(services, ids) as free:
        if not free:
            return "0 deliveries: another worker is on them"
        work = services.dispatcher.deliver(
            unit.worker,
            action_ids=free if action_ids else (),
            orchestration_ids=() if action_ids else free,
        )
        count, failed = services.event_loop.run(work)
    return f"{count} deliveries, {failed} not confirmed"
