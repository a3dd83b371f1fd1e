"""Spans of messages: what carries work is infrastructure, with traces of its own beside those of orchestrations.

A message's span is kept when it carried something of an orchestration that is recorded, when it failed, or when it
came again; rings that found nothing to do, the reconciler's and the anchors' are dropped. It links to the
orchestrations whose work it carried, and their spans to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from opentelemetry import context, trace
from opentelemetry.trace import Span, SpanKind

from app.telemetry import naming, tracing
from app.telemetry.span_ids import Linked, LinkKind, is_sampled, link_to, traceparent_of
from app.telemetry.tracing import Held

MOST_LINKS = 127
"""OpenTelemetry keeps 128; a message that comes again has one more."""

_PUBLISHES = context.create_key("interlock-publishes")


def is_kept(span: object) -> bool:
    """Whether the span of a message has carried work of a recorded orchestration, has failed, or came again."""
    attributes = _attributes(span)
    return any(name in attributes for name in (naming.QUEUE, naming.ERROR_TYPE, naming.REDELIVERED))


@contextmanager
def batch(queue: str, size: int, parents: Sequence[str | None]) -> Iterator[None]:
    """Around the work on one message's batch: its span tells what it carried, and links to it.

    Where no message is being worked on (an HTTP request, a command), the batch has a span of its own.

    Args:
        parents: the orchestrations' traceparents; nothing is told of a batch in which none is recorded.
    """
    recorded = [parent for parent in parents if parent is not None and is_sampled(parent)]
    if not recorded:
        yield
        return
    carrier = _carrier()
    if carrier is not None:
        _tell(carrier, queue, size, recorded)
        yield
        return
    started = tracing.messages_tracer().start_span(naming.batch_span(queue), context=context.Context())
    _tell(started, queue, size, recorded)
    held = Held()
    token = context.attach(tracing.holding(held, trace.set_span_in_context(started)))
    try:
        yield
    except Exception as error:
        tracing.mark_failed(started, error)
        raise
    finally:
        context.detach(token)
        started.end()
        held.recorded()


def carried_by() -> tuple[Linked, ...]:
    """The message that carries what is recorded now, for a span's links; none outside ``batch``."""
    carrier = _carrier()
    if carrier is None or not is_kept(carrier):
        return ()
    traceparent = traceparent_of(carrier)
    return () if traceparent is None else (Linked(traceparent, LinkKind.CARRIED_BY),)


def failed(code: str) -> None:
    """The work on this message failed with that code, although its task has not."""
    carrier = _carrier()
    if carrier is not None:
        tracing.describe(carrier, {naming.ERROR_TYPE: code})


@contextmanager
def publishing(queue: str) -> Iterator[None]:
    """Around every publish: its spans belong to the message that is worked on, never to an orchestration's trace.

    Celery's instrumentation makes a span current before it publishes, and ends it after: when the broker is away, it
    never does. Whatever it left is ended here, and is not current any more. That a publish failed is told by the
    message's span, too.
    """
    begun: dict[str, Publish] = {}
    carrier = _carrier()
    base = context.get_current() if carrier is not None else context.Context()
    token = context.attach(context.set_value(_PUBLISHES, begun, base))
    try:
        yield
    except Exception as error:
        if carrier is not None:
            attributes = {naming.QUEUE: queue, naming.ERROR_TYPE: type(error).__name__}
            carrier.add_event(naming.EVENT_PUBLISH_FAILED, attributes)
            tracing.mark_failed(carrier, error)
        _end(begun, error)
        raise
    finally:
        _end(begun)
        context.detach(token)


def _end(begun: dict[str, Publish], error: Exception | None = None) -> None:
    """End what was begun and never ended, and drop it.

    What made a span current gives back what was current before, whenever it is dropped: so before the guard ends.
    """
    while begun:
        _, publish = begun.popitem()
        if error is not None:
            tracing.mark_failed(publish.span, error)
        publish.span.end()


@dataclass(slots=True)
class Publish:
    """A publish that is under way, and whatever ends it."""

    span: Span
    kept: object


def publish_begun(message_id: str, publish: Publish) -> bool:
    """Whether there is a guard around it, which then keeps it until it is over."""
    begun = context.get_value(_PUBLISHES)
    if isinstance(begun, dict):
        begun[message_id] = publish
        return True
    return False


def publish_over(message_id: str) -> Publish | None:
    """What the guard kept of it."""
    begun = context.get_value(_PUBLISHES)
    found = begun.pop(message_id, None) if isinstance(begun, dict) else None
    return found if isinstance(found, Publish) else None


def _tell(carrier: Span, queue: str, size: int, parents: Sequence[str]) -> None:
    before = _attributes(carrier).get(naming.BATCH_SIZE)
    # One message may carry several batches, one after another.
    carried = size + (before if isinstance(before, int) else 0)
    carrier.set_attributes({naming.QUEUE: queue, naming.BATCH_SIZE: carried})
    for parent in parents[:MOST_LINKS]:
        link = link_to(Linked(parent, LinkKind.CARRIES))
        if link is not None:
            carrier.add_link(link.context, link.attributes)


def _carrier() -> Span | None:
    """The span of the message that is worked on: the current one, unless it is an orchestration's or a library's."""
    current = trace.get_current_span()
    if not current.is_recording():
        return None
    is_batch = naming.QUEUE in _attributes(current)
    return current if is_batch or getattr(current, "kind", None) is SpanKind.CONSUMER else None


def _attributes(span: object) -> Mapping[str, object]:
    """OpenTelemetry's own spans cannot be read, the SDK's can."""
    found = getattr(span, "attributes", None)
    return found if isinstance(found, Mapping) else {}
