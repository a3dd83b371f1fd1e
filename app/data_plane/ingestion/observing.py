"""What is seen of acceptance from outside: the span that an orchestration's trace begins with, and a line."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from app.data_plane.ports import Route
from app.kernel.errors import PermanentError
from app.telemetry import metrics, naming, tracing
from app.telemetry.logs import get_logger
from app.telemetry.tracing import Keys, OpenSpan
from interlock.envelope import Envelope

_log = get_logger(__name__)
_levels = logging.getLogger(__name__)


def begin(envelope: Envelope, route: Route) -> OpenSpan:
    """The first span of the orchestration's trace, which is the sender's when it named one.

    To be ended only when the event was accepted: a duplicate's orchestration has its first span already.
    """
    keys = Keys(envelope.tenantid, envelope.id, route.orchestration_id)
    attributes = {
        naming.WORKFLOW: route.workflow,
        naming.RELEASE: route.release,
        naming.CHANNEL: route.channel,
    }
    return tracing.begin(naming.SPAN_INGESTION, keys, parent=envelope.traceparent, attributes=attributes)


def accepted(spans: Sequence[OpenSpan]) -> None:
    """The event is committed: its orchestrations' first spans are over."""
    for span in spans:
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
