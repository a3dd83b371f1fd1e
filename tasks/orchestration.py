"""The queue ``orchestration``: accepted events are taken to their first stage."""

from __future__ import annotations

from app.adapters.celery.shown import counted
from app.data_plane.ports import Queue
from tasks import celery
from tasks.unit_of_work import Unit, unit_of_work


@celery.task(name="interlock.orchestration.advance")
@unit_of_work(Queue.ORCHESTRATION)
def advance(unit: Unit, step_ids: list[str] | None = None) -> str:
    """Advance these steps, or whatever is due."""
    unit.services.carrier.answer(Queue.ORCHESTRATION)
    work = unit.services.advancer.advance(unit.worker, step_ids or ())
    return counted(f"{work.steps} orchestrations advanced, {work.failed} failed", work.orchestration_ids)
