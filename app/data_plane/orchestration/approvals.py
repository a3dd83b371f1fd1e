"""Approvals: a person consents, once, in time and by name, to exactly the action that was shown, or says no.

An approval is bound to the digest of the action (tool, target, arguments, their origins, key) and to the policy's
version. Who stands behind the proposal cannot consent to it; an agent never can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.data_plane.orchestration import observing
from app.data_plane.orchestration.action_state import ActionState, person
from app.data_plane.orchestration.progress import progress
from app.data_plane.orchestration.recorder import Loaded, Plan, Planner, Recorder, Work
from app.data_plane.orchestration.state import OrchestrationState, proposers
from app.kernel.clock import to_text
from app.kernel.errors import ConflictError, NotFoundError, PermanentError, TransientError
from app.kernel.facts import (
    TERMINAL,
    ActionAuthorised,
    ActionDenied,
    ApprovalDenied,
    ApprovalExpired,
    ApprovalGranted,
    ApprovalRequested,
    ApprovalSuperseded,
    OrchestrationClosed,
    OrchestrationResumed,
    Recorded,
)
from app.kernel.release import Policy
from app.telemetry import tracing
from interlock.canonical import canonical_bytes, digest_bytes

SHOWN_OF_A_DIGEST = 12


class UnknownApprovalError(NotFoundError):
    """Nobody was asked about such an action."""

    code = "unknown_approval"


class NotAwaitedError(ConflictError):
    """The action waits for nobody's consent any more."""

    code = "not_awaiting_approval"


class ApprovalExpiredError(ConflictError):
    """It was to be answered earlier."""

    code = "approval_expired"


class SupersededError(ConflictError):
    """What was shown is not what would happen."""

    code = "approval_superseded"


class NotAnApproverError(PermanentError):
    """This one must not consent: the proposer, an agent, or one who has consented already."""

    code = "not_an_approver"


class UnansweredForError(PermanentError):
    """An answer needs somebody who gives it, and why."""

    code = "not_answered_for"


