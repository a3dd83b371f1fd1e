"""Spans: one trace for each orchestration, with the four correlation keys on every span of it.

The trace context of an orchestration is a ``traceparent`` (W3C Trace Context) on its row, written at
ingestion. Whoever works on a step names it as the parent. Until ``install`` is called, and for a trace that
is not sampled, a span costs next to nothing. Exporters are an adapter's business.

Most spans are recorded when what they are about is committed, so that none is written of what did not happen, and no
span names a parent that a killed worker took with it. While such a span is under way, ``under_way`` makes it the
parent of what libraries record (an HTTP client's span inside a tool); those are held back until it is recorded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

from opentelemetry import baggage, context, trace
from opentelemetry.trace import NonRecordingSpan, NoOpTracer, Span, Status, StatusCode, Tracer

from app.kernel.errors import InterlockError
from app.telemetry import naming
from app.telemetry.span_ids import (
    Linked,
    WantedIds,
    accepted_traceparent,
    is_sampled,
    is_unsampled,
    link_to,
    span_context,
    standing_for,
    traceparent_of,
    want,
)

__all__ = [
    "AttributeValue",
    "Attributes",
    "Event",
    "Held",
    "Keys",
    "OpenSpan",
    "accepted_traceparent",
    "begin",
    "begin_trace",
    "current_traceparent",
    "held_by",
    "install",
    "is_sampled",
    "joined",
    "now_ns",
    "record",
    "span",
    "traceparent_of",
    "under_way",
]

AttributeValue = str | int | float | bool | Sequence[str]
Attributes = Mapping[str, AttributeValue]

MOST_HELD = 512
"""Spans of libraries that wait for one span of ours; the rest are dropped."""

_HELD = context.create_key("interlock-held")


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


class Held:
    """Spans of libraries that wait until the span above them is recorded; with one that never is, they are dropped."""

    __slots__ = ("__weakref__", "_waiting")

    def __init__(self) -> None:
        self._waiting: list[Callable[[], None]] | None = []

    def when_recorded(self, export: Callable[[], None]) -> None:
        """Call ``export`` when the span above is recorded: at once when it is already."""
        if self._waiting is None:
            export()
        elif len(self._waiting) < MOST_HELD:
            self._waiting.append(export)

    def recorded(self) -> None:
        """The span above is recorded."""
        waiting, self._waiting = self._waiting, None
        for export in waiting or ():
            export()


class _Installed:
    """The process's tracers: of orchestrations, and of the messages that carry them."""

    tracer: Tracer = NoOpTracer()
    messages: Tracer = NoOpTracer()


def install(tracer: Tracer, messages: Tracer | None = None) -> None:
    """Make ``tracer`` the one that every span of this process comes from, and ``messages`` that of messages' spans."""
    _Installed.tracer, _Installed.messages = tracer, messages or tracer


def messages_tracer() -> Tracer:
    """The one that the spans of messages come from."""
    return _Installed.messages


@contextmanager
def span(
    name: str,
    keys: Keys,
    *,
    parent: str | None = None,
    attributes: Attributes | Callable[[], Attributes] | None = None,
    links: Sequence[Linked] = (),
) -> Iterator[Span]:
    """A span that is current inside the block; what is recorded below it has its keys.

    Args:
        parent: the traceparent to continue; without one, the current span, else a new trace begins.
        attributes: a function is called only when the span is recorded.
        links: spans that caused this one without being its parent.
    """
    if parent is not None and is_unsampled(parent):
        yield standing_for(parent)
        return
    started = _start(name, keys, _parent_context(parent), attributes, links)
    token = context.attach(_with_keys(keys, trace.set_span_in_context(started)))
    try:
        yield started
    except Exception as error:
        mark_failed(started, error)
        raise
    finally:
        context.detach(token)
        started.end()


@contextmanager
def under_way(keys: Keys, traceparent: str | None, held: Held | None) -> Iterator[None]:
    """Makes a span that is recorded later the parent of whatever is recorded inside the block, with its keys.

    Args:
        traceparent: of that span; of one that is not sampled, so that nothing below it is; None for no trace.
        held: what keeps the spans below it until it is recorded.
    """
    if isinstance(_Installed.tracer, NoOpTracer):
        yield
        return
    within = context.Context()
    if traceparent is not None:
        within = trace.set_span_in_context(standing_for(traceparent), within)
        if held is not None and not is_unsampled(traceparent):
            within = context.set_value(_HELD, held, _with_keys(keys, within))
    token = context.attach(within)
    try:
        yield
    finally:
        context.detach(token)


def held_by(within: context.Context | None) -> Held | None:
    """What keeps the spans that are started in this context, or in the current one."""
    found = context.get_value(_HELD, within)
    return found if isinstance(found, Held) else None


