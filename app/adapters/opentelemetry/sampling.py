"""Which new traces are recorded: a share of them, and at most so many a second, so that load costs no throughput.

The verdict is made where a trace begins and travels in its traceparent, so that a trace is whole or absent.
Source: opentelemetry.io/docs/specs/otel/trace/sdk/#sampling.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import (
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes


def sampler(ratio: float, traces_per_second: float) -> Sampler:
    """A process's sampler: a span goes with its parent, wherever that is; a new trace is asked about."""
    return ParentBased(NewTraces(ratio, traces_per_second))


class NewTraces(Sampler):
    """The verdict on a trace that begins here.

    What is linked with a recorded trace is recorded with it: a replay of it, a message that carried its steps.

    Args:
        ratio: the share of new traces, 0 to 1, chosen by their ids: each process chooses the same.
        per_second: how many of those this process records a second at most, and, after a pause, at once.
        clock: monotonic seconds.
    """

    def __init__(self, ratio: float, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._chosen = TraceIdRatioBased(ratio)
        self._per_second = per_second
        self._most = max(1.0, per_second)
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens = self._most
        self._filled_at = clock()

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """See the SDK's ``Sampler``."""
        if any(link.context.trace_flags.sampled for link in links or ()):
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, trace_state)
        verdict = self._chosen.should_sample(
            parent_context, trace_id, name, kind, attributes, links, trace_state
        )
        if verdict.decision is Decision.DROP or self._takes_a_token():
            return verdict
        return SamplingResult(Decision.DROP, None, trace_state)

    def get_description(self) -> str:
        """See the SDK's ``Sampler``."""
        return f"NewTraces{{{self._chosen.rate},{self._per_second:g}/s}}"

    def _takes_a_token(self) -> bool:
        with self._lock:
            now = self._clock()
            self._tokens = min(self._most, self._tokens + (now - self._filled_at) * self._per_second)
            self._filled_at = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True
