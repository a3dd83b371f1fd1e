"""One action in plain words: what it is, each attempt and what came back, and what can be done about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.data_plane.dispatch.attempts import first_sent_at
from app.data_plane.dispatch.doubts import can_be_asked
from app.data_plane.orchestration.action_state import ActionState
from app.data_plane.orchestration.state import MOST_PROBES, OrchestrationState, fold, initial
from app.data_plane.replay.narrate import tell
from app.data_plane.replay.record import Record, read_chain
from app.kernel.clock import to_text
from app.kernel.facts import (
    ActionDenied,
    ActionSettled,
    ApprovalDenied,
    ApprovalExpired,
    ApprovalGranted,
    ApprovalRequested,
    ApprovalSuperseded,
    BaseFact,
    DeliveryConfirmed,
    DeliveryFailed,
    DeliveryInDoubt,
    DeliveryProbed,
    DeliveryRetried,
    DeliveryStarted,
    Recorded,
)
from app.kernel.release import Release, Target


@dataclass(frozen=True, slots=True)
class AttemptTold:
    """One attempt: when it began, and what came back; no answer when nobody heard of it again."""

    number: int
    at: str
    answer: str
    answered_at: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What people said of it before it could be sent, or a probe or a person of one in doubt."""

    at: str
    text: str


@dataclass(frozen=True, slots=True)
class ActionStory:
    """All that is known of one action; times are RFC 3339 in UTC."""

    action_id: str
    orchestration_id: str
    tenant_id: str
    name: str
    tool: str
    target: str
    state: str
    means: str
    """The state in words."""
    reason: str
    arguments_digest: str
    idempotency_key: str
    policies: tuple[str, ...]
    attempts: tuple[AttemptTold, ...]
    findings: tuple[Finding, ...]
    asked: tuple[Finding, ...]
    """Where the policy wants people's consent: that they were asked, and what they said."""
    keeps_keys: str
    """What its target promises about repeats, in words."""
    key_kept_until: str
    """When its target may have forgotten its key; empty where nothing was sent."""
    orchestration_status: str
    can_be_done: tuple[str, ...]


def explain_action(record: Record, release: Release, action_id: str, now: datetime) -> ActionStory:
    """The story of an action of this orchestration. Raises KeyError when it has no such action."""
    facts = read_chain(record.chain)
    state = fold(initial(record.orchestration_id, record.tenant_id, release), facts)
    action = state.actions_by_id[action_id]
    proposed = action.proposed
    own = [item for item in facts if getattr(item.fact, "action_id", None) == action_id]
    target = release.target(proposed.target)
    first = first_sent_at(facts, action_id)
    until = first + timedelta(seconds=target.key_ttl_seconds) if first is not None else None
    return ActionStory(
        action_id=action_id,
        orchestration_id=record.orchestration_id,
        tenant_id=record.tenant_id,
        name=proposed.name,
        tool=proposed.tool,
        target=proposed.target,
        state=action.status,
        means=_means(state, action),
        reason=_reason(own),
        arguments_digest=proposed.arguments_digest,
        idempotency_key="" if isinstance(proposed, ActionDenied) else proposed.idempotency_key,
        policies=proposed.policies,
        attempts=tuple(_attempts(own)),
        findings=_told(own, (DeliveryProbed, ActionSettled)),
        asked=_told(own, _APPROVAL),
        keeps_keys=_keeps_keys(target, until, now),
        key_kept_until=to_text(until) if until is not None else "",
        orchestration_status=state.status,
        can_be_done=_can_be_done(state, action),
    )


_APPROVAL = (ApprovalRequested, ApprovalGranted, ApprovalDenied, ApprovalExpired, ApprovalSuperseded)


def _told(own: Sequence[Recorded], kinds: tuple[type[BaseFact], ...]) -> tuple[Finding, ...]:
    return tuple(Finding(item.at, tell(item.fact)) for item in own if isinstance(item.fact, kinds))