def holding(held: Held, within: context.Context) -> context.Context:
    """The context, and spans that are started in it are kept until ``held`` says so."""
    return context.set_value(_HELD, held, within)


class OpenSpan:
    """A span that is under way. Whoever holds it ends it; one that is dropped never was."""

    def __init__(self, under_way: Span) -> None:
        self._span = under_way

    @property
    def traceparent(self) -> str | None:
        """What continues it; None when there is no trace."""
        return traceparent_of(self._span)

    def link(self, linked: Linked | None) -> None:
        """It was caused by that one, too."""
        found = link_to(linked) if linked is not None and self._span.is_recording() else None
        if found is not None:
            self._span.add_link(found.context, found.attributes)

    def end(self, attributes: Attributes | None = None) -> None:
        """It is over; with ``error.type`` among the attributes, it failed."""
        describe(self._span, attributes or {})
        self._span.end()


def begin(
    name: str,
    keys: Keys,
    *,
    parent: str | None = None,
    attributes: Attributes | None = None,
    links: Sequence[Linked] = (),
    span_id: int = 0,
) -> OpenSpan:
    """A span whose traceparent is needed before it is known whether, or how, it ends; never current.

    Args:
        span_id: its id where that is derived; 0 lets chance decide.
    """
    if parent is not None and is_unsampled(parent):
        return OpenSpan(standing_for(parent))
    return OpenSpan(_start(name, keys, _parent_context(parent), attributes, links, span_id=span_id))


def begin_trace(
    name: str, keys: Keys, *, links: Sequence[Linked] = (), attributes: Attributes | None = None
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
    links: Sequence[Linked] = (),
    span_id: int = 0,
) -> str | None:
    """A span of something that is over, such as one orchestration's share of a batch; its traceparent.

    ``start_ns`` and ``end_ns`` are nanoseconds since the epoch (``now_ns``). With ``error.type`` among the
    attributes it failed. ``span_id`` is its id where that is derived.
    """
    if parent is not None and is_unsampled(parent):
        return parent
    within = _parent_context(parent)
    started = _start(name, keys, within, attributes, links, start_ns=start_ns, span_id=span_id)
    for event in events:
        started.add_event(event.name, event.attributes, event.at_ns)
    started.end(end_ns)
    return traceparent_of(started)


def current_traceparent() -> str | None:
    """The traceparent that continues the current span; None when there is no trace."""
    return traceparent_of(trace.get_current_span())


def joined(keys: Keys, traceparent: str | None) -> dict[str, str]:
    """What joins a line to its orchestration: the known keys, and the ``trace_id`` when there is a trace.

    Without it a line carries the trace of the message that brought the work.
    """
    named = keys.named()
    return {**named, "trace_id": traceparent[3:35]} if traceparent is not None else named


def now_ns() -> int:
    """Nanoseconds since the epoch, for the beginning and the end of spans and for nothing else."""
    return time.time_ns()


def describe(described: Span, attributes: Attributes) -> None:
    """Set attributes; with ``error.type`` among them, the span has failed."""
    if described.is_recording() and attributes:
        described.set_attributes(attributes)
        _mark(described, attributes)


def mark_failed(failed: Span, error: BaseException) -> None:
    """The kind of error only: its text may hold what must not leave the process."""
    code = error.code if isinstance(error, InterlockError) else type(error).__name__
    describe(failed, {naming.ERROR_TYPE: code})


def _mark(marked: Span, attributes: Attributes) -> None:
    if naming.ERROR_TYPE in attributes:
        marked.set_status(Status(StatusCode.ERROR, str(attributes[naming.ERROR_TYPE])))


def _start(
    name: str,
    keys: Keys,
    within: context.Context | None,
    attributes: Attributes | Callable[[], Attributes] | None,
    links: Sequence[Linked],
    *,
    start_ns: int | None = None,
    span_id: int = 0,
) -> Span:
    linked = [found for found in map(link_to, links) if found is not None]
    late = attributes if callable(attributes) else None
    known = {} if attributes is None or late is not None else attributes
    assert not callable(known)
    want(WantedIds(span_id) if span_id else None)
    try:
        started = _Installed.tracer.start_span(
            name, context=within, attributes={**keys.named(), **known}, links=linked, start_time=start_ns
        )
    finally:
        want(None)
    if started.is_recording():
        if late is not None:
            started.set_attributes(late())
        _mark(started, known)
    return started


def _with_keys(keys: Keys, within: context.Context) -> context.Context:
    for name, value in keys.named().items():
        within = baggage.set_baggage(name, value, within)
    return within


# Each orchestration's is asked for about ten times, by whoever does one of its steps.
@lru_cache(maxsize=1024)
def _parent_context(parent: str | None) -> context.Context | None:
    found = span_context(parent) if parent is not None else None
    if found is None:
        return None
    return trace.set_span_in_context(NonRecordingSpan(found), context.Context())
