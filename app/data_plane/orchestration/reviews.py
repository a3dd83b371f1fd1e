"""Reviews: a person completes a stage whose agents gave no valid proposal; once, in time, with a name and a reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from app.data_plane.contents import Contents
from app.data_plane.orchestration import observing
from app.data_plane.orchestration.progress import progress
from app.data_plane.orchestration.recorder import Loaded, Plan, Planner, Recorder, Work
from app.data_plane.orchestration.state import OrchestrationState
from app.kernel.clock import to_text
from app.kernel.errors import ConflictError, NotFoundError, PermanentError, TransientError
from app.kernel.facts import (
    TERMINAL,
    OrchestrationClosed,
    OrchestrationResumed,
    Recorded,
    ReviewExpired,
    ReviewRequested,
    ReviewResolved,
)
from app.kernel.schema_words import misfits
from app.telemetry import tracing
from interlock.canonical import JsonObject, canonical_bytes, digest_bytes


class UnknownStageError(NotFoundError):
    """The workflow has no stage of that name."""

    code = "unknown_stage"


class NotInReviewError(ConflictError):
    """No person is asked about it."""

    code = "not_in_review"


class ReviewExpiredError(ConflictError):
    """It was to be completed earlier."""

    code = "review_expired"


class AlreadyResolvedError(ConflictError):
    """Somebody was first."""

    code = "already_resolved"


class UnansweredForError(PermanentError):
    """A review needs somebody who completes it, and why so."""

    code = "not_answered_for"


class InvalidOutcomeError(PermanentError):
    """The outcome is no valid proposal of the stage."""

    code = "invalid_outcome"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A stage that waits for a person, since when, and until when."""

    stage: str
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a person makes of a stage, and why; without a stage, of the only one that a person was asked about."""

    tenant_id: str
    orchestration_id: str
    outcome: JsonObject
    actor: str
    reason: str
    stage: str = ""


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a resolution leads to, or would lead to."""

    orchestration_id: str
    stage: str
    outcome_digest: str
    orchestration_status: str
    ended_because: str
    decision: JsonObject
    """The decision's fields; empty while there is none."""
    starts: tuple[str, ...]
    """The stages that are started."""
    actions: tuple[str, ...]
    """What the decision asks for: each action's name, where it goes, and whether it is permitted."""


def waiting(facts: Iterable[Recorded]) -> dict[str, Waiting]:
    """The reviews that wait, by stage, as the facts alone tell; resuming an orchestration asks anew."""
    asked: dict[str, ReviewRequested] = {}
    found: dict[str, Waiting] = {}
    for recorded in facts:
        at = datetime.fromisoformat(recorded.at)
        match recorded.fact:
            case ReviewRequested() as fact:
                asked[fact.stage] = fact
                found[fact.stage] = Waiting(fact.stage, at, at + timedelta(seconds=fact.expires_seconds))
            case ReviewResolved(stage=stage) | ReviewExpired(stage=stage):
                asked.pop(stage, None)
                found.pop(stage, None)
            case OrchestrationClosed():
                found = {}
            case OrchestrationResumed():
                found = {
                    stage: Waiting(stage, at, at + timedelta(seconds=fact.expires_seconds))
                    for stage, fact in asked.items()
                }
    return found


def check(resolution: Resolution) -> None:
    """Raises UnansweredForError when nobody says so, or not why."""
    if not resolution.actor.strip():
        raise UnansweredForError("It is not said who completes it.", "Give a name with --actor.")
    if not resolution.reason.strip():
        raise UnansweredForError("The reason is empty.", "Say with --reason why it is so; it is kept.")


def foresee(loaded: Loaded, resolution: Resolution, now: datetime) -> Resolved:
    """What the resolution would lead to now; raises what ``resolve`` raises of it."""
    stage = _stage(loaded, resolution, now)
    contents = Contents(loaded.contents.all())
    fact = _fact(loaded, stage, resolution, "")
    contents.add(resolution.outcome)
    after = progress(loaded.state, fact, contents)
    return _resolved(after.state, loaded.state, stage, contents)


def resolve(recorder: Recorder, resolution: Resolution, now: datetime) -> Resolved:
    """Record the resolution and what follows from it.

    Raises:
        UnansweredForError: nobody says so, or not why.
        UnknownStageError: the workflow has no such stage.
        NotInReviewError: nobody is asked about it, or not about it alone, or the orchestration has ended.
        ReviewExpiredError: it is too late.
        AlreadyResolvedError: somebody was first, perhaps a moment ago.
        InvalidOutcomeError: the outcome is no valid proposal of the stage.
        TransientError: its release cannot be loaded here, so that nothing can be decided.
    """
    check(resolution)
    before: list[tuple[str, OrchestrationState]] = []
    work = Work(
        resolution.tenant_id,
        resolution.orchestration_id,
        claim=None,
        plan=_planner(resolution, now, before),
    )
    since = tracing.now_ns()
    recorded = recorder.record([work])[0]
    observing.said([recorded], since)
    if recorded.after is None:
        raise TransientError(
            f"The release of {resolution.orchestration_id} cannot be loaded here; nothing was recorded.",
            "Run this with the version of Interlock that its workers have.",
        )
    stage, state = before[-1]
    return _resolved(recorded.after.state, state, stage, recorded.after.contents)


