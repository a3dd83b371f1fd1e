"""The queue ``ingestion``: signed events from host applications are accepted."""

from __future__ import annotations

import logging

from app.bootstrap import worker_services
from app.data_plane.ingestion.messages import accept_message
from app.kernel.errors import PermanentError, TransientError
from interlock.canonical import JsonValue
from tasks import celery

_log = logging.getLogger(__name__)

RETRY_SECONDS = 5


@celery.task(
    name="interlock.ingestion.accept",
    autoretry_for=(TransientError,),
    default_retry_delay=RETRY_SECONDS,
    max_retries=None,
)
def accept(message: JsonValue) -> str:
    """Accept the event of one message; while the database is away, the message waits."""
    services = worker_services()
    try:
        answer = accept_message(
            services.ingestion, services.tenants, message, max_bytes=services.settings.max_event_bytes
        )
    except PermanentError as error:
        _log.warning("an event was refused: %s (%s)", error.what, error.code)
        return f"refused: {error.code}"
    return f"{answer.state}: {len(answer.orchestration_ids)} orchestrations"
