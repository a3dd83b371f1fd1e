"""The queue ``maintenance``: the reconciler."""

from __future__ import annotations

from celery import signals

from app.bootstrap import worker_services
from config import settings
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


@signals.worker_ready.connect(weak=False)
def reconcile_at_start(**_: object) -> None:
    """What became overdue while nobody worked is rung for at once, not at beat's first tick."""
    if settings.load().reconciler:
        reconcile.apply_async(queue="maintenance")
