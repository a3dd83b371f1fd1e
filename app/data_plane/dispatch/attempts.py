"""What to do before an attempt, and after its answer: pure."""

from __future__ import annotations

from dataclasses import dataclass

from app.data_plane.orchestration.state import OrchestrationState
from app.data_plane.ports import Delivery, Receipt
from app.kernel.facts import (
    ActionAuthorised,
    DeliveryConfirmed,
    DeliveryFailed,
    DeliveryInDoubt,
    DeliveryRetried,
    DeliveryStarted,
)
from app.kernel.release import Target
from interlock.canonical import digest, digest_bytes

FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 300.0


def before_attempt(
    state: OrchestrationState, action_id: str
) -> DeliveryStarted | DeliveryInDoubt | DeliveryFailed | None:
    """The fact that must be committed before anything is sent; None when nothing is to be sent any more."""
    action = state.actions_by_id.get(action_id)
    if state.closed is not None or action is None or not isinstance(action.proposed, ActionAuthorised):
        return None
    target = state.release.target(action.proposed.target)
    if action.status == "sending" and not target.honours_keys:
        reason = "an attempt was begun and never heard of again, and the target does not honour keys"
        return DeliveryInDoubt(action_id=action_id, attempt=action.attempts, reason=reason)
    ending = state.cancelled_by is not None or state.gave_up is not None
    if ending and action.status == "authorised":
        return None
    if action.status not in {"authorised", "sending"}:
        return None
    if action.attempts >= target.max_attempts:
        reason = f"{action.attempts} attempts were made, which is the target's limit"
        if action.status == "sending":
            return DeliveryInDoubt(action_id=action_id, attempt=action.attempts, reason=reason)
        return DeliveryFailed(action_id=action_id, attempt=action.attempts, reason=reason)
    return DeliveryStarted(action_id=action_id, attempt=action.attempts + 1)


@dataclass(frozen=True, slots=True)
class AfterReceipt:
    """What the answer means, and when the next attempt is due, if there is one."""

    fact: DeliveryConfirmed | DeliveryRetried | DeliveryFailed | DeliveryInDoubt
    retry_in_seconds: float | None = None


def after_receipt(delivery: Delivery, target: Target, receipt: Receipt) -> AfterReceipt:
    """Turn the target's answer into a fact."""
    action_id, attempt = delivery.action_id, delivery.attempt
    if receipt.outcome == "confirmed":
        return AfterReceipt(
            DeliveryConfirmed(
                action_id=action_id,
                attempt=attempt,
                http_status=receipt.http_status,
                receipt_digest=digest_bytes(receipt.body),
                repeated=receipt.repeated,
            )
        )
    reason = f"{receipt.reason or receipt.outcome} (status {receipt.http_status})"
    unknown = receipt.outcome == "unknown"
    may_repeat = receipt.outcome == "retry" or (unknown and target.honours_keys)
    if may_repeat and attempt < target.max_attempts:
        seconds = retry_seconds(action_id, attempt, receipt.retry_after_seconds)
        return AfterReceipt(DeliveryRetried(action_id=action_id, attempt=attempt, reason=reason), seconds)
    if unknown:
        return AfterReceipt(DeliveryInDoubt(action_id=action_id, attempt=attempt, reason=reason))
    return AfterReceipt(DeliveryFailed(action_id=action_id, attempt=attempt, reason=reason))


def retry_seconds(action_id: str, attempt: int, asked_for: float | None) -> float:
    """Exponential backoff, spread over its upper half by the action's id so that no two retries march in step."""
    longest = min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** (attempt - 1))
    spread = int(digest([action_id, attempt])[:8], 16) / 0xFFFFFFFF
    backoff = longest * (0.5 + spread / 2)
    return max(backoff, asked_for or 0.0)
