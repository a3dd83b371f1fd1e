"""The queue ``dispatch``: permitted actions are sent."""

from __future__ import annotations

from app.adapters.celery.shown import counted
from app.data_plane.ports import Queue
from app.data_plane.work_done import WorkDone
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
        return _told(services.event_loop.run(services.dispatcher.deliver(unit.worker)))
    with free_ones(services, ids) as free:
        if not free:
            return "0 deliveries: another worker is on them"
        work = services.dispatcher.deliver(
            unit.worker,
            action_ids=free if action_ids else (),
            orchestration_ids=() if action_ids else free,
        )
        return _told(services.event_loop.run(work))


def _told(work: WorkDone) -> str:
    return counted(f"{work.steps} deliveries, {work.failed} not confirmed", work.orchestration_ids)