def _planner(resolution: Resolution, now: datetime, before: list[tuple[str, OrchestrationState]]) -> Planner:
    """
    Args:
        before: takes the stage and the state that each round decides on; the last is what counted.
    """

    def plan(loaded: Loaded) -> Plan:
        # Once it is known which stage is meant, it stays that one, however often others are faster.
        meant = replace(resolution, stage=before[0][0]) if before else resolution
        stage = _stage(loaded, meant, now)
        before.append((stage, loaded.state))
        body = canonical_bytes({"actor": resolution.actor.strip(), "reason": resolution.reason.strip()})
        digest = digest_bytes(body)
        fact = _fact(loaded, stage, resolution, digest)
        return Plan((fact,), {digest: body, fact.outcome_digest: canonical_bytes(resolution.outcome)})

    return plan


def _fact(loaded: Loaded, stage: str, resolution: Resolution, reason_digest: str) -> ReviewResolved:
    found = misfits(loaded.state.release.template.stage(stage).proposal, resolution.outcome)
    if found:
        raise InvalidOutcomeError(
            f"The outcome is no valid proposal of {stage}: {'; '.join(map(str, found))}.",
            f"Correct it; `python -m app reviews show {resolution.orchestration_id} --stage {stage}` names the fields.",
        )
    return ReviewResolved(
        stage=stage,
        outcome_digest=digest_bytes(canonical_bytes(resolution.outcome)),
        actor=resolution.actor.strip(),
        reason_digest=reason_digest,
    )


def _stage(loaded: Loaded, resolution: Resolution, now: datetime) -> str:
    """The stage that is meant, which waits for a person and still may be completed."""
    state, key = loaded.state, resolution.orchestration_id
    waits = waiting(loaded.history.facts)
    asked = {one.fact.stage for one in loaded.history.facts if isinstance(one.fact, ReviewRequested)}
    if not resolution.stage and len(asked) > 1:
        # Also when one alone still waits: a person who has read of another must not complete this one.
        raise NotInReviewError(
            f"A person was asked about {len(asked)} stages of {key}; {', '.join(waits) or 'none'} waits now.",
            "Name the stage with --stage.",
        )
    stage = resolution.stage or next(iter(asked), "")
    if stage and stage not in state.stages:
        raise UnknownStageError(
            f"{state.release.workflow} has no stage {stage!r}.", f"It has {', '.join(state.stages)}."
        )
    if stage not in waits:
        raise _not_waiting(loaded, stage)
    if now >= waits[stage].until:
        raise ReviewExpiredError(
            f"The review of {stage} expired at {to_text(waits[stage].until)}.", _anew(key)
        )
    return stage


def _not_waiting(loaded: Loaded, stage: str) -> ConflictError:
    """Why nobody can complete it: the last word about it, if there was one."""
    state, key = loaded.state, loaded.state.orchestration_id
    explain = f"`python -m app runs explain {key}` says what happened."
    for recorded in reversed(loaded.history.facts):
        match recorded.fact:
            case ReviewResolved() as fact if fact.stage == (stage or fact.stage):
                return AlreadyResolvedError(
                    f"{fact.actor} has completed {fact.stage} of {key} at {recorded.at}.", explain
                )
            case ReviewExpired() as fact if fact.stage == (stage or fact.stage):
                return ReviewExpiredError(f"The review of {fact.stage} expired at {recorded.at}.", _anew(key))
    if state.status in TERMINAL:
        return NotInReviewError(f"{key} has ended already: {state.status}.", explain)
    what = f"Stage {stage} of {key} is {state.stages[stage].status}" if stage else f"No stage of {key} waits"
    return NotInReviewError(
        f"{what}: nobody is asked to complete it.", "`python -m app reviews list` names those that wait."
    )


def _anew(orchestration: str) -> str:
    return f"Start its event anew: `python -m app replay {orchestration} --mode rerun`."


def _resolved(
    after: OrchestrationState, before: OrchestrationState, stage: str, contents: Contents
) -> Resolved:
    decided = after.stages[stage].decided
    outcome = contents.object(after.decision.outcome_digest) if after.decision is not None else {}
    fields = outcome.get("decision")
    return Resolved(
        orchestration_id=after.orchestration_id,
        stage=stage,
        outcome_digest=decided.outcome_digest if decided is not None else "",
        orchestration_status=after.status,
        ended_because=after.closed.reason if after.closed is not None else "",
        decision=fields if isinstance(fields, Mapping) else {},
        starts=tuple(
            name
            for name, one in after.stages.items()
            if one.status != "pending" and before.stages[name].status == "pending" and one.status != "skipped"
        ),
        actions=tuple(
            f"{action.proposed.name} at {action.proposed.target}"
            + (" (denied)" if action.status == "denied" else "")
            for action in after.actions_by_id.values()
        ),
    )
