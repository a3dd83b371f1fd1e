"""What is seen of attempts and probes from outside: a span for each, which the target's own trace continues."""

from __future__ import annotations

from app.data_plane.ports import Delivery, Probe, ProbeAnswer, Receipt
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


def told(probe: Probe, answer: ProbeAnswer, since_ns: int) -> None:
    """A target was asked what became of an action."""
    if not tracing.is_sampled(probe.traceparent):
        return
    attributes: dict[str, AttributeValue] = {
        naming.ACTION_ID: probe.action_id,
        naming.TARGET: probe.target,
        naming.OUTCOME: answer.answer,
    }
    if answer.http_status:
        attributes[naming.HTTP_STATUS] = answer.http_status
    if answer.answer == "unknown":
        attributes[naming.ERROR_TYPE] = answer.reason or answer.answer
    keys = Keys(probe.tenant_id, probe.event_id, probe.orchestration_id)
    tracing.record(
        naming.SPAN_PROBE,
        keys,
        parent=probe.traceparent,
        start_ns=since_ns,
        end_ns=tracing.now_ns(),
        attributes=attributes,
    )
