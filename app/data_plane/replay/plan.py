"""What a replay would do, before anybody asks for it: each effect, and what goes on. Pure.

``resume`` is foreseen exactly: what it sends has its arguments and its key already, or is not decided yet. ``rerun``
decides anew, so of its effects only what became of the original's can be told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from app.data_plane.dispatch.attempts import first_sent_at, why_not_again
from app.data_plane.dispatch.doubts import can_be_asked
from app.data_plane.orchestration.action_state import ActionState
from app.data_plane.orchestration.recorder import Loaded
from app.data_plane.orchestration.state import OrchestrationState
from app.data_plane.ports import History
from app.data_plane.projections import ActionRow, read_model
from app.data_plane.replay.judging import (
    key_expired,
    resumed,
    started_fact,
    status_of,
    why_not_rerun,
    why_not_resumed,
)
from app.data_plane.replay.register import Mode, ReplayRow
from app.kernel.clock import to_text
from app.kernel.errors import InterlockError
from app.kernel.facts import (
    ActionAuthorised,
    DeliveryInDoubt,
    OrchestrationStarted,
    Recorded,
)
from interlock.identity import orchestration_id

Standing = Literal["confirmed", "will_be_sent", "awaits_approval", "in_doubt", "denied", "decided_anew"]
"""Of an effect: ``decided_anew`` is one that only a rerun asks for again, under another key."""


@dataclass(frozen=True, slots=True)
class Effect:
    """One effect: where it stands, and why."""

    action_id: str
    name: str
    tool: str
    target: str
    standing: Standing
    why: str
    idempotency_key: str
    attempts: int
    since: str = ""
    """In doubt since then."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a replay would be refused now."""

    code: str
    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """What a replay of one orchestration would do now."""

    orchestration_id: str
    mode: Mode
    status: str
    """What the orchestration is now."""
    release: str
    """The release that would decide."""
    effects: tuple[Effect, ...]
    goes_on: tuple[str, ...]
    """Which steps go on, in words."""
    refused: Refused | None = None
    new_orchestration_id: str = ""
    """Of a rerun: the orchestration that it starts."""
    earlier: tuple[str, ...] = ()
    """The replays of it before this one, in words."""
    totals: dict[str, int] = field(default_factory=dict)
    """How many effects there are, by their standing."""


def totals(plans: Iterable[ReplayPlan]) -> dict[str, int]:
    """How many effects these plans have, by their standing."""
    return dict(Counter(effect.standing for plan in plans for effect in plan.effects))


def plan_resume(
    loaded: Loaded, earlier: Sequence[ReplayRow], now: datetime, *, again: bool = False
) -> ReplayPlan:
    """What going on from where it gave up would do now.

    Args:
        earlier: the replays of it before this one.
        again: although its event was started anew already.
    """
    state, facts = loaded.state, loaded.history.facts
    refusal = why_not_resumed(state, earlier, again=again)
    after = resumed(state)
    effects = tuple(_effect(state, after, key, facts, now) for key in state.actions_by_id)
    if refusal is None and all_past_their_keys(after, facts, now):
        refusal = key_expired(after)
    return ReplayPlan(
        orchestration_id=state.orchestration_id,
        mode="resume",
        status=state.status,
        release=loaded.history.release,
        effects=effects,
        goes_on=_goes_on(state) if refusal is None else (),
        refused=_refused(refusal),
        earlier=tuple(tell(row) for row in earlier),
        totals=dict(Counter(effect.standing for effect in effects)),
    )


def plan_rerun(
    history: History, earlier: Sequence[ReplayRow], release: str, last_ordinal: int, *, again: bool = False
) -> ReplayPlan:
    """What starting its event anew under ``release`` would do, as far as that can be known.

    Args:
        earlier: the replays of it before this one.
        last_ordinal: of its reruns; 0 without any.
        again: although that was done already.
    """
    started = started_fact(history)
    refusal = why_not_rerun(history, earlier, again=again)
    effects = tuple(_effect_of_original(row) for row in read_model(history.facts).actions)
    new = ""
    if started is not None and started.lane == "live":
        new = rerun_id(history.tenant_id, started, last_ordinal + 1)
    return ReplayPlan(
        orchestration_id=history.orchestration_id,
        mode="rerun",
        status=status_of(history.facts),
        release=release,
        effects=effects,
        goes_on=("the event is started anew: snapshot, stages, decision, and the actions that it asks for",)
        if refusal is None
        else (),
        refused=_refused(refusal),
        new_orchestration_id=new,
        earlier=tuple(tell(row) for row in earlier),
        totals=dict(Counter(effect.standing for effect in effects)),
    )


def past_their_keys(
    state: OrchestrationState, facts: Sequence[Recorded], now: datetime
) -> tuple[DeliveryInDoubt, ...]:
    """Of a resumed orchestration: the actions that must not be sent again, as facts."""
    return tuple(
        DeliveryInDoubt(action_id=key, attempt=action.attempts, reason=why)
        for key, action in state.actions_by_id.items()
        if action.status == "authorised" and (why := _too_late(state, action, facts, now))
    )


