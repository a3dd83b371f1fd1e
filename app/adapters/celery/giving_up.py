"""Celery's task and request, except that a message whose task gave up is reported before it is acknowledged.

A prefork child that dies fails its request in the parent (``WorkerLostError``): the message is published again, a few
times. A hard time limit ends the child. On threads and solo neither happens; there, leases end.
Source: celery/worker/request.py of 5.7.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from billiard.einfo import ExceptionWithTraceback  # type: ignore[attr-defined]  # not in its stubs
from celery import Celery, Task
from celery.exceptions import Ignore, Reject, Retry, Terminated, TimeLimitExceeded, WorkerLostError
from celery.worker.request import Request

from app.adapters.celery.reporting import (
    TASK,
    GaveUp,
    LetGo,
    UnreportedError,
    from_error,
    reporter_of,
)
from app.adapters.celery.shown import LONGEST_RESULT
from app.data_plane.dead_letters.letters import Cause
from app.kernel.errors import Fate


class ReportingRequest(Request):
    """One message that a worker has taken."""

    _app: Celery
    _context: Any
    _already_cancelled: bool
    _already_revoked: bool
    _reported = False
    _waiting = False
    """The broker has not taken the report yet; until then the message must not be acknowledged."""

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:
        """Its task failed, or its child died: report it if that is the end of it, and only then go on."""
        go_on = partial(super().on_failure, exc_info, send_failed_event, return_ok)
        error = exc_info.exception
        if isinstance(error, ExceptionWithTraceback):
            error = error.exc
        why = None if self._reported else self._gave_up(error)
        if why is None:
            go_on()
            return
        self._reported = self._waiting = True
        reporter = reporter_of(self._app)
        report = (
            error.report
            if isinstance(error, UnreportedError)
            else reporter.about(self.message, why, [self.args])
        )
        reporter.report(report, then=partial(self._end, go_on))

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """A limit was met; the hard one has failed the request already."""
        if soft or not self._waiting:
            super().on_timeout(soft, timeout)

    def _end(self, go_on: LetGo) -> None:
        self._waiting = False
        go_on()

    def _gave_up(self, error: BaseException) -> GaveUp | None:
        """Why nobody works on the message any more; None when somebody will."""
        task: Any = self.task
        if isinstance(error, (Retry, Ignore, Terminated)) or self.type == TASK:
            return (
                None  # A report that cannot be recorded is logged: a report about it would fail the same way.
            )
        if isinstance(error, Reject):
            requeued: bool = error.requeue  # type: ignore[attr-defined]  # not in its stubs
            return None if requeued else GaveUp(Cause.REJECTED_MESSAGE, "rejected")
        if isinstance(error, (WorkerLostError, SystemExit, KeyboardInterrupt)):
            lost = GaveUp(Cause.LOST_WORKER, "lost_worker", Fate.TRANSIENT)
            return None if self._is_tried_again(task) else lost
        if isinstance(error, TimeLimitExceeded):
            late = GaveUp(Cause.TIME_LIMIT, "time_limit", Fate.TRANSIENT)
            return late if task.acks_on_timeout else None
        return from_error(Cause.FAILED_STEP, error)

    def _is_tried_again(self, task: Any) -> bool:
        if self._already_cancelled or self._already_revoked:
            return True
        if not task.retry_on_worker_lost:
            return bool(task.reject_on_worker_lost)
        return task.max_retries is None or int(self._context.retries) < task.max_retries


class GivingUpTask(Task):  # type: ignore[type-arg]  # generic for checkers alone
    """The base of all tasks: what its worker's death costs it, and who tells when that was too often."""

    abstract = True
    Request = f"{ReportingRequest.__module__}:{ReportingRequest.__name__}"
    max_retries = 3
    default_retry_delay = 2
    resultrepr_maxsize = LONGEST_RESULT
