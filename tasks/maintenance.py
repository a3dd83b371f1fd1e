"""The queue ``maintenance``: the reconciler, the anchors, and the end of old spans."""

from __future__ import annotations

import logging

from celery import signals

from app.data_plane.ports import Queue
from app.kernel.errors import InterlockError
from app.telemetry import messages
from config import settings
from tasks import celery
from tasks.unit_of_work import Unit, unit_of_work

_log = logging.getLogger(__name__)


@celery.task(name="interlock.maintenance.reconcile")
@unit_of_work(Queue.MAINTENANCE)
def reconcile(unit: Unit) -> str:
    """End the leases of workers that are gone, ring for whatever is overdue, and now and then remove old spans."""
    overdue = unit.services.reconciler.reconcile()
    told = [f"{queue.value}: {count} overdue" for queue, count in overdue.items()] or ["nothing is overdue"]
    # Not a task of its own: workers of the version before this one would not know it during a deployment.
    return ", ".join([*told, *_old_spans_removed(unit)])


def _old_spans_removed(unit: Unit) -> list[str]:
    """What became of old spans, in words; that they stay is no failure of the reconciler's."""
    try:
        removed = unit.services.span_retention.remove_old()
    except InterlockError as error:
        _log.warning("old spans stay for now: %s %s (%s)", error.what, error.remedy, error.code)
        return [f"old spans stay: {error.code}"]
    return [f"{removed} old spans removed"] if removed else []


@celery.task(name="interlock.maintenance.anchor")
@unit_of_work(Queue.MAINTENANCE)
def anchor(unit: Unit) -> str:
    """Write outside the database what the heads of chains are now."""
    written = unit.services.anchorer.anchor()
    if written is None:
        return "another process is anchoring"
    return f"{written.heads} heads anchored"


@signals.worker_ready.connect(weak=False)
def reconcile_at_start(**_: object) -> None:
    """What became overdue while nobody worked is rung for at once, not at beat's first tick."""
    if settings.load().reconciler:
        with messages.publishing("maintenance"):
            reconcile.apply_async(queue="maintenance")
