"""``approvals show``: what happens if a person consents, and all they need to know to decide; from the record alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from app.data_plane.gateway.slices import slice_of
from app.data_plane.orchestration.action_state import ActionState
from app.data_plane.orchestration.approvals import (
    SHOWN_OF_A_DIGEST,
    Awaiting,
    UnknownApprovalError,
    awaiting,
)
from app.data_plane.orchestration.state import OrchestrationState, fold, initial
from app.data_plane.replay.explain import decision_of, explain
from app.data_plane.replay.explain_argument import ArgumentTold, content, explain_arguments
from app.data_plane.replay.explain_calls import AgentTold, explain_agents, spent
from app.data_plane.replay.record import Record, read_chain
from app.data_plane.replay.surroundings import Surroundings
from app.kernel.clock import to_text
from app.kernel.facts import (
    ActionAuthorised,
    ApprovalDenied,
    ApprovalExpired,
    ApprovalGranted,
    ApprovalRequested,
    ApprovalSuperseded,
    Recorded,
)
from app.kernel.release import Release
from app.telemetry.redaction import redact_value

State = Literal["waiting", "approved", "denied", "expired", "superseded", "ended"]


@dataclass(frozen=True, slots=True)
class AnswerTold:
    """One answer: who gave it, when, and why."""

    at: str
    actor: str
    consents: bool
    reason: str


@dataclass(frozen=True, slots=True)
class ApprovalStory:
    """One action that people were asked about. Secrets of a known form are left out of its content."""

    action_id: str
    orchestration_id: str
    orchestration_status: str
    tenant_id: str
    workflow: str
    name: str
    state: State
    """``ended``: the orchestration ended for another reason, and nobody is asked any more."""
    means: str
    what_happens: str
    """One sentence: what Interlock does if the person consents."""
    tool: str
    target: str
    where: str
    """The target's address; empty where nobody knows."""
    arguments: tuple[ArgumentTold, ...] | None
    """None when they were erased."""
    why: dict[str, str]
    """By the policy that asks: why, in its words."""
    persons: int
    missing: int
    answers: tuple[AnswerTold, ...]
    cannot_consent: dict[str, str]
    """By name: why this one cannot."""
    agents: tuple[AgentTold, ...]
    decision_reason: str
    tokens: int
    nano_usd: int
    action_digest: str
    policy: str
    idempotency_key: str
    since: str
    until: str
    warnings: tuple[str, ...]
    can_be_done: tuple[str, ...]


def explain_approval(
    record: Record, release: Release, action_id: str, around: Surroundings, now: datetime
) -> ApprovalStory:
    """What a person must know of that action. Raises UnknownApprovalError when nobody was asked about it."""
    facts = read_chain(record.chain)
    asked = _asked(facts, action_id)
    state = fold(initial(record.orchestration_id, record.tenant_id, release), facts)
    waits = awaiting(facts).get(action_id)
    own = [one for one in facts if getattr(one.fact, "action_id", "") == action_id]
    answers = tuple(_answers(record, own))
    shown, means = _state(own, state, waits, now)
    arguments = explain_arguments(
        record, asked.arguments_digest, asked.provenance_digest, release.tools.get(asked.tool)
    )
    where = (around.where or {}).get(asked.target, "")
    tokens, nano_usd = spent(record)
    consents = sum(one.consents for one in answers)
    since, until = _times(own, waits, asked)
    return ApprovalStory(
        action_id=action_id,
        orchestration_id=record.orchestration_id,
        orchestration_status=state.status,
        tenant_id=record.tenant_id,
        workflow=release.workflow,
        name=asked.name,
        state=shown,
        means=means,
        what_happens=_what_happens(asked, release, where, shown),
        tool=asked.tool,
        target=asked.target,
        where=where,
        arguments=arguments,
        why=_why(release, asked),
        persons=asked.persons,
        missing=max(0, asked.persons - consents) if waits is not None else 0,
        answers=answers,
        cannot_consent=_cannot_consent(state, around, answers),
        agents=explain_agents(record, explain(record, release).stages, asked.run_id),
        decision_reason="" if asked.run_id else decision_of(record).reason,
        tokens=tokens,
        nano_usd=nano_usd,
        action_digest=asked.action_digest,
        policy=f"{release.policy.name}/{release.policy.version}",
        idempotency_key=asked.idempotency_key,
        since=since,
        until=until,
        warnings=_warnings(release, around, arguments) if waits is not None else (),
        can_be_done=_can_be_done(asked, state, waits, now),
    )


def _asked(facts: Sequence[Recorded], action_id: str) -> ApprovalRequested:
    for recorded in facts:
        if isinstance(recorded.fact, ApprovalRequested) and recorded.fact.action_id == action_id:
            return recorded.fact
    raise UnknownApprovalError(
        f"Nobody was asked about the action {action_id}.",
        f"`python -m app actions show {action_id}` says what became of it; `approvals list` names those that wait.",
    )


def _why(release: Release, asked: ApprovalRequested) -> dict[str, str]:
    """By the statement that asks: its ``@approval`` text; empty where it is not there any more to be read."""
    try:
        statements = slice_of(release.policy.cedar, asked.tool).statements.values()
    except ValueError:
        statements = {}.values()
    told = {one.name: one.approval or "" for one in statements}
    return {name: told.get(name, "") for name in asked.policies}