def _means(state: OrchestrationState, action: ActionState) -> str:
    match action.status:
        case "authorised" if action.ambiguous:
            return "an attempt was not answered for; it may have been applied"
        case "authorised":
            return (
                "permitted, and not delivered yet"
                if state.closed is None
                else "permitted, and stays undelivered"
            )
        case "denied":
            if isinstance(action.proposed, ActionDenied) and action.proposed.was_asked:
                return "people were asked, and did not consent; nothing was sent"
            return "the policy denied it; nothing was sent"
        case "awaiting_approval":
            return "the policy permits it with a person's consent, which it waits for; nothing was sent"
        case "sending":
            return "on its way: an attempt was begun, and its answer is not recorded"
        case "confirmed":
            return "the target took it"
        case "failed":
            return "it gave up; no attempt was applied"
        case "in_doubt":
            return "nobody knows whether it was applied"
        case "settled":
            return (
                "it was in doubt, and was applied"
                if action.applied
                else "it was in doubt, and was not applied"
            )


def _reason(own: Sequence[Recorded]) -> str:
    told = (DeliveryRetried, DeliveryFailed, DeliveryInDoubt, ActionDenied)
    reasons = [item.fact.reason for item in own if isinstance(item.fact, told)]
    return reasons[-1] if reasons else ""


def _attempts(own: Sequence[Recorded]) -> list[AttemptTold]:
    attempts: list[AttemptTold] = []
    for item in own:
        if isinstance(item.fact, DeliveryStarted):
            answers = _answers(own, item.fact.attempt)
            attempts.append(
                AttemptTold(
                    number=item.fact.attempt,
                    at=item.at,
                    answer="; ".join(text for _, text in answers),
                    answered_at=answers[0][0] if answers else "",
                )
            )
    return attempts


def _answers(own: Sequence[Recorded], attempt: int) -> list[tuple[str, str]]:
    answers: list[tuple[str, str]] = []
    for item in own:
        fact = item.fact
        if isinstance(fact, DeliveryConfirmed) and fact.attempt == attempt:
            again = ", which had applied the key before" if fact.repeated else ""
            answers.append((item.at, f"confirmed: HTTP {fact.http_status}{again}"))
        elif isinstance(fact, (DeliveryRetried, DeliveryFailed)) and fact.attempt == attempt:
            answers.append((item.at, fact.reason))
        elif isinstance(fact, DeliveryInDoubt) and fact.attempt == attempt:
            answers.append((item.at, f"in doubt: {fact.reason}"))
    return answers


def _keeps_keys(target: Target, until: datetime | None, now: datetime) -> str:
    asked = f" It can be asked: GET {target.probe_path}." if target.probe_path is not None else ""
    if not target.honours_keys:
        return f"{target.name} does not honour keys: to send again could apply it a second time.{asked}"
    words = f"{target.name} honours keys, for {target.key_ttl_seconds} s from the first attempt on"
    if until is None:
        return f"{words}.{asked}"
    over = "that was until" if until <= now else "that is until"
    return f"{words}; {over} {to_text(until)}.{asked}"


def _can_be_done(state: OrchestrationState, action: ActionState) -> tuple[str, ...]:
    resume = f"python -m app replay {state.orchestration_id} --mode resume --actor NAME --reason TEXT"
    key = action.proposed.action_id
    again = f"It is sent again, with the same key, by `{resume}` (or `python -m app dead-letters replay`)."
    match action.status:
        case "awaiting_approval":
            return (f"Read what would happen, and answer: `python -m app approvals show {key}`.",)
        case "in_doubt":
            lines = []
            if state.cancelled_by is not None:
                lines.append(
                    f"{state.cancelled_by} cancelled the orchestration: nothing is sent or asked any more."
                )
            if can_be_asked(state, key):
                lines.append(
                    f"Its target is asked by itself ({action.probes} of {MOST_PROBES} times until now)."
                )
            lines.append("Look for its key at the target, and say what became of it:")
            for said in ("--applied", "--not-applied"):
                lines.append(f"`python -m app actions settle {key} {said} --actor NAME --reason TEXT`")
            return tuple(lines)
        case "failed" if state.status == "dead_lettered":
            return (again,)
        case "settled" if not action.applied and state.status == "dead_lettered":
            return (again,)
        case "authorised" if state.closed is None:
            return ("Nothing: it is sent by itself when it is due.",)
        case "sending":
            return ("Nothing: its answer, or the end of its lease, decides what happens next.",)
    return ()
