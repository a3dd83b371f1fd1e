"""Each fact in one plain sentence."""

from __future__ import annotations

from app.data_plane.dead_letters.words import attempts
from app.data_plane.replay.narrate_run import tell_step
from app.kernel.facts import (
    ActionAuthorised,
    ActionDenied,
    ActionSettled,
    AnyFact,
    ApprovalDenied,
    ApprovalExpired,
    ApprovalGranted,
    ApprovalRequested,
    ApprovalSuperseded,
    CallProposed,
    CancelRequested,
    DecisionMade,
    DeliveryConfirmed,
    DeliveryFailed,
    DeliveryInDoubt,
    DeliveryProbed,
    DeliveryRetried,
    DeliveryStarted,
    OrchestrationClosed,
    OrchestrationResumed,
    OrchestrationStarted,
    ReviewExpired,
    ReviewRequested,
    ReviewResolved,
    RunFolded,
    SnapshotTaken,
    StageDecided,
    StageSkipped,
    StageStarted,
    StepGaveUp,
    StepLapsed,
)


def tell(fact: AnyFact) -> str:
    """The sentence; a fact of a later version is told by its kind."""
    match fact:
        case OrchestrationStarted(lane="rerun"):
            return (
                f"The event {fact.event_id} ({fact.event_type}) of {fact.replay_of} was started anew for"
                f" {fact.workflow}, number {fact.ordinal}, and pinned to release {fact.release[:12]}."
            )
        case OrchestrationStarted():
            return (
                f"The event {fact.event_id} ({fact.event_type}) was accepted for {fact.workflow} and pinned to"
                f" release {fact.release[:12]} ({fact.channel})."
            )
        case SnapshotTaken():
            return f"The lookups were answered; the state snapshot is {fact.snapshot_digest[:12]}."
        case StageStarted():
            return f"Stage {fact.stage} called for {', '.join(fact.agents)}."
        case StageSkipped(stage=stage, reason="condition_false"):
            return f"Stage {stage} was skipped: its condition did not hold."
        case StageSkipped():
            return f"Stage {fact.stage} was skipped: {fact.reason}."
        case RunFolded():
            what = "proposed" if fact.proposal_digest is not None else f"gave no proposal ({fact.failure})"
            return f"In stage {fact.stage}, {fact.agent} {what}."
        case StageDecided():
            return f"Stage {fact.stage} was decided by {fact.rule}: {_outcome_of(fact)}."
        case ReviewRequested() | ReviewResolved() | ReviewExpired():
            return _tell_of_a_review(fact)
        case DecisionMade():
            return f"The decision was made, {fact.decision_digest[:12]}; it asks for {fact.actions} actions."
        case OrchestrationClosed():
            return f"It ended {fact.status}: {fact.reason}."
        case StepGaveUp():
            return f"A step of {fact.queue} gave up after {attempts(fact.attempts)}: {fact.code}."
        case StepLapsed():
            return (
                f"A lease of {fact.step_id} ({fact.queue}) ended without a result, number {fact.lapses}: its worker"
                " died or was too slow."
            )
        case OrchestrationResumed():
            return f"{fact.actor} had it go on from where it gave up ({fact.replay_id})."
        case CancelRequested():
            return f"{fact.actor} asked to cancel it."
        case _:
            return _tell_of_an_action(fact)


def _outcome_of(fact: StageDecided) -> str:
    if fact.winner is None:
        return f"no proposal was valid, and {WHO_ANSWERED[fact.fallback]}"
    return f"the proposal of {fact.winner} became the outcome"


WHO_ANSWERED = {
    "": "the fallback answered",
    "rule": "the fallback's rule answered",
    "review": "a person completed it",
}
"""Which fallback it was, in words."""


def _tell_of_a_review(fact: ReviewRequested | ReviewResolved | ReviewExpired) -> str:
    match fact:
        case ReviewRequested():
            return (
                f"In stage {fact.stage} no proposal was valid: a person is asked to complete it, within"
                f" {fact.expires_seconds:g} s."
            )
        case ReviewResolved():
            return f"{fact.actor} completed stage {fact.stage} with {fact.outcome_digest[:12]}."
        case ReviewExpired():
            return f"Nobody completed stage {fact.stage} in time: its review expired."