def _answers(record: Record, own: Sequence[Recorded]) -> list[AnswerTold]:
    told: list[AnswerTold] = []
    for recorded in own:
        fact = recorded.fact
        if isinstance(fact, (ApprovalGranted, ApprovalDenied)):
            held = content(record, fact.reason_digest)
            reason = redact_value(held["reason"]) if isinstance(held, dict) and "reason" in held else ""
            told.append(AnswerTold(recorded.at, fact.actor, isinstance(fact, ApprovalGranted), str(reason)))
    return told


def _state(
    own: Sequence[Recorded], state: OrchestrationState, waits: Awaiting | None, now: datetime
) -> tuple[State, str]:
    if waits is not None:
        if now >= waits.until:
            return "waiting", "it should have been answered, and is about to be denied"
        return "waiting", f"it waits for the consent of {people(waits.requested.persons)}"
    for recorded in own:
        match recorded.fact:
            case ActionAuthorised() as fact if fact.approved_by:
                return "approved", f"{' and '.join(fact.approved_by)} consented, the last at {recorded.at}"
            case ApprovalDenied() as fact:
                return "denied", f"{fact.actor} denied it at {recorded.at}; nothing was sent"
            case ApprovalExpired():
                return "expired", f"too few consented before {recorded.at}; nothing was sent"
            case ApprovalSuperseded() as fact:
                return "superseded", f"{fact.reason}; that was found at {recorded.at}, and nothing was sent"
    return "ended", f"its orchestration ended before it was answered: {state.status}; nothing was sent"


def people(number: int) -> str:
    """``a person``, ``2 people``."""
    return "a person" if number == 1 else f"{number} people"


def _times(own: Sequence[Recorded], waits: Awaiting | None, asked: ApprovalRequested) -> tuple[str, str]:
    """Since when it waits and until when; of one that does not wait any more, when it was asked and was to end."""
    if waits is None:
        since = next(one.at for one in own if isinstance(one.fact, ApprovalRequested))
        waits = awaiting([Recorded("", 1, since, asked)])[asked.action_id]
    return to_text(waits.since), to_text(waits.until)


def _what_happens(asked: ApprovalRequested, release: Release, where: str, state: State) -> str:
    spec = release.tools.get(asked.tool)
    does = f' ("{spec.description}")' if spec is not None and spec.description else ""
    what = f"{asked.tool}{does} at {asked.target}" + (f", {where}" if where else "")
    match state:
        case "waiting":
            others = f" and {_others(asked.persons - 1)}" if asked.persons > 1 else ""
            return f"If you{others} consent, Interlock will use {what}, with exactly the arguments below."
        case "approved":
            return f"As people consented, Interlock uses {what}, with exactly the arguments below."
    return f"With consent, Interlock would have used {what}."


def _others(number: int) -> str:
    return "another person" if number == 1 else f"{number} others"


def _cannot_consent(
    state: OrchestrationState, around: Surroundings, answers: Sequence[AnswerTold]
) -> dict[str, str]:
    found = dict.fromkeys(sorted(state.release.agents), "an agent of the workflow")
    found[state.release.workflow] = "the workflow itself"
    for name, stage in state.stages.items():
        if stage.resolved is not None:
            found[stage.resolved.actor] = f"completed the stage {name}"
    found |= {one.name: one.why for one in around.people}
    return found | {one.actor: "has consented already" for one in answers if one.consents}


def _warnings(
    release: Release, around: Surroundings, arguments: Sequence[ArgumentTold] | None
) -> tuple[str, ...]:
    """What a person might overlook."""
    found = [] if arguments is not None else ["Its arguments were erased: nobody can see what would be sent."]
    if around.policy is not None and around.policy != release.policy:
        found.append(
            f"Another policy is in force now ({around.policy.name}/{around.policy.version}): a consent does not"
            " count, and nothing would be sent."
        )
    for one in arguments or ():
        if one.unproven:
            found.append(f"{one.name}: no trusted source holds the address {', '.join(one.unproven)}.")
        if one.hidden:
            found.append(f"{one.name}: it has characters that nobody sees: {', '.join(one.hidden)}.")
        if one.untrusted and not one.content:
            found.append(f"{one.name} decides what happens, and {one.came_from}.")
    return tuple(found)


def _can_be_done(
    asked: ApprovalRequested, state: OrchestrationState, waits: Awaiting | None, now: datetime
) -> tuple[str, ...]:
    key, orchestration = asked.action_id, state.orchestration_id
    anew = f"Start its event anew: `python -m app replay {orchestration} --mode rerun --actor NAME --reason WHY`."
    if waits is None:
        action: ActionState = state.actions_by_id[key]
        if action.status == "denied" and state.closed is not None:
            return (anew,)
        return (f"`python -m app actions show {key}` says what became of it.",)
    if now >= waits.until:
        return (f"Nothing: it is denied by itself in a moment. {anew}",)
    shown = asked.action_digest[:SHOWN_OF_A_DIGEST]
    return (
        f"Consent: `python -m app approvals approve {key} --digest {shown} --actor NAME --reason WHY`;"
        " with --dry-run it only tells what would follow.",
        f"Say no: `python -m app approvals deny {key} --actor NAME --reason WHY`.",
        "Without either it is denied when its time is over, and its orchestration goes on without it.",
    )
