"""What to do before an attempt, and after its answer: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.data_plane.backoff import spread
from app.data_plane.orchestration.action_state import ActionState
from app.data_plane.orchestration.state import OrchestrationState
from app.data_plane.ports import Delivery, Receipt
from app.kernel.facts import (
    ActionAuthorised,
    DeliveryConfirmed,
    DeliveryFailed,
    DeliveryInDoubt,
    DeliveryRetried,
    DeliveryStarted,
    Recorded,
)
from app.kernel.release import Target
from interlock.canonical import digest_bytes

FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 300.0

SEND_WITHIN_SECONDS = 10.0
"""An attempt that was not sent so soon after its start was recorded is not sent any more.

So an attempt is over for certain when this, and the target's timeout, have passed.
"""


def before_attempt(
    state: OrchestrationState, action_id: str, facts: Sequence[Recorded], now: datetime
) -> DeliveryStarted | DeliveryInDoubt | DeliveryFailed | None:
    """The fact that must be committed before anything is sent; None when nothing is to be sent any more.

    Args:
        facts: the orchestration's, for when the action was first sent.
    """
    action = state.actions_by_id.get(action_id)
    if state.closed is not None or action is None or not isinstance(action.proposed, ActionAuthorised):
        return None
    ending = state.cancelled_by is not None or state.gave_up is not None
    if action.status not in {"authorised", "sending"} or (ending and action.status == "authorised"):
        return None
    target = state.release.target(action.proposed.target)
    if doubt := why_not_again(action, target, facts, now):
        return DeliveryInDoubt(action_id=action_id, attempt=action.attempts, reason=doubt)
    if action.attempts - action.attempts_before >= target.max_attempts:
        reason = f"{target.max_attempts} attempts were made, which is the target's limit"
        if _is_unheard_of(action):
            return DeliveryInDoubt(action_id=action_id, attempt=action.attempts, reason=reason)
        return DeliveryFailed(action_id=action_id, attempt=action.attempts, reason=reason)
    return DeliveryStarted(action_id=action_id, attempt=action.attempts + 1)


def _is_unheard_of(action: ActionState) -> bool:
    """Whether some attempt may have been applied, though nobody knows."""
    return action.status == "sending" or action.ambiguous


def why_not_again(action: ActionState, target: Target, facts: Sequence[Recorded], now: datetime) -> str:
    """Why sending might apply it a second time; empty when it cannot."""
    if not _is_unheard_of(action):
        return ""
    if not target.honours_keys:
        return "an attempt was begun and never heard of again, and the target does not honour keys"
    arrives_by = now + timedelta(seconds=SEND_WITHIN_SECONDS + target.timeout_seconds)
    if not key_is_kept(target, action.proposed.action_id, facts, arrives_by):
        return (
            "an attempt was begun and never heard of again, and the target keeps a key for"
            f" {target.key_ttl_seconds} s only (key_ttl_seconds)"
        )
    return ""


def first_sent_at(facts: Sequence[Recorded], action_id: str) -> datetime | None:
    """When the action's first attempt was begun; None when there was none."""
    for recorded in facts:
        if isinstance(recorded.fact, DeliveryStarted) and recorded.fact.action_id == action_id:
            return datetime.fromisoformat(recorded.at)
    return None


def last_sent_at(facts: Sequence[Recorded], action_id: str) -> datetime | None:
    """When the action's newest attempt was begun; None when there was none."""
    return first_sent_at(facts[::-1], action_id)


def key_is_kept(target: Target, action_id: str, facts: Sequence[Recorded], moment: datetime) -> bool:
    """Whether the target still knows the action's key then: it may forget it ``key_ttl`` after the first attempt."""
    first = first_sent_at(facts, action_id)
    return first is not None and (moment - first).total_seconds() < target.key_ttl_seconds


@dataclass(frozen=True, slots=True)
class AfterReceipt:
    """What the answer means, and when the next attempt is due, if there is one."""

    fact: DeliveryConfirmed | DeliveryRetried | DeliveryFailed | DeliveryInDoubt
    retry_in_seconds: float | None = None


def after_receipt(
    delivery: Delivery, action: ActionState, target: Target, receipt: Receipt, *, cancelled: bool = False
) -> AfterReceipt:
    """Turn the target's answer into a fact.

    What gives up is in doubt, whatever its last answer says, as long as nobody knows of an earlier attempt.

    Args:
        cancelled: whether no other attempt follows, so that one that nobody knows of is in doubt at once.
    """
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
    made = attempt - action.attempts_before
    if cancelled and may_repeat and (unknown or action.ambiguous):
        reason = (
            f"the last answer was {reason}, and no other attempt was made: the orchestration was cancelled"
        )
        return AfterReceipt(DeliveryInDoubt(action_id=action_id, attempt=attempt, reason=reason))
    if may_repeat and made < target.max_attempts:
        seconds = retry_seconds(action_id, made, receipt.retry_after_seconds)
        fact = DeliveryRetried(action_id=action_id, attempt=attempt, reason=reason, ambiguous=unknown)
        return AfterReceipt(fact, seconds)
    if unknown:
        return AfterReceipt(DeliveryInDoubt(action_id=action_id, attempt=attempt, reason=reason))
    if action.ambiguous:
        reason = f"an earlier attempt was never heard of again, and the last one gave up: {reason}"
        return AfterReceipt(DeliveryInDoubt(action_id=action_id, attempt=attempt, reason=reason))
    return AfterReceipt(DeliveryFailed(action_id=action_id, attempt=attempt, reason=reason))


def retry_seconds(action_id: str, attempt: int, asked_for: float | None) -> float:
    """Exponential backoff, spread over its upper half by the action's id so that no two retries march in step."""
    longest = min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** (attempt - 1))
    return max(spread(longest, action_id, attempt), asked_for or 0.0)
