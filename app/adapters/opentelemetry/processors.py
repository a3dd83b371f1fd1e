"""What happens to each span between its start and its export: its keys, and whether it is kept.

Source: opentelemetry.io/docs/specs/otel/trace/sdk (span processors), and opentelemetry/sdk/trace of 1.45.
"""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakValueDictionary

from opentelemetry import baggage, context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState, get_current_span
from opentelemetry.util.types import Attributes

from app.telemetry import messages, naming
from app.telemetry.span_ids import wanted
from app.telemetry.tracing import Held, held_by


class DerivedIds(IdGenerator):
    """Ids that whoever starts a span wants it to have; by chance where nobody wants anything."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()

    def generate_span_id(self) -> int:
        """See ``IdGenerator``."""
        asked = wanted()
        return asked.span_id if asked is not None and asked.span_id else self._random.generate_span_id()

    def generate_trace_id(self) -> int:
        """See ``IdGenerator``."""
        asked = wanted()
        return asked.trace_id if asked is not None and asked.trace_id else self._random.generate_trace_id()


class KeysProcessor(SpanProcessor):
    """Copies the four correlation keys, and nothing else, from the baggage onto every span that is started below ours.

    Also spans that libraries start; they wait for ours above them where that is recorded later.

    Args:
        exports: what ended spans go to.
    """

    def __init__(self, exports: Sequence[SpanProcessor]) -> None:
        self._exports = tuple(exports)
        self._waiting: WeakValueDictionary[int, Held] = WeakValueDictionary()

    def on_start(self, span: Span, parent_context: context.Context | None = None) -> None:
        """See ``SpanProcessor``."""
        if parent_context is not None and len(parent_context) <= 1:
            # Ours, most of them: there is the parent and nothing else.
            return
        inherited = baggage.get_all(parent_context)
        if inherited:
            own = span.attributes or {}
            for name in naming.CORRELATION_KEYS:
                value = inherited.get(name)
                if isinstance(value, str) and name not in own:
                    span.set_attribute(name, value)
        self._wait(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        """See ``SpanProcessor``."""
        held = self._waited(span)
        if held is None:
            self._export(span)
        else:
            held.when_recorded(lambda: self._export(span))

    def shutdown(self) -> None:
        """See ``SpanProcessor``."""
        for export in self._exports:
            export.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """See ``SpanProcessor``."""
        flushed = [export.force_flush(timeout_millis) for export in self._exports]
        return all(flushed)

    def _wait(self, span: Span, parent_context: context.Context | None) -> None:
        held = held_by(parent_context)
        if held is not None:
            self._waiting[span.context.span_id] = held

    def _waited(self, span: ReadableSpan) -> Held | None:
        return self._waiting.pop(span.context.span_id, None) if self._waiting else None

    def _export(self, span: ReadableSpan) -> None:
        for export in self._exports:
            export.on_end(span)


class MessagesProcessor(KeysProcessor):
    """Keeps the spans of messages that carried something or failed; whoever exports them ends with the other one.

    What a message publishes waits for it, so that a worker that is killed leaves no span without the one above.
    """

    def on_start(self, span: Span, parent_context: context.Context | None = None) -> None:
        """See ``SpanProcessor``."""
        self._wait(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        """See ``SpanProcessor``."""
        if span.kind is SpanKind.PRODUCER:
            super().on_end(span)
            return
        held = self._waited(span)
        if messages.is_kept(span):
            self._export(span)
            if held is not None:
                held.recorded()

    def shutdown(self) -> None:
        """See ``SpanProcessor``."""


class MessagesSampler(Sampler):
    """Records every message, to see what it carries; what it publishes only once it carries something.

    A publish is told of by the message that it belongs to: without one there is no span of it.
    """

    def should_sample(
        self,
        parent_context: context.Context | None,
        trace_id: int,  # noqa: ARG002 - OpenTelemetry's signature
        name: str,  # noqa: ARG002
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,  # noqa: ARG002
        trace_state: TraceState | None = None,  # noqa: ARG002
    ) -> SamplingResult:
        """See ``Sampler``."""
        if kind is SpanKind.PRODUCER and not messages.is_kept(get_current_span(parent_context)):
            return SamplingResult(Decision.DROP)
        return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes)

    def get_description(self) -> str:
        """See ``Sampler``."""
        return type(self).__name__


def providers(
    exports: Sequence[SpanProcessor], sampler: Sampler, resource: Resource
) -> tuple[TracerProvider, TracerProvider]:
    """What a process's spans come from: those of orchestrations (and of libraries), and those of messages.

    Args:
        exports: what ended spans go to; the first provider flushes and ends them.
        sampler: which orchestrations' traces are recorded.
    """
    orchestrations = TracerProvider(sampler, resource, shutdown_on_exit=False, id_generator=DerivedIds())
    orchestrations.add_span_processor(KeysProcessor(exports))
    carried = TracerProvider(MessagesSampler(), resource, shutdown_on_exit=False, id_generator=DerivedIds())
    carried.add_span_processor(MessagesProcessor(exports))
    return orchestrations, carried
