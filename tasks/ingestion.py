"""The queue ``ingestion``: signed events from host applications are accepted."""

from __future__ import annotations

import logging

from app.adapters.celery.reporting import UnreportedError
from app.adapters.celery.shown import counted
from app.bootstrap import worker_services
from app.data_plane.ingestion.messages import accept_message
from app.data_plane.ingestion.refusals import refusal
from app.kernel.errors import PermanentError, TransientError
from interlock.canonical import JsonValue
from tasks import celery
from tasks.putting_off import put_off

_log = logging.getLogger(__name__)


@celery.task(name="interlock.ingestion.accept")
def accept(message: JsonValue) -> str:
    """Accept the event of one message; while the database is away, it waits. One that is refused is reported."""
    services = worker_services()
    most = services.settings.max_event_bytes
    try:
        answer = accept_message(services.ingestion, services.tenants, message, max_bytes=most)
    except TransientError as error:
        return put_off(accept, [message], error)
    except PermanentError as error:
        _log.warning("an event was refused: %s (%s)", error.what, error.code)
        report = refusal(services.tenants, message, error, services.clock, max_bytes=most)
        if not services.reporter.publish(report):
            raise UnreportedError(report.model_dump_json()) from error
        return f"refused: {error.code}"
    return counted(
        f"{answer.state}, {len(answer.orchestration_ids)} orchestrations", answer.orchestration_ids
    )
