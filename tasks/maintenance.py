"""The queue ``maintenance``: the reconciler."""

from __future__ import annotations

from app.bootstrap import worker_services
from tasks import celery
from tasks.never_raising import never_raising


@celery.task(name="interlock.maintenance.reconcile")
@never_raising
def reconcile() -> str:
    """Ring for whatever is overdue."""
    overdue = worker_services().reconciler.reconcile()
    return (
        ", ".join(f"{queue.value}: {count} overdue" for queue, count in overdue.items())
        or "nothing is overdue"
    )
