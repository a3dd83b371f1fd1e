"""The queue ``orchestration``: accepted events are taken to their first stage."""

from __future__ import annotations

from app.bootstrap import worker_services
from app.data_plane.ports import Queue
from tasks import celery
from tasks.never_raising import never_raising


@celery.task(name="interlock.orchestration.advance")
@never_raising
def advance(step_ids: list[str] | None = None) -> str:
    """Advance these steps, or whatever is due."""
    services = worker_services()
    services.carrier.answer(Queue.ORCHESTRATION)
    count = services.advancer.advance(services.worker_name(), step_ids or ())
    return f"{count} orchestrations advanced"
