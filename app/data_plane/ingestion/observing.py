"""What is seen of acceptance from outside: the span that an orchestration's trace begins with, and a line."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from app.data_plane.ports import AcceptedEvent, Queue, Route
from app.kernel.errors import PermanentError
from app.telemetry import messages, metrics, naming, tracing
from app.telemetry.logs import get_logger
from app.telemetry.tracing import Keys, OpenSpan
from interlock.envelope import Envelope

_log = get_logger(__name__)
_levels = logging.getLogger(__name__)


def begin(envelope: Envelope, route: Route) -> OpenSpan:
    """The first span of the orchestration's trace, which is the sender's when it named one, and never a message's.

    To be ended only when the event was accepted: a duplicate's orchestration has its first span already.
    """
    keys = Keys(envelope.tenantid, envelope.id, route.orchestration_id)
    attributes = {
        naming.WORKFLOW: route.workflow,
        naming.RELEASE: route.release,
        naming.CHANNEL: route.channel,
    }
    # A later version than ours is valid in an envelope, and cannot be continued.
    parent = tracing.accepted_traceparent(envelope.traceparent)
    if parent is None:
        return tracing.begin_trace(naming.SPAN_INGESTION, keys, attributes=attributes)
    return tracing.begin(naming.SPAN_INGESTION, keys, parent=parent, attributes=attributes)


@contextmanager
def batch(events: Sequence[AcceptedEvent]) -> Iterator[None]:
    """Around the acceptance of what came together, in one message or one request."""
    parents = [route.traceparent for event in events for route in event.routes]
    with messages.batch(Queue.INGESTION, len(events), parents):
        yield


def accepted(spans: Sequence[OpenSpan]) -> None:
    """The event is committed: its orchestrations' first spans are over."""
    for span in spans:
        for carrier in messages.carried_by():
            span.link(carrier)
        span.end()


def taken(envelope: Envelope, state: str, orchestration_ids: Sequence[str]) -> None:
    """A line for each orchestration that the event started, now or the first time."""
    metrics.event(state)
    if _levels.isEnabledFor(logging.INFO):
        for orchestration in orchestration_ids or ("",):
            keys = Keys(envelope.tenantid, envelope.id, orchestration)
            _log.info("event taken", **keys.named(), type=envelope.type, state=state)


def refused(envelope: Envelope, error: PermanentError) -> None:
    """A line with the reason's code; the event's content stays out of it."""
    metrics.event("refused")
    keys = Keys(envelope.tenantid, envelope.id)
    _log.warning("event refused", **keys.named(), type=envelope.type, code=error.code)
