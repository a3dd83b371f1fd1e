"""Spans: one trace for each orchestration, with the four correlation keys on every span of it.

The trace context of an orchestration is a ``traceparent`` (W3C Trace Context) on its row, written at
ingestion. Whoever works on a step names it as the parent. Until ``install`` is called, and for a trace that
is not sampled, a span costs next to nothing. Exporters are an adapter's business.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from opentelemetry import context, trace
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    NoOpTracer,
    Span,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
)

from app.kernel.errors import InterlockError
from app.telemetry import naming

AttributeValue = str | int | float | bool
Attributes = Mapping[str, AttributeValue]

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_MAX_LINKS = 128


@dataclass(frozen=True, slots=True)
class Keys:
    """The four correlation keys; what is not known yet is empty and left out."""

    tenant_id: str = ""
    event_id: str = ""
    orchestration_id: str = ""
    run_id: str = ""

    def named(self) -> dict[str, str]:
        """The known ones by their names."""
        values = (self.tenant_id, self.event_id, self.orchestration_id, self.run_id)
        return {name: value for name, value in zip(naming.CORRELATION_KEYS, values, strict=True) if value}


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened within a span; ``at_ns`` is in nanoseconds since the epoch."""

    at_ns: int
    name: str
    attributes: Attributes


class _Installed:
    """The process's tracer."""

    tracer: Tracer = NoOpTracer()


def install(tracer: Tracer) -> None:
    """Make ``tracer`` the one that every span of this process comes from."""
    _Installed.tracer = tracer


@contextmanager
def span(
    name: str,
    keys: Keys,
    *,
    parent: str | None = None,
    attributes: Attributes | Callable[[], Attributes] | None = None,
    links: Sequence[str] = (),
) -> Iterator[Span]:
    """A span that is current inside the block.

    Args:
        parent: the traceparent to continue; without one, the current span, else a new trace begins.
        attributes: a function is called only when the span is recorded.
        links: traceparents of spans that caused this one without being its parent.
    """
    if parent is not None and _is_unsampled(parent):
        yield NonRecordingSpan(_span_context(parent) or trace.INVALID_SPAN_CONTEXT)
        return
    started = _start(name, keys, _parent_context(parent), attributes, links)
    token = context.attach(trace.set_span_in_context(started))
    try:
        yield started
    except Exception as error:
        _mark_failed(started, error)
        raise
    finally:
        context.detach(token)
        started.end()


@contextmanager
def batch_span(queue: str, size: int, parents: Sequence[str]) -> Iterator[Span]:
    """The span of one message that carries a batch: a trace of its own, linked to its orchestrations'."""
    links = [parent for parent in parents if not _is_unsampled(parent)][:_MAX_LINKS]
    attributes: Attributes = {naming.QUEUE: queue, naming.BATCH_SIZE: size}
    started = _start(naming.batch_span(queue), Keys(), context.Context(), attributes, links)
    token = context.attach(trace.set_span_in_context(started))
    try:
        yield started
    except Exception as error:
        _mark_failed(started, error)
        raise
    finally:
        context.detach(token)
        started.end()


class OpenSpan:
    """A span that is under way. Whoever holds it ends it; one that is dropped never was."""

    def __init__(self, under_way: Span) -> None:
        self._span = under_way

    @property
    def traceparent(self) -> str | None:
        """What continues it; None when there is no trace."""
        return traceparent_of(self._span)

    def end(self, attributes: Attributes | None = None) -> None:
        """It is over; with ``error.type`` among the attributes, it failed."""
        _describe(self._span, attributes or {})
        self._span.end()


def begin(
    name: str, keys: Keys, *, parent: str | None = None, attributes: Attributes | None = None
) -> OpenSpan:
    """A span whose traceparent is needed before it is known whether, or how, it ends; never current."""
    if parent is not None and _is_unsampled(parent):
        return OpenSpan(NonRecordingSpan(_span_context(parent) or trace.INVALID_SPAN_CONTEXT))
    return OpenSpan(_start(name, keys, _parent_context(parent), attributes, ()))