@dataclass(frozen=True, slots=True)
class Awaiting:
    """An action that waits for people's consent, since when, and until when."""

    requested: ApprovalRequested
    since: datetime
    until: datetime
    granted_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person says to an action.

    Args:
        shown: the action's digest, or its beginning, as the person was shown it; empty for whatever waits.
        policy: the policy that is in force for the workflow now; None where nobody knows.
        people: who else stands behind it: the event's sender, who asked for a rerun.
    """

    tenant_id: str
    orchestration_id: str
    action_id: str
    consents: bool
    actor: str
    reason: str
    shown: str = ""
    policy: Policy | None = None
    people: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answered:
    """What an answer leads to, or would lead to."""

    action_id: str
    name: str
    tool: str
    target: str
    action_digest: str
    state: str
    orchestration_id: str
    orchestration_status: str
    consented: tuple[str, ...]
    missing: int
    """How many more people must consent."""


def awaiting(facts: Iterable[Recorded]) -> dict[str, Awaiting]:
    """The approvals that are waited for, by action, as the facts alone tell; resuming an orchestration asks anew."""
    asked: dict[str, Awaiting] = {}
    closed = False
    for recorded in facts:
        at = datetime.fromisoformat(recorded.at)
        match recorded.fact:
            case ApprovalRequested() as fact:
                asked[fact.action_id] = Awaiting(fact, at, at + timedelta(seconds=fact.expires_seconds))
            case ApprovalGranted(action_id=key, actor=actor) if key in asked:
                one = asked[key]
                asked[key] = Awaiting(one.requested, one.since, one.until, (*one.granted_by, actor))
            case ApprovalDenied() | ApprovalExpired() | ApprovalSuperseded() as fact:
                asked.pop(fact.action_id, None)
            case ActionAuthorised() | ActionDenied() as fact:
                asked.pop(fact.action_id, None)
            case OrchestrationClosed():
                closed = True
            case OrchestrationResumed():
                closed = False
                asked = {key: _anew(one, at) for key, one in asked.items()}
    return {} if closed else asked


def _anew(one: Awaiting, at: datetime) -> Awaiting:
    until = at + timedelta(seconds=one.requested.expires_seconds)
    return Awaiting(one.requested, at, until, one.granted_by)


def check(answer: Answer) -> None:
    """Raises UnansweredForError when nobody gives it, or not why."""
    if not answer.actor.strip():
        raise UnansweredForError("It is not said who answers.", "Give a name with --actor.")
    if not answer.reason.strip():
        raise UnansweredForError("The reason is empty.", "Say with --reason why; it is kept.")


def foresee(loaded: Loaded, answer: Answer, now: datetime) -> Answered:
    """What the answer would lead to now; raises what ``give`` raises of it."""
    check(answer)
    refusal = _refusal(loaded, answer, now)
    if refusal is not None:
        raise refusal
    fact = _fact(_asked(loaded.state, answer.action_id), answer, "")
    return _answered(progress(loaded.state, fact, loaded.contents).state, answer.action_id)


def give(recorder: Recorder, answer: Answer, clock: Callable[[], datetime]) -> Answered:
    """Record the answer and what follows from it.

    Raises:
        UnansweredForError: nobody gives it, or not why.
        UnknownApprovalError: nobody was asked about it.
        NotAwaitedError: it was answered, is done, or has ended with its orchestration.
        ApprovalExpiredError: it is too late.
        SupersededError: it is not what was shown, or another policy is in force now; the latter is recorded.
        NotAnApproverError: this one must not consent.
        TransientError: its release cannot be loaded here, so that nothing can be decided.
    """
    check(answer)
    refused: list[Exception] = []
    work = Work(
        answer.tenant_id,
        answer.orchestration_id,
        claim=None,
        plan=_planner(answer, clock, refused),
    )
    since = tracing.now_ns()
    recorded = recorder.record([work])[0]
    observing.said([recorded], since)
    if refused:
        raise refused[-1]
    if recorded.state is None:
        raise TransientError(
            f"The release of {answer.orchestration_id} cannot be loaded here; nothing was recorded.",
            "Run this with the version of Interlock that its workers have.",
        )
    return _answered(recorded.state, answer.action_id)


def _planner(answer: Answer, clock: Callable[[], datetime], refused: list[Exception]) -> Planner:
    """
    Args:
        refused: takes why nothing was done of it, when that is recorded as well.
    """

    def plan(loaded: Loaded) -> Plan:
        refused.clear()
        refusal = _refusal(loaded, answer, clock())
        if isinstance(refusal, _PolicyChangedError):
            refused.append(refusal)
            return Plan((ApprovalSuperseded(action_id=answer.action_id, reason=refusal.why),))
        if refusal is not None:
            raise refusal
        body = canonical_bytes({"actor": answer.actor.strip(), "reason": answer.reason.strip()})
        digest = digest_bytes(body)
        return Plan((_fact(_asked(loaded.state, answer.action_id), answer, digest),), {digest: body})

    return plan


class _PolicyChangedError(SupersededError):
    """Another policy is in force than the one that asked: nobody can consent to the action any more."""

    def __init__(self, orchestration: str, key: str, why: str) -> None:
        super().__init__(
            f"The approval of {key} is superseded, and nothing is sent: {why}.",
            "Start the event anew under the release that is in force:"
            f" `python -m app replay {orchestration} --mode rerun`.",
        )
        self.why = why


def _refusal(loaded: Loaded, answer: Answer, now: datetime) -> Exception | None:
    """Why the answer does not count, if it does not."""
    state, key = loaded.state, answer.action_id
    action = state.actions_by_id.get(key)
    if action is None or not _was_asked_about(loaded.history.facts, key):
        return UnknownApprovalError(
            f"Nobody was asked about an action {key}.",
            "`python -m app approvals list` names those that wait.",
        )
    waits = awaiting(loaded.history.facts).get(key)
    if waits is None or not action.awaits_people:
        return _not_awaited(loaded, action)
    if now >= waits.until:
        return ApprovalExpiredError(
            f"The approval of {key} expired at {to_text(waits.until)}.",
            f"Start its event anew: `python -m app replay {state.orchestration_id} --mode rerun`.",
        )
    digest = waits.requested.action_digest
    if answer.shown and not digest.startswith(answer.shown):
        return SupersededError(
            f"{key} is not what was shown: its digest is {digest[:SHOWN_OF_A_DIGEST]}, not {answer.shown}.",
            f"Read it again: `python -m app approvals show {key}`.",
        )
    if not answer.consents:
        return None
    return _changed_policy(state, answer) or _not_an_approver(state, action, answer)


def _was_asked_about(facts: Iterable[Recorded], key: str) -> bool:
    return any(isinstance(one.fact, ApprovalRequested) and one.fact.action_id == key for one in facts)


def _changed_policy(state: OrchestrationState, answer: Answer) -> _PolicyChangedError | None:
    asked, current = state.release.policy, answer.policy
    if current is None or current == asked:
        return None
    why = (
        f"the policy {asked.name}/{asked.version} that asked is no longer in force"
        f" ({current.name}/{current.version} is)"
    )
    return _PolicyChangedError(state.orchestration_id, answer.action_id, why)


def _not_an_approver(
    state: OrchestrationState, action: ActionState, answer: Answer
) -> NotAnApproverError | None:
    name = person(answer.actor)
    remedy = "Let another person read and answer it."
    if name in proposers(state) | {person(one) for one in answer.people}:
        return NotAnApproverError(
            f"{answer.actor} stands behind this action and cannot consent to it.", remedy
        )
    if name in map(person, action.granted_by):
        return NotAnApproverError(
            f"{answer.actor} has consented already; the policy wants another person as well.", remedy
        )
    return None


def _not_awaited(loaded: Loaded, action: ActionState) -> ConflictError:
    """Why it waits for nobody: the last word about it, if there was one."""
    key = action.proposed.action_id
    remedy = f"`python -m app actions show {key}` says what became of it."
    for recorded in reversed(loaded.history.facts):
        match recorded.fact:
            case ApprovalGranted(action_id=one, actor=actor) if one == key:
                return NotAwaitedError(f"{actor} has consented to {key} at {recorded.at}.", remedy)
            case ApprovalDenied(action_id=one, actor=actor) if one == key:
                return NotAwaitedError(f"{actor} has denied {key} at {recorded.at}.", remedy)
            case ApprovalExpired(action_id=one) if one == key:
                return ApprovalExpiredError(f"The approval of {key} expired at {recorded.at}.", remedy)
            case ApprovalSuperseded(action_id=one, reason=reason) if one == key:
                return SupersededError(f"The approval of {key} is superseded: {reason}.", remedy)
    if loaded.state.status in TERMINAL:
        return NotAwaitedError(f"Its orchestration has ended already: {loaded.state.status}.", remedy)
    return NotAwaitedError(f"{key} is {action.status}: it waits for nobody's consent.", remedy)


def _asked(state: OrchestrationState, key: str) -> ApprovalRequested:
    asked = state.actions_by_id[key].proposed
    assert isinstance(asked, ApprovalRequested)
    return asked


def _fact(asked: ApprovalRequested, answer: Answer, reason_digest: str) -> ApprovalGranted | ApprovalDenied:
    actor = answer.actor.strip()
    if not answer.consents:
        return ApprovalDenied(action_id=asked.action_id, actor=actor, reason_digest=reason_digest)
    return ApprovalGranted(
        action_id=asked.action_id,
        action_digest=asked.action_digest,
        actor=actor,
        reason_digest=reason_digest,
    )


def _answered(state: OrchestrationState, key: str) -> Answered:
    action = state.actions_by_id[key]
    proposed = action.proposed
    persons = proposed.persons if isinstance(proposed, ApprovalRequested) else 0
    return Answered(
        action_id=key,
        name=proposed.name,
        tool=proposed.tool,
        target=proposed.target,
        action_digest=proposed.action_digest if isinstance(proposed, ApprovalRequested) else "",
        state=action.status,
        orchestration_id=state.orchestration_id,
        orchestration_status=state.status,
        consented=action.granted_by,
        missing=max(0, persons - len(action.granted_by)) if action.awaits_people else 0,
    )
