"""A message whose work has to wait, because the database is away: published again for later, as a new message.

As a new one, because Celery counts retries: they stay what a worker's death costs, and are bounded.
"""

from __future__ import annotations

import logging
from typing import Any

from celery import Task
from celery.exceptions import CeleryError, Reject
from kombu.exceptions import KombuError

from app.kernel.errors import TransientError
from app.telemetry import messages
from interlock.canonical import JsonValue

_log = logging.getLogger(__name__)

SECONDS = 5


def put_off(task: Task[Any, str], arguments: list[JsonValue], error: TransientError) -> str:
    """Have the task called again later, and say so. Raises Reject when the broker is away too: it comes back.

    The second word of a task's wire name is its queue.
    """
    try:
        with messages.publishing(task.name.split(".")[1]):
            task.apply_async(args=tuple(arguments), countdown=SECONDS, argsrepr="(put off)", kwargsrepr="{}")  # type: ignore[call-arg]
    except (CeleryError, KombuError, OSError) as unsent:
        raise Reject(f"put off by the broker: {type(unsent).__name__}", requeue=True) from unsent
    messages.failed(error.code)
    _log.warning("put off for %d s: %s (%s)", SECONDS, error.what, error.code)
    return f"put off: {error.code}"
