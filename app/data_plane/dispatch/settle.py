"""Settling: a person says what became of an action that is in doubt. Whether it was applied is theirs to find out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.data_plane.orchestration.progress import progress
from app.data_plane.orchestration.recorder import Loaded, Plan, Planner, Recorder, Work
from app.data_plane.orchestration.state import ActionState, OrchestrationState
from app.kernel.errors import ConflictError, NotFoundError, PermanentError, TransientError
from app.kernel.facts import ActionSettled, DeliveryProbed, Recorded
from interlock.canonical import canonical_bytes, digest_bytes


class UnknownActionError(NotFoundError):
    """No action goes by that id."""

    code = "unknown_action"


class NotInDoubtError(ConflictError):
    """Nobody needs to be told what became of it."""

    code = "not_in_doubt"


class AlreadySettledError(ConflictError):
    """Somebody was first."""

    code = "already_settled"


class NotAnsweredForError(PermanentError):
    """A settlement needs somebody who says so, and why."""

    code = "not_answered_for"


@dataclass(frozen=True, slots=True)
class Settlement:
    """Who says what became of an action, and how they know."""

    tenant_id: str
    orchestration_id: str
    action_id: str
    applied: bool
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class Settled:
    """What a settlement leads to, or would lead to."""

    action_id: str
    name: str
    idempotency_key: str
    applied: bool
    orchestration_id: str
    orchestration_status: str
    left: tuple[str, ...]
    """The other actions that gave up, by name: they keep the orchestration from being completed."""


def check(settlement: Settlement) -> None:
    """Raises NotAnsweredForError when nobody says so, or not why."""
    if not settlement.actor.strip():
        raise NotAnsweredForError("It is not said who settles it.", "Give a name with --actor.")
    if not settlement.reason.strip():
        raise NotAnsweredForError("The reason is empty.", "Say with --reason how you know; it is kept.")


def foresee(loaded: Loaded, settlement: Settlement) -> Settled:
    """What the settlement would lead to now.

    Raises UnknownActionError, NotInDoubtError, AlreadySettledError.
    """
    fact = _fact(loaded, settlement, "")
    return _settled(progress(loaded.state, fact, loaded.contents).state, settlement)


def settle(recorder: Recorder, settlement: Settlement) -> Settled:
    """Record the settlement and what follows from it.

    Raises:
        NotAnsweredForError: nobody says so, or not why.
        UnknownActionError: there is no such action.
        NotInDoubtError: nobody needs to be told what became of it.
        AlreadySettledError: somebody was first, perhaps a moment ago.
        TransientError: its release cannot be loaded here, so that nothing can be decided.
    """
    check(settlement)
    work = Work(settlement.tenant_id, settlement.orchestration_id, claim=None, plan=_planner(settlement))
    recorded = recorder.record([work])[0]
    if recorded.state is None:
        raise TransientError(
            f"The release of {settlement.orchestration_id} cannot be loaded here; nothing was recorded.",
            "Run this with the version of Interlock that its workers have.",
        )
    return _settled(recorded.state, settlement)


def _planner(settlement: Settlement) -> Planner:
    def plan(loaded: Loaded) -> Plan:
        body = canonical_bytes({"actor": settlement.actor.strip(), "reason": settlement.reason.strip()})
        digest = digest_bytes(body)
        # A step that would still ask the target is over with this.
        return Plan((_fact(loaded, settlement, digest),), {digest: body}, withdraw=(settlement.action_id,))

    return plan


def _fact(loaded: Loaded, settlement: Settlement, reason_digest: str) -> ActionSettled:
    key = settlement.action_id
    action = loaded.state.actions_by_id.get(key)
    if action is None:
        raise UnknownActionError(
            f"{settlement.orchestration_id} has no action {key}.", "Look at `python -m app actions list`."
        )
    if action.status == "settled":
        raise AlreadySettledError(
            f"{_who(loaded.history.facts, key)} has settled {key}: {_said(action.applied)}.",
            _remedy(loaded.state, action),
        )
    if action.status != "in_doubt":
        raise NotInDoubtError(f"{key} is not in doubt: it is {action.status}.", _remedy(loaded.state, action))
    return ActionSettled(
        action_id=key,
        attempt=action.attempts,
        applied=settlement.applied,
        actor=settlement.actor.strip(),
        reason_digest=reason_digest,
    )


def _who(facts: Sequence[Recorded], action_id: str) -> str:
    for recorded in reversed(facts):
        fact = recorded.fact
        if isinstance(fact, ActionSettled) and fact.action_id == action_id:
            return fact.actor
        if isinstance(fact, DeliveryProbed) and fact.action_id == action_id and fact.answer != "unknown":
            return "Its target, when it was asked,"
    return "Somebody"


def _said(applied: bool) -> str:
    return "it was applied" if applied else "it was not applied"


def _remedy(state: OrchestrationState, action: ActionState) -> str:
    sent_again = action.status == "failed" or (action.status == "settled" and not action.applied)
    if sent_again and state.status == "dead_lettered":
        return (
            f"To send it again: `python -m app replay {state.orchestration_id} --mode resume`, or"
            " `python -m app dead-letters replay`."
        )
    return f"`python -m app actions show {action.proposed.action_id}` says what happened."


def _settled(state: OrchestrationState, settlement: Settlement) -> Settled:
    action = state.actions_by_id[settlement.action_id]
    proposed = action.proposed
    left = [
        other.proposed.name
        for key, other in state.actions_by_id.items()
        if key != settlement.action_id and other.gave_up
    ]
    return Settled(
        action_id=settlement.action_id,
        name=proposed.name,
        idempotency_key=getattr(proposed, "idempotency_key", ""),
        applied=settlement.applied,
        orchestration_id=settlement.orchestration_id,
        orchestration_status=state.status,
        left=tuple(left),
    )
