"""What is seen of attempts from outside: a span for each, which the target's own trace continues."""

from __future__ import annotations

from app.data_plane.ports import Delivery, Receipt
from app.kernel.facts import ActionAuthorised
from app.telemetry import naming, tracing
from app.telemetry.tracing import AttributeValue, Keys, OpenSpan


def begin(keys: Keys, action: ActionAuthorised, attempt: int, traceparent: str | None) -> OpenSpan | None:
    """The span of an attempt that is about to be made; None when its trace is not recorded."""
    if not tracing.is_sampled(traceparent):
        return None
    attributes: dict[str, AttributeValue] = {
        naming.ACTION_ID: action.action_id,
        naming.ACTION_TOOL: action.tool,
        naming.TARGET: action.target,
        naming.ATTEMPT: attempt,
    }
    return tracing.begin(naming.SPAN_DISPATCH, keys, parent=traceparent, attributes=attributes)


def answered(span: OpenSpan | None, delivery: Delivery, receipt: Receipt) -> None:
    """The attempt is over, whatever the target made of it."""
    if span is None:
        return
    attributes: dict[str, AttributeValue] = {
        naming.OUTCOME: receipt.outcome,
        naming.ATTEMPT: delivery.attempt,
    }
    if receipt.http_status:
        attributes[naming.HTTP_STATUS] = receipt.http_status
    if receipt.outcome != "confirmed":
        attributes[naming.ERROR_TYPE] = receipt.outcome
    span.end(attributes)