def all_past_their_keys(after: OrchestrationState, facts: Sequence[Recorded], now: datetime) -> bool:
    """Whether sending is all that a resumed orchestration has left to do, and nothing of it is safe."""
    left = [key for key, action in after.actions_by_id.items() if action.status == "authorised"]
    every = after.decision is not None and len(after.decided_actions) == after.decision.actions
    if any(action.status == "awaiting_approval" for action in after.actions_by_id.values()):
        return False
    return every and bool(left) and len(past_their_keys(after, facts, now)) == len(left)


def rerun_id(tenant_id: str, original: OrchestrationStarted, ordinal: int) -> str:
    """The orchestration that the rerun of that number starts."""
    return orchestration_id(
        tenant_id, original.source, original.event_id, original.workflow, "rerun", ordinal
    )


def tell(row: ReplayRow) -> str:
    """One replay in words, without its reason."""
    end = row.outcome or "not finished"
    return f"{row.replay_id}: {row.mode} by {row.actor} at {to_text(row.requested_at)}: {row.state}, {end}"


def _refused(error: InterlockError | None) -> Refused | None:
    return Refused(error.code, error.what, error.remedy) if error is not None else None


def _effect(
    state: OrchestrationState, after: OrchestrationState, key: str, facts: Sequence[Recorded], now: datetime
) -> Effect:
    action = state.actions_by_id[key]
    standing, why, since = _standing(action, after, key, facts, now)
    proposed = action.proposed
    return Effect(
        action_id=key,
        name=proposed.name,
        tool=proposed.tool,
        target=proposed.target,
        standing=standing,
        why=why,
        idempotency_key=proposed.idempotency_key if isinstance(proposed, ActionAuthorised) else "",
        attempts=action.attempts,
        since=since,
    )


def _standing(
    before: ActionState, after: OrchestrationState, key: str, facts: Sequence[Recorded], now: datetime
) -> tuple[Standing, str, str]:
    action = after.actions_by_id[key]
    match action.status:
        case "denied":
            return "denied", "the policy denied it: it is never sent under this release", ""
        case "confirmed":
            return "confirmed", "the target took it: it is not sent again", ""
        case "settled":
            return "confirmed", "it was found to be applied: it is not sent again", ""
        case "in_doubt" | "sending":
            asked = "its target is asked" if can_be_asked(after, key) else "a person must tell"
            return "in_doubt", f"nobody knows whether it was applied: {asked}", _doubted_at(facts, key)
        case "awaiting_approval":
            return "awaits_approval", "people are asked anew: it is sent when they consent", ""
    if why := _too_late(after, action, facts, now):
        first = first_sent_at(facts, key)
        return "in_doubt", why, to_text(first) if first is not None else ""
    return "will_be_sent", _WHY_SENT[before.status], ""


_WHY_SENT = {
    "authorised": "it is not delivered yet: it is sent with its key",
    "failed": "it gave up: it is sent again with the same key",
    "settled": "it was found not to be applied: it is sent again with the same key",
}


def _too_late(
    after: OrchestrationState, action: ActionState, facts: Sequence[Recorded], now: datetime
) -> str:
    """Why sending it, now, might apply it a second time; empty when it cannot."""
    return why_not_again(action, after.release.target(action.proposed.target), facts, now)


def _doubted_at(facts: Sequence[Recorded], action_id: str) -> str:
    doubts = [
        recorded.at
        for recorded in facts
        if isinstance(recorded.fact, DeliveryInDoubt) and recorded.fact.action_id == action_id
    ]
    return doubts[-1] if doubts else ""


def _goes_on(state: OrchestrationState) -> tuple[str, ...]:
    """The steps of a resumed orchestration, in words."""
    if state.snapshot_digest is None:
        return ("the snapshot is taken, and every stage follows",)
    words: list[str] = []
    for template in state.release.template.stages:
        stage = state.stages[template.name]
        if stage.status == "running":
            missing = stage.missing(template.agents)
            runs = (
                f"{len(missing)} of {len(template.agents)} runs ({', '.join(missing)})"
                if missing
                else "no run"
            )
            words.append(
                f"stage {template.name}: {runs}, then its aggregation; a run that is final asks no model"
            )
        elif stage.awaits_a_person:
            words.append(f"stage {template.name} waits for a person anew, for as long as before")
        elif stage.status == "pending":
            words.append(f"stage {template.name} is considered when what it comes after is settled")
    if state.decision is None:
        words.append("the decision is made; which actions it asks for cannot be known yet")
    elif len(state.decided_actions) < state.decision.actions:
        words.append("the policy is asked about the decision's actions")
    return tuple(words)


def _effect_of_original(row: ActionRow) -> Effect:
    standing: Standing = "denied" if row.state == "denied" else "decided_anew"
    return Effect(
        action_id=row.action_id,
        name=row.name,
        tool=row.tool,
        target=row.target,
        standing=standing,
        why=_IN_A_RERUN.get(row.state, "a rerun sends it under a new key, if it decides the same"),
        idempotency_key=row.idempotency_key,
        attempts=row.attempts,
    )


_IN_A_RERUN = {
    "confirmed": "it was confirmed: a rerun sends it again under a new key, if it decides the same",
    "settled": "it was settled by a probe or a person: a rerun sends it under a new key, if it decides the same",
    "in_doubt": "it is in doubt and may have been applied: a rerun sends it under a new key, if it decides the same",
    "failed": "it gave up: a rerun sends it under a new key, if it decides the same",
    "denied": "it was denied: the rerun's release decides anew",
}