def _tell_of_an_action(fact: AnyFact) -> str:
    match fact:
        case ActionAuthorised() | ActionDenied():
            return _tell_of_a_verdict(fact)
        case (
            CallProposed()
            | ApprovalRequested()
            | ApprovalGranted()
            | ApprovalDenied()
            | ApprovalExpired()
            | ApprovalSuperseded()
        ):
            return _tell_of_an_approval(fact)
        case DeliveryStarted():
            return f"Attempt {fact.attempt} at {fact.action_id} was about to be sent."
        case DeliveryConfirmed():
            again = ", which had applied its key before" if fact.repeated else ""
            return (
                f"Attempt {fact.attempt} at {fact.action_id} was confirmed (HTTP {fact.http_status}){again}."
            )
        case DeliveryRetried(ambiguous=True):
            return (
                f"Attempt {fact.attempt} at {fact.action_id} was not answered for: {fact.reason}. It may have been"
                " applied, and is repeated while the target keeps its key."
            )
        case DeliveryRetried():
            return f"Attempt {fact.attempt} at {fact.action_id} failed for now: {fact.reason}."
        case DeliveryFailed():
            return f"{fact.action_id} gave up at attempt {fact.attempt}: {fact.reason}."
        case DeliveryInDoubt():
            return f"{fact.action_id} is in doubt after attempt {fact.attempt}: {fact.reason}."
        case DeliveryProbed():
            return f"Its target was asked what became of {fact.action_id} (time {fact.probe}): {_said(fact)}."
        case ActionSettled():
            was = "was applied" if fact.applied else "was not applied"
            return f"{fact.actor} said of {fact.action_id}, which was in doubt, that it {was}."
        case _:
            return tell_step(fact) or fact.kind.replace("_", " ")


def _tell_of_a_verdict(fact: ActionAuthorised | ActionDenied) -> str:
    what = f"Action {fact.name} ({fact.tool} at {fact.target})"
    match fact:
        case ActionAuthorised(approved_by=people) if people:
            who = " and ".join(people)
            return f"{what} was authorised after {who} consented, as {_listed(fact.policies)} wants it."
        case ActionAuthorised():
            return f"{what} was permitted by {_listed(fact.policies)}."
        case ActionDenied(was_asked=True):
            return f"{what} was denied after people were asked: {fact.reason}."
    return f"{what} was denied: {fact.reason}."


def _tell_of_an_approval(
    fact: CallProposed
    | ApprovalRequested
    | ApprovalGranted
    | ApprovalDenied
    | ApprovalExpired
    | ApprovalSuperseded,
) -> str:
    match fact:
        case CallProposed():
            return (
                f"In stage {fact.stage}, {fact.agent} called {fact.tool} at {fact.target}: if the policy permits it,"
                f" it is the action {fact.action_id}."
            )
        case ApprovalRequested():
            whose = "a person's consent" if fact.persons == 1 else f"the consent of {fact.persons} people"
            return (
                f"Action {fact.name} ({fact.tool} at {fact.target}) needs {whose}, as {_listed(fact.policies)} wants"
                f" it: it waits for that, for {fact.expires_seconds:g} s."
            )
        case ApprovalGranted():
            return f"{fact.actor} consented to {fact.action_id}, as it was shown ({fact.action_digest[:12]})."
        case ApprovalDenied():
            return f"{fact.actor} denied {fact.action_id}."
        case ApprovalExpired():
            return f"Too few consented to {fact.action_id} in time: its approval expired."
        case ApprovalSuperseded():
            return f"The approval of {fact.action_id} was superseded: {fact.reason}."


def _said(fact: DeliveryProbed) -> str:
    if fact.answer == "unknown":
        return f"no use ({fact.reason})"
    return "it was applied" if fact.answer == "applied" else "it was not applied"


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "its policy"
