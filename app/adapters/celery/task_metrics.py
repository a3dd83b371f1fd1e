"""Celery's own counters, under the names that existing dashboards read, from Celery's signals.

A task of ours never raises for what its work came to: its result text says ``not done: CODE``. Such a task counts as
failed, with the code in place of the exception's name; one that says ``put off`` was published again. Names of tasks
that are not registered, and queues that are not declared, are ``unknown``.
Source: docs.celeryq.dev/en/stable/userguide/signals.html.
"""

from __future__ import annotations

from typing import Any

from celery import Celery, Task, signals
from celery.app.task import Context
from celery.worker.request import Request

from app.data_plane.ports import Queue
from app.telemetry import metrics

UNKNOWN = "unknown"
NOT_DONE = "not done: "
PUT_OFF = "put off: "
_QUEUES = frozenset(queue.value for queue in Queue)
_REJECTED = "REJECTED"

Labels = tuple[str, str, str]


class TaskMetrics:
    """Hears the signals of the process that it is made in, and of those that this forks."""

    def __init__(self) -> None:
        self._began: dict[str, float] = {}

    def connect(self) -> None:
        """Begin to hear; once in a process."""
        signals.task_received.connect(self._received, weak=False)
        signals.task_prerun.connect(self._started, weak=False)
        signals.task_postrun.connect(self._over, weak=False)
        signals.task_failure.connect(self._failed, weak=False)
        signals.task_retry.connect(self._retried, weak=False)

    def _received(self, request: Request, **_: object) -> None:
        metrics.task_received(*labels(request.app, request.name, request.delivery_info, request.hostname))

    def _started(self, sender: Task[Any, Any], task_id: str, **_: object) -> None:
        self._began[task_id] = metrics.now()
        metrics.task_started(*_of(sender))

    def _over(
        self, sender: Task[Any, Any], task_id: str, retval: object, state: str | None = None, **_: object
    ) -> None:
        given = _of(sender)
        began = self._began.pop(task_id, None)
        if began is not None:
            metrics.task_ran(*given, metrics.now() - began)
        if state == "SUCCESS":
            if isinstance(retval, str) and retval.startswith(NOT_DONE):
                metrics.task_failed(*given, retval.removeprefix(NOT_DONE))
            elif isinstance(retval, str) and retval.startswith(PUT_OFF):
                metrics.task_retried(*given)
            else:
                metrics.task_succeeded(*given)
        elif state == _REJECTED:
            metrics.task_rejected(*given)

    def _failed(self, sender: Task[Any, Any], task_id: str, exception: BaseException, **_: object) -> None:
        # Outside the request, the parent repeats what was counted within it: a rejection as the child's, and a time
        # limit with the end of its job (celery/worker/request.py of 5.7, on_failure and on_timeout).
        if sender.request.id == task_id:
            metrics.task_failed(*_of(sender), type(exception).__name__)

    def _retried(self, sender: Task[Any, Any], request: Context, **_: object) -> None:
        metrics.task_retried(*labels(sender.app, sender.name, request.delivery_info, request.hostname))


def labels(app: Celery | None, name: object, delivery: object, node: object) -> Labels:
    """The three labels of every such counter, bounded by what is declared."""
    queue = delivery.get("routing_key") if isinstance(delivery, dict) else None
    return (
        name if isinstance(name, str) and app is not None and name in app.tasks else UNKNOWN,
        queue if isinstance(queue, str) and queue in _QUEUES else UNKNOWN,
        node if isinstance(node, str) else UNKNOWN,
    )


def _of(task: Task[Any, Any]) -> Labels:
    request = task.request
    return labels(task.app, task.name, request.delivery_info, request.hostname)
