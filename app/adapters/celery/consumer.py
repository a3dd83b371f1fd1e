"""Celery's consumer, except that what it cannot work on becomes a dead letter, and never ends the worker.

Celery's own acknowledges an undecodable message, rejects the others, and prints their bodies into the log; some
malformed headers and bodies raise into its event loop and end the worker. Source: celery/worker/consumer/consumer.py
and celery/worker/strategy.py of 5.7; see also celery/celery#4308.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from celery.exceptions import NotRegistered
from celery.worker import state
from celery.worker.consumer import Consumer
from kombu import Connection
from kombu.exceptions import ContentDisallowed, KombuError
from kombu.message import Message

from app.adapters.celery.not_messages import CAREFUL_TRANSPORT, NOT_A_MESSAGE
from app.adapters.celery.reporting import GaveUp, reporter_of
from app.adapters.celery.task_metrics import labels
from app.data_plane.dead_letters.letters import Cause
from app.telemetry import metrics

_log = logging.getLogger(__name__)

_ITS_OWN_FAULT = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What Celery's reading of a malformed message raises."""


class ReportingConsumer(Consumer):
    """Reports each message that gave up to the queue ``dead_letter`` before it lets it go."""

    event_dispatcher: Any
    connection_errors: tuple[type[Exception], ...]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Celery builds it with some fifteen arguments of its own.
        super().__init__(*args, **kwargs)
        self._reporter = reporter_of(self.app)

    def connection_for_read(self, heartbeat: float | None = None) -> Connection:
        """A connection whose transport survives entries that are no messages."""
        connection = self.app.connection_for_read(heartbeat=heartbeat)
        # By hand, since for redis+socket:// the scheme decides, whatever transport is asked for; and by its name, since
        # `inspect stats` answers with it in JSON.
        connection.transport_cls = CAREFUL_TRANSPORT
        connected: Connection = self.ensure_connected(connection)
        return connected

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Message], None]:
        """What is called with each message."""
        receive = super().create_task_handler(*args, **kwargs)

        def on_task_received(message: Message) -> None:
            if not _has_fit_headers(message):
                self._give_up(message, GaveUp(Cause.REJECTED_MESSAGE, "invalid_headers"))
                return
            try:
                receive(message)
            except _ITS_OWN_FAULT as error:
                self.on_invalid_task(None, message, error)
            except RuntimeError:
                if state.should_stop is None and state.should_terminate is None:
                    raise
                # A pool of threads takes nothing any more once this worker leaves: it is another one's message. Raised
                # on, it would end the worker as failed (celery/worker/worker.py, `start`).
                self._give_back(message)

        return on_task_received

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        """The body cannot be decoded, or the entry was no message at all."""
        if message.content_type == NOT_A_MESSAGE:
            why = GaveUp(Cause.UNDECODABLE_MESSAGE, "not_a_message")
        elif isinstance(exc, ContentDisallowed):
            why = GaveUp(Cause.REJECTED_MESSAGE, "content_disallowed")
        else:
            why = GaveUp(Cause.UNDECODABLE_MESSAGE, "undecodable_body")
        self._give_up(message, why)

    def on_unknown_message(self, body: object, message: Message) -> None:  # noqa: ARG002 - Celery's signature
        """It can be decoded, and asks for no task."""
        self._give_up(message, GaveUp(Cause.REJECTED_MESSAGE, "no_task"))

    def on_unknown_task(self, body: object, message: Message, exc: Exception) -> None:  # noqa: ARG002
        """It asks for a task that is not registered here."""
        self._give_up(message, GaveUp(Cause.UNKNOWN_TASK, "unregistered_task"))
        task_id = message.headers.get("id")
        if self.event_dispatcher and task_id:
            # So that Flower shows it as failed.
            self.event_dispatcher.send("task-failed", uuid=task_id, exception=NotRegistered.__name__)

    def on_invalid_task(self, body: object, message: Message, exc: Exception) -> None:  # noqa: ARG002
        """It is not what a message to a task looks like."""
        if message.acknowledged:
            _log.error("a message failed after it was acknowledged: %s", type(exc).__name__)
            return
        code = "content_disallowed" if isinstance(exc, ContentDisallowed) else "invalid_message"
        self._give_up(message, GaveUp(Cause.REJECTED_MESSAGE, code))

    def _give_up(self, message: Message, why: GaveUp) -> None:
        headers = message.headers if isinstance(message.headers, dict) else {}
        metrics.task_rejected(*labels(self.app, headers.get("task"), message.delivery_info, self.hostname))
        report = self._reporter.about(message, why, _arguments(message))
        # Letting go talks to the broker on the event loop's own connection.
        self._reporter.report(report, then=partial(self.call_soon, self._let_go, message))

    def _let_go(self, message: Message) -> None:
        self._settle(message, message.reject)

    def _give_back(self, message: Message) -> None:
        self._settle(message, message.requeue)

    def _settle(self, message: Message, how: Callable[[], None]) -> None:
        if message.acknowledged or message.channel is None or message.channel.closed:
            return  # When the connection was lost meanwhile, the message comes back by itself.
        unreachable: tuple[type[Exception], ...] = (KombuError, OSError, *self.connection_errors)
        try:
            how()
        except unreachable as error:
            _log.warning("a message was not settled and comes back (%s)", type(error).__name__)


def _has_fit_headers(message: Message) -> bool:
    """Whether Celery's own reading of the headers can be trusted not to fail half-way through a request."""
    headers: dict[str, object] = dict(message.headers)
    if "task" not in headers:
        return True
    if not isinstance(headers["task"], str) or not isinstance(headers.get("id"), str):
        return False
    if not all(_is_time(headers.get(name)) for name in ("eta", "expires")):
        return False
    limits = headers.get("timelimit") or [None, None]
    if not isinstance(limits, (list, tuple)) or len(limits) != 2:
        return False
    if not all(limit is None or isinstance(limit, (int, float)) for limit in limits):
        return False
    return isinstance(headers.get("retries") or 0, int) and isinstance(
        headers.get("stamped_headers") or [], list
    )


def _is_time(value: object) -> bool:
    """None, or a time that the machine's clock can reach."""
    if value is None:
        return True
    try:
        return isinstance(value, str) and 1970 < datetime.fromisoformat(value).year < 9999
    except ValueError:
        return False


def _arguments(message: Message) -> list[object]:
    """The task's arguments as far as they can be read, to look for ids."""
    try:
        body = message.payload
    except (KombuError, *_ITS_OWN_FAULT):
        return []
    arguments = (
        body.get("args") if isinstance(body, dict) else body[0] if isinstance(body, list) and body else []
    )
    return list(arguments) if isinstance(arguments, list) else []
