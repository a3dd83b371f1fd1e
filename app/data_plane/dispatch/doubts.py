"""When a target is asked what became of an action that is in doubt, and what its answer means: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.data_plane.dispatch.attempts import SEND_WITHIN_SECONDS, key_is_kept, last_sent_at
from app.data_plane.orchestration.action_state import ActionState
from app.data_plane.orchestration.state import MOST_PROBES, OrchestrationState, may_be_probed
from app.data_plane.ports import ProbeAnswer
from app.kernel.facts import DeliveryProbed, Recorded
from app.kernel.release import Target
from interlock.canonical import digest_bytes

FIRST_PROBE_SECONDS = 1.5
LONGEST_PROBE_SECONDS = 60.0

MARGIN_SECONDS = 2.0
"""How long after an attempt has ended its target is left to be done with it."""


def can_be_asked(state: OrchestrationState, action_id: str) -> bool:
    """Whether the action is in doubt, its target can tell, and what it tells would still count."""
    action = state.actions_by_id.get(action_id)
    return action is not None and state.cancelled_by is None and may_be_probed(state, action)


def will_be_asked(state: OrchestrationState, target: Target, action_id: str) -> bool:
    """The same of an action that is about to be in doubt."""
    probes = state.actions_by_id[action_id].probes
    return state.cancelled_by is None and target.probe_path is not None and probes < MOST_PROBES


def first_probe_seconds(target: Target, started_at: datetime | None, now: datetime, *, heard: bool) -> float:
    """In how many seconds the target may first be asked: not before the attempt is over for certain.

    Args:
        started_at: when the attempt's start was recorded; None when that is not known, and it may be new.
        heard: whether whoever made the attempt knows that it has ended.
    """
    ends = target.timeout_seconds + MARGIN_SECONDS + (0.0 if heard else SEND_WITHIN_SECONDS)
    passed = (now - started_at).total_seconds() if started_at is not None else 0.0
    return max(FIRST_PROBE_SECONDS, ends - passed)


def too_early_seconds(action: ActionState, target: Target, facts: Sequence[Recorded], now: datetime) -> float:
    """For how many seconds the newest attempt may still be under way; 0 when it is over."""
    started_at = last_sent_at(facts, action.proposed.action_id)
    if started_at is None:
        return 0.0
    return max(0.0, target.timeout_seconds + MARGIN_SECONDS - (now - started_at).total_seconds())


@dataclass(frozen=True, slots=True)
class AfterProbe:
    """What the answer means, and when the target is asked again, if it is."""

    fact: DeliveryProbed
    retry_in_seconds: float | None = None


def after_probe(
    action: ActionState, target: Target, facts: Sequence[Recorded], answer: ProbeAnswer, now: datetime
) -> AfterProbe:
    """Turn the target's answer into a fact.

    That it does not know the key says that nothing was applied only while it would still know it.

    Args:
        now: when it had answered.
    """
    action_id, number = action.proposed.action_id, action.probes + 1
    told, reason = answer.answer, answer.reason or f"status {answer.http_status}"
    if told == "not_applied" and not key_is_kept(target, action_id, facts, now):
        told = "unknown"
        reason = (
            f"it does not know the key, which it keeps for {target.key_ttl_seconds} s only (key_ttl_seconds)"
        )
    fact = DeliveryProbed(
        action_id=action_id,
        attempt=action.attempts,
        probe=number,
        answer=told,
        reason=reason,
        receipt_digest=digest_bytes(answer.body),
    )
    if told != "unknown" or number >= MOST_PROBES:
        return AfterProbe(fact)
    backoff = min(LONGEST_PROBE_SECONDS, FIRST_PROBE_SECONDS * 3.0**number)
    return AfterProbe(fact, max(backoff, answer.retry_after_seconds or 0.0))
