"""The queue ``dead_letter``: what gave up outside a transaction becomes a row."""

from __future__ import annotations

from app.adapters.celery.shown import counted
from app.bootstrap import worker_services
from app.data_plane.ports import Queue
from app.kernel import fault_points
from app.kernel.errors import TransientError
from app.kernel.fault_points import FaultPoint
from interlock.canonical import JsonValue
from tasks import celery
from tasks.putting_off import put_off


@celery.task(name="interlock.dead_letter.record")
def record(*reports: JsonValue) -> str:
    """Record reports; while the database is away, they wait."""
    fault_points.reached(FaultPoint.AFTER_RECEIVE, Queue.DEAD_LETTER)
    try:
        work = worker_services().dead_letters.receive(reports)
    except TransientError as error:
        return put_off(record, list(reports), error)
    fault_points.reached(FaultPoint.AFTER_RECORD_BEFORE_ACK, Queue.DEAD_LETTER)
    return counted(f"{work.steps} dead letters", work.orchestration_ids)
