"""Metrics: what a process measures itself, latencies and what no table holds. Durable facts are counted by an exporter.

Until ``install`` is called, measuring costs next to nothing. Times are in seconds, from ``now``. Every label is
bounded: beyond ``MOST_VALUES`` different ones a value is ``other``. How the measured is read is an adapter's business.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from app.telemetry.instruments import Instruments

MOST_VALUES = 200
"""How many different values one label has in a process."""

now = time.perf_counter
"""The clock of durations; its beginning means nothing."""


class _Installed:
    """The process's instruments."""

    instruments: Instruments | None = None


class Capped:
    """Lets the first so many different values through; others become ``other``."""

    def __init__(self, most: int = MOST_VALUES) -> None:
        self._most = most
        self._known: set[str] = set()

    def __call__(self, value: str) -> str:
        """The value, or ``other``."""
        if value not in self._known:
            if len(self._known) >= self._most:
                return "other"
            self._known.add(value)
        return value


def install(registry: CollectorRegistry) -> None:
    """Make this process's instruments, in ``registry``; from now on it measures.

    Whoever wants them kept in files, for all processes that are forked, says so to prometheus_client before.
    """
    # Here, as most processes that import this module never measure.
    from app.telemetry.instruments import Instruments

    _Installed.instruments = Instruments(registry)


def uninstall() -> None:
    """From now on nothing is measured."""
    _Installed.instruments = None


def event(state: str, count: int = 1) -> None:
    """Events came in and were ``accepted``, ``unrouted``, ``refused`` or a ``duplicate``."""
    if (found := _Installed.instruments) is not None:
        found.events.of(state).inc(count)


def ingested(seconds: float) -> None:
    """An event was accepted or refused, so long after it was asked for."""
    if (found := _Installed.instruments) is not None:
        found.ingestion.of().observe(seconds)


def step_claimed(queue: str, waited_seconds: float) -> None:
    """A step was claimed, so long after it was due."""
    if (found := _Installed.instruments) is not None:
        found.step_wait.of(queue).observe(waited_seconds)


def step_ended(queue: str, outcome: str, seconds: float) -> None:
    """A claimed step is ``done``, ``failed``, or is done ``again`` later; so long after its claim."""
    if (found := _Installed.instruments) is not None:
        found.steps.of(queue, outcome).inc()
        found.step_duration.of(queue, outcome).observe(seconds)


def orchestration_closed(workflow: str, status: str, seconds: float) -> None:
    """An orchestration came to its end, so long after its event was accepted."""
    if (found := _Installed.instruments) is not None:
        found.orchestration.of(workflow, status).observe(seconds)


def model_asked(provider: str, model: str, error: str, seconds: float) -> None:
    """A model answered, or gave no answer because of ``error``."""
    if (found := _Installed.instruments) is not None:
        found.model.of(provider, model, error).observe(seconds)


def tool_called(tool: str, outcome: str, seconds: float) -> None:
    """A tool that reads ``answered`` or ``failed``."""
    if (found := _Installed.instruments) is not None:
        found.tool.of(tool, outcome).observe(seconds)


def judged(effect: str, seconds: float) -> None:
    """The policy was asked about a call or an action: ``permitted``, ``denied``, ``approval``."""
    if (found := _Installed.instruments) is not None:
        found.verdict.of(effect).observe(seconds)


def delivered(target: str, outcome: str, seconds: float) -> None:
    """A target answered an attempt, or did not; the outcome is the receipt's."""
    if (found := _Installed.instruments) is not None:
        found.delivery.of(target, outcome).observe(seconds)


def breaker_refused(provider: str, model: str, reason: str) -> None:
    """A question was not let through: ``open``, ``half-open`` or ``forced_open``."""
    if (found := _Installed.instruments) is not None:
        found.refusals.of(provider, model, reason).inc()


def spans_dropped(count: int) -> None:
    """Spans were lost, as more were made than could be written."""
    if (found := _Installed.instruments) is not None:
        found.spans_dropped.of().inc(count)


def task_received(name: str, queue: str, node: str) -> None:
    """A worker took a message."""
    if (found := _Installed.instruments) is not None:
        found.task_received.of(name, queue, node).inc()


def task_started(name: str, queue: str, node: str) -> None:
    """A task began."""
    if (found := _Installed.instruments) is not None:
        found.task_started.of(name, queue, node).inc()


def task_succeeded(name: str, queue: str, node: str) -> None:
    """A task did its unit of work."""
    if (found := _Installed.instruments) is not None:
        found.task_succeeded.of(name, queue, node).inc()


def task_failed(name: str, queue: str, node: str, why: str) -> None:
    """A task raised, or says that its unit of work was not done."""
    if (found := _Installed.instruments) is not None:
        found.task_failed.of(name, queue, node, why).inc()


def task_retried(name: str, queue: str, node: str) -> None:
    """A task's message was published again."""
    if (found := _Installed.instruments) is not None:
        found.task_retried.of(name, queue, node).inc()


def task_rejected(name: str, queue: str, node: str) -> None:
    """A message was not worked on: undecodable, unknown, or rejected by its task."""
    if (found := _Installed.instruments) is not None:
        found.task_rejected.of(name, queue, node).inc()


def task_ran(name: str, queue: str, node: str, seconds: float) -> None:
    """A task is over, however it ended."""
    if (found := _Installed.instruments) is not None:
        found.task_runtime.of(name, queue, node).observe(seconds)
