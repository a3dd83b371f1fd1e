"""Telling the queue ``dead_letter`` of a message before it is let go: in this order, whatever fails.

While the broker does not take a report, the message stays unacknowledged and the report is tried again in the
background: letting go first would lose the message in silence, and not letting go ever would block its consumer.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import redis
from celery import Celery
from celery.exceptions import CeleryError
from kombu.exceptions import KombuError
from kombu.message import Message

from app.adapters.celery.not_messages import NOT_A_MESSAGE, read_stub
from app.data_plane.dead_letters.reports import (
    MessageCause,
    Report,
    digest_of,
    readable_ids,
    readable_name,
)
from app.data_plane.ports import Queue
from app.kernel.clock import Clock, SystemClock, to_text
from app.kernel.errors import Fate, InterlockError
from app.telemetry import messages

_log = logging.getLogger(__name__)

TASK = "interlock.dead_letter.record"
AGAIN_SECONDS = 2.0
"""How long until a report that the broker did not take is tried again."""

_UNREACHABLE = (redis.RedisError, KombuError, CeleryError, OSError)

LetGo = Callable[[], None]


class UnreportedError(Exception):
    """A task has a report that the broker did not take: its message is let go when it has.

    Args:
        body: the report, as JSON; an exception may have to cross from a child process.
    """

    def __init__(self, body: str) -> None:
        super().__init__(body)
        self.report = Report.model_validate_json(body)


@dataclass(frozen=True, slots=True)
class GaveUp:
    """Why a message is not worked on any more."""

    cause: MessageCause
    code: str
    fate: Fate = Fate.PERMANENT


def from_error(cause: MessageCause, error: BaseException) -> GaveUp:
    """By the error's own code and fate; any but ours is a defect."""
    if isinstance(error, InterlockError):
        return GaveUp(cause, error.code, error.fate)
    return GaveUp(cause, "defect", Fate.DEFECT)


class Reporter:
    """Publishes this process's reports; its background thread is only there while one is held back."""

    def __init__(self, application: Celery, clock: Clock | None = None) -> None:
        self._application = application
        self._clock = clock or SystemClock()
        self._held: deque[tuple[Report, LetGo]] = deque()
        self._lock = threading.Lock()
        self._trying = False

    def about(self, message: Message, why: GaveUp, named: Iterable[object] = ()) -> Report:
        """The report of a message, without its content."""
        stub = read_stub(message) if message.content_type == NOT_A_MESSAGE else None
        body = message.body
        headers = message.headers if isinstance(message.headers, dict) else {}
        return Report(
            cause=why.cause,
            code=why.code,
            fate=why.fate,
            queue=readable_name(message.delivery_info.get("routing_key")),
            task=readable_name(headers.get("task")),
            digest=stub.digest if stub is not None else digest_of(body),
            size=stub.size if stub is not None else len(body or b""),
            at=to_text(self._clock.now()),
            names=readable_ids(_texts(named)),
        )

    def report(self, report: Report, then: LetGo) -> None:
        """Publish it and let the message go; when the broker does not take it, as soon as it does."""
        _log.error(
            "a message gave up (%s, %s): task %s in %s, %d bytes, SHA-256 %s",
            report.cause.value,
            report.code,
            report.task or "-",
            report.queue or "-",
            report.size,
            report.digest,
        )
        if self.publish(report):
            then()
        else:
            self._hold(report, then)

    def publish(self, report: Report) -> bool:
        """Whether the broker has taken it."""
        try:
            with messages.publishing(Queue.DEAD_LETTER):
                self._application.send_task(
                    TASK,
                    args=[report.to_json()],
                    queue=Queue.DEAD_LETTER.value,
                    ignore_result=True,
                    argsrepr="(report)",
                    kwargsrepr="{}",
                )
        except _UNREACHABLE as error:
            _log.warning(
                "the report of %s was not taken and is tried again (%s)", report.digest, type(error).__name__
            )
            return False
        return True

    def _hold(self, report: Report, then: LetGo) -> None:
        with self._lock:
            self._held.append((report, then))
            if self._trying:
                return
            self._trying = True
        threading.Thread(target=self._try_again, name="dead-letter-reports", daemon=True).start()

    def _try_again(self) -> None:
        try:
            while self._is_holding():
                time.sleep(AGAIN_SECONDS)
                while self._held and self.publish(self._held[0][0]):
                    _, let_go = self._held.popleft()
                    let_go()
        finally:
            self._trying = False

    def _is_holding(self) -> bool:
        """Whether there is something to try again; says at once that nobody does any more if there is not."""
        with self._lock:
            self._trying = bool(self._held)
            return self._trying


@lru_cache(maxsize=4)
def reporter_of(application: Celery) -> Reporter:
    """The application's one reporter in this process."""
    return Reporter(application)


def _texts(values: Iterable[object], depth: int = 3) -> Iterator[object]:
    """The texts in a task's arguments, in lists inside lists."""
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, (list, tuple)) and depth:
            yield from _texts(value, depth - 1)
