"""What is seen of attempts and probes from outside: a span for each, which the target's own trace continues."""

from __future__ import annotations

from dataclasses import replace

from app.data_plane.orchestration.action_state import ActionState
from app.data_plane.orchestration.step_spans import delivery_id
from app.data_plane.ports import Claim, Delivery, Probe, ProbeAnswer, Receipt
from app.kernel.facts import ActionAuthorised
from app.telemetry import messages, naming, tracing
from app.telemetry.span_ids import Linked, LinkKind, beside
from app.telemetry.tracing import AttributeValue, Keys, OpenSpan


def begin(keys: Keys, claim: Claim, action: ActionState, traceparent: str | None) -> OpenSpan | None:
    """The span of an attempt that is about to be made, linked to the one before; None where none is recorded."""
    proposed, attempt = action.proposed, action.attempts
    if (
        not isinstance(proposed, ActionAuthorised)
        or traceparent is None
        or not tracing.is_sampled(traceparent)
    ):
        return None
    attributes: dict[str, AttributeValue] = {
        naming.ACTION_ID: proposed.action_id,
        naming.ACTION_TOOL: proposed.tool,
        naming.TARGET: proposed.target,
        naming.ATTEMPT: attempt,
    }
    return tracing.begin(
        naming.SPAN_DISPATCH,
        replace(keys, run_id=proposed.run_id),
        parent=traceparent,
        attributes=attributes,
        links=(*_former(claim, action, traceparent), *messages.carried_by()),
        span_id=delivery_id(proposed.action_id, attempt),
    )


def _former(claim: Claim, action: ActionState, traceparent: str) -> tuple[Linked, ...]:
    before = action.attempts - 1
    if not before:
        return ()
    kind = LinkKind.RETRY
    if before == action.attempts_before:
        kind = LinkKind.RESUME
    elif claim.lapses:
        kind = LinkKind.LAPSE
    return (Linked(beside(traceparent, delivery_id(action.proposed.action_id, before)), kind),)


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
        links=messages.carried_by(),
    )
