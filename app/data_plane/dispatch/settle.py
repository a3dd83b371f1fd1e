"""Settling: a person says what became of an action that is in doubt. Whether it was applied is theirs to find out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.data_plane.orchestration import observing
from app.data_plane.orchestration.action_state import ActionState
from app.data_plane.orchestration.progress import progress
from app.data_plane.orchestration.recorder import Loaded, Plan, Planner, Recorder, Work
from app.data_plane.orchestration.state import OrchestrationState
from app.kernel.errors import ConflictError, InterlockError, NotFoundError, PermanentError, TransientError
from app.kernel.facts import ActionSettled, DeliveryProbed, Recorded
from app.telemetry import tracing
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
    since = tracing.now_ns()
    recorded = recorder.record([work])[0]
    observing.said([recorded], since)
    if recorded.state is None:
        raise _not_loaded(settlement)
    return _settled(recorded.state, settlement)


def foresee_all(recorder: Recorder, settlements: Sequence[Settlement]) -> list[Settled | InterlockError]:
    """What each of the settlements alone would lead to now, or why it is refused; in their order."""
    tenants, keys = _of(settlements)
    loaded = recorder.load(tenants, keys)
    answers: list[Settled | InterlockError] = []
    for one in settlements:
        found = loaded.get(one.orchestration_id)
        try:
            answers.append(foresee(found, one) if found is not None else _not_loaded(one))
        except InterlockError as error:
            answers.append(error)
    return answers


def settle_all(recorder: Recorder, settlements: Sequence[Settlement]) -> list[Settled | InterlockError]:
    """Record the settlements in one batch; in their order, what each led to or why it was refused.

    One that is refused keeps no other from being recorded.

    Raises:
        NotAnsweredForError: nobody says so, or not why.
        TransientError: the batch could not be recorded now; some of it may have been.
    """
    for one in settlements:
        check(one)
    tenants, keys = _of(settlements)
    loaded = recorder.load(tenants, keys)
    refused: dict[str, InterlockError] = {}
    works = [
        Work(one.tenant_id, one.orchestration_id, claim=None, plan=_lenient_planner(one, refused))
        for one in settlements
        if one.orchestration_id in loaded
    ]
    since = tracing.now_ns()
    done = recorder.record(works, loaded)
    observing.said(done, since)
    recorded = iter(done)
    answers: list[Settled | InterlockError] = []
    for one in settlements:
        if one.orchestration_id not in loaded:
            answers.append(_not_loaded(one))
            continue
        state = next(recorded).state
        refusal = refused.get(one.action_id)
        if refusal is None:
            answers.append(_settled(state, one) if state is not None else _not_loaded(one))
        else:
            answers.append(refusal)
    return answers


def _of(settlements: Sequence[Settlement]) -> tuple[list[str], list[str]]:
    """Their tenants and their orchestrations, each once."""
    return sorted({one.tenant_id for one in settlements}), sorted(
        {one.orchestration_id for one in settlements}
    )


def _not_loaded(settlement: Settlement) -> TransientError:
    return TransientError(
        f"The release of {settlement.orchestration_id} cannot be loaded here; nothing was recorded.",
        "Run this with the version of Interlock that its workers have.",
    )


def _lenient_planner(settlement: Settlement, refused: dict[str, InterlockError]) -> Planner:
    """Plans nothing where the settlement is refused, and says why in ``refused``: the newest plan counts."""
    planner = _planner(settlement)

    def plan(loaded: Loaded) -> Plan:
        refused.pop(settlement.action_id, None)
        try:
            # What follows is foreseen here, as an error that is met when it is recorded would end the whole batch.
            foresee(loaded, settlement)
            return planner(loaded)
        except InterlockError as error:
            refused[settlement.action_id] = error
            return Plan()

    return plan


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