def begin_trace(
    name: str, keys: Keys, *, links: Sequence[str] = (), attributes: Attributes | None = None
) -> OpenSpan:
    """The first span of a trace of its own, whatever is current, linked to what caused it."""
    return OpenSpan(_start(name, keys, context.Context(), attributes, links))


def record(
    name: str,
    keys: Keys,
    *,
    parent: str | None,
    start_ns: int,
    end_ns: int,
    attributes: Attributes | None = None,
    events: Sequence[Event] = (),
) -> str | None:
    """A span of something that is over, such as one orchestration's share of a batch; its traceparent.

    ``start_ns`` and ``end_ns`` are nanoseconds since the epoch (``now_ns``). With ``error.type`` among the
    attributes it failed.
    """
    if parent is not None and _is_unsampled(parent):
        return parent
    started = _start(name, keys, _parent_context(parent), None, (), start_ns)
    _describe(started, attributes or {})
    for event in events:
        started.add_event(event.name, event.attributes, event.at_ns)
    started.end(end_ns)
    return traceparent_of(started)


@contextmanager
def publishing() -> Iterator[None]:
    """Guards a publish: when it fails, the span that the instrumentation left current does not stay so."""
    token = context.attach(context.get_current())
    try:
        yield
    finally:
        context.detach(token)


def traceparent_of(of: Span) -> str | None:
    """The traceparent that continues ``of``; None when there is no trace."""
    found = of.get_span_context()
    if not found.is_valid:
        return None
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags & 1:02x}"


def current_traceparent() -> str | None:
    """The traceparent that continues the current span; None when there is no trace."""
    return traceparent_of(trace.get_current_span())


def joined(keys: Keys, traceparent: str | None) -> dict[str, str]:
    """What joins a line to its orchestration: the known keys, and the ``trace_id`` when there is a trace.

    Without it a line carries the trace of the message that brought the work.
    """
    named = keys.named()
    return {**named, "trace_id": traceparent[3:35]} if traceparent is not None else named


def is_sampled(traceparent: str | None) -> bool:
    """Whether spans below it are recorded: to be asked before anything is gathered for them."""
    return traceparent is not None and not _is_unsampled(traceparent)


def now_ns() -> int:
    """Nanoseconds since the epoch, for the beginning and the end of spans and for nothing else."""
    return time.time_ns()


def accepted_traceparent(header: str | None) -> str | None:
    """A traceparent from outside as it may be stored; None when it is absent or not one of version 00."""
    if header is None:
        return None
    text = header.strip()
    return text if _span_context(text) is not None else None


def _start(
    name: str,
    keys: Keys,
    within: context.Context | None,
    attributes: Attributes | Callable[[], Attributes] | None,
    links: Sequence[str],
    start_ns: int | None = None,
) -> Span:
    linked = [Link(found) for found in map(_span_context, links) if found is not None]
    started = _Installed.tracer.start_span(name, context=within, links=linked, start_time=start_ns)
    if started.is_recording():
        more = attributes() if callable(attributes) else attributes or {}
        started.set_attributes({**more, **keys.named()})
    return started


def _describe(described: Span, attributes: Attributes) -> None:
    if described.is_recording():
        described.set_attributes(attributes)
        if naming.ERROR_TYPE in attributes:
            described.set_status(Status(StatusCode.ERROR, str(attributes[naming.ERROR_TYPE])))


def _mark_failed(failed: Span, error: Exception) -> None:
    """The kind of error only: its text may hold what must not leave the process."""
    if failed.is_recording():
        code = error.code if isinstance(error, InterlockError) else type(error).__name__
        failed.set_attribute(naming.ERROR_TYPE, code)
        failed.set_status(Status(StatusCode.ERROR, code))


def _parent_context(parent: str | None) -> context.Context | None:
    found = _span_context(parent) if parent is not None else None
    if found is None:
        return None
    return trace.set_span_in_context(NonRecordingSpan(found), context.Context())


def _is_unsampled(traceparent: str) -> bool:
    return traceparent.endswith("-00")


def _span_context(traceparent: str) -> SpanContext | None:
    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None:
        return None
    found = SpanContext(int(match[1], 16), int(match[2], 16), True, TraceFlags(int(match[3], 16) & 1))
    return found if found.is_valid else None
