"""The instruments behind ``metrics``: imported by the processes that measure, and by nobody else."""

from __future__ import annotations

from typing import Final, Generic, TypeVar, cast

from prometheus_client import CollectorRegistry, Counter, Histogram

from app.telemetry import metric_names as names
from app.telemetry.metrics import Capped

_M = TypeVar("_M", bound=Counter | Histogram)

MILLISECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
MODELS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 300.0)
VERDICTS: Final = (0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25)
LIVES: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0)
"""Bounds of histograms, in seconds; an orchestration may wait for people for a day."""

_TASK = ("name", "queue_name", "hostname")


class Bounded(Generic[_M]):
    """An instrument each of whose labels is capped."""

    def __init__(self, metric: _M, labels: tuple[str, ...]) -> None:
        self._metric = metric
        self._caps = tuple(Capped() for _ in labels)
        self._children: dict[tuple[str, ...], _M] = {}

    def of(self, *given: str) -> _M:
        """The one for these labels."""
        child = self._children.get(given)
        if child is None:
            capped = tuple(cap(value) for cap, value in zip(self._caps, given, strict=True))
            child = cast(_M, self._metric.labels(*capped)) if capped else self._metric
            if capped == given:
                self._children[given] = child
        return child


class Instruments:
    """All of a process's."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, words: str, *labels: str) -> Bounded[Counter]:
            return Bounded(Counter(name, words, labels, registry=registry), labels)

        def histogram(name: str, words: str, bounds: tuple[float, ...], *labels: str) -> Bounded[Histogram]:
            return Bounded(Histogram(name, words, labels, buckets=bounds, registry=registry), labels)

        self.task_received = counter(names.TASK_RECEIVED, "Messages that a worker took.", *_TASK)
        self.task_started = counter(names.TASK_STARTED, "Tasks that began.", *_TASK)
        self.task_succeeded = counter(names.TASK_SUCCEEDED, "Tasks that did their work.", *_TASK)
        self.task_failed = counter(names.TASK_FAILED, "Tasks that did not.", *_TASK, "exception")
        self.task_retried = counter(names.TASK_RETRIED, "Tasks that were published again.", *_TASK)
        self.task_rejected = counter(names.TASK_REJECTED, "Messages that were not worked on.", *_TASK)
        self.task_runtime = histogram(names.TASK_RUNTIME, "How long tasks took.", SECONDS, *_TASK)
        self.step_wait = histogram(names.STEP_WAIT, "From due to claimed.", SECONDS, "queue")
        self.steps = counter(names.STEPS, "Steps that a worker ended.", "queue", "outcome")
        self.step_duration = histogram(
            names.STEP_DURATION, "From claimed to ended.", SECONDS, "queue", "outcome"
        )
        self.events = counter(names.EVENTS, "Events that came in.", "state")
        self.ingestion = histogram(names.INGESTION_DURATION, "How long acceptance took.", MILLISECONDS)
        self.orchestration = histogram(
            names.ORCHESTRATION_DURATION, "From acceptance to the end.", LIVES, "workflow", "status"
        )
        self.model = histogram(
            names.MODEL_DURATION,
            "How long models took to answer, or not to.",
            MODELS,
            "gen_ai_provider_name",
            "gen_ai_request_model",
            "error_type",
        )
        self.tool = histogram(names.TOOL_DURATION, "How long tools took.", MILLISECONDS, "tool", "outcome")
        self.verdict = histogram(names.VERDICT_DURATION, "How long verdicts took.", VERDICTS, "effect")
        self.delivery = histogram(
            names.DELIVERY_DURATION, "How long targets took to answer.", SECONDS, "target", "outcome"
        )
        self.refusals = counter(
            names.BREAKER_REFUSALS, "Questions that were not let through.", "provider", "model", "reason"
        )
        self.spans_dropped = counter(names.SPANS_DROPPED, "Spans that were lost.")
