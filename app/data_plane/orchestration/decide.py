"""``decide(state, fact) -> commands``: what is to be done now. No clock, no I/O, no randomness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from app.data_plane.orchestration.state import OrchestrationState, evolve, is_over, ready
from app.kernel.facts import AnyFact


@dataclass(frozen=True, slots=True)
class TakeSnapshot:
    """Answer the template's lookups."""


@dataclass(frozen=True, slots=True)
class ConsiderStage:
    """Evaluate the stage's condition, and start or skip it."""

    stage: str


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Turn the stage's proposals into its outcome."""

    stage: str


@dataclass(frozen=True, slots=True)
class Complete:
    """Make what a person said the stage's outcome."""

    stage: str


@dataclass(frozen=True, slots=True)
class Conclude:
    """Make the decision from the stages' outcomes."""


@dataclass(frozen=True, slots=True)
class Authorise:
    """Ask the policy about the decision's actions."""


@dataclass(frozen=True, slots=True)
class AuthoriseCall:
    """Ask the policy about what a run's model has called for."""

    action_id: str


@dataclass(frozen=True, slots=True)
class ConcludeApproval:
    """Turn people's answers, or their absence, into a verdict."""

    action_id: str


@dataclass(frozen=True, slots=True)
class Deliver:
    """Send the action."""

    action_id: str


@dataclass(frozen=True, slots=True)
class Close:
    """End the orchestration."""

    status: Literal["completed", "failed", "dead_lettered", "cancelled"]
    reason: str


Command = (
    TakeSnapshot
    | ConsiderStage
    | Aggregate
    | Complete
    | Conclude
    | Authorise
    | AuthoriseCall
    | ConcludeApproval
    | Deliver
    | Close
)


def decide(state: OrchestrationState, fact: AnyFact) -> tuple[Command, ...]:
    """The commands that ``fact`` makes necessary, given what was known before it.

    A fact that cannot follow changes nothing and asks for nothing.
    """
    after = evolve(state, fact)
    return () if after is state else newly(outstanding(state), outstanding(after))


def newly(before: tuple[Command, ...], after: tuple[Command, ...]) -> tuple[Command, ...]:
    """The commands that are outstanding now and were not before."""
    return tuple(command for command in after if command not in before)


def outstanding(state: OrchestrationState) -> tuple[Command, ...]:
    """All that is to be done, known from the state alone: whoever finds an orchestration can carry it on."""
    if state.started is None or state.closed is not None:
        return ()
    if state.gave_up is not None or state.cancelled_by is not None:
        return _close_early(state)
    if state.snapshot_digest is None:
        return (TakeSnapshot(),)
    judged = state.decision is not None and len(state.decided_actions) == state.decision.actions
    effects = _towards_effects(state, judged)
    if state.decision is None:
        return (*effects, *_towards_a_decision(state))
    if not judged:
        return (*effects, Authorise())
    return effects or _towards_the_end(state)


def _towards_effects(state: OrchestrationState, judged: bool) -> tuple[Command, ...]:
    """What runs have called for, what people have answered, and what may be sent.

    Args:
        judged: every action of the decision has its verdict; before that none of them is sent.
    """
    actions = state.actions_by_id
    return (
        *(AuthoriseCall(key) for key in state.calls or {} if key not in actions),
        *(ConcludeApproval(key) for key, action in actions.items() if action.was_answered),
        *(
            Deliver(key)
            for key, action in actions.items()
            if action.status == "authorised" and (judged or action.proposed.run_id)
        ),
    )


def _close_early(state: OrchestrationState) -> tuple[Command, ...]:
    """End it as soon as nothing is on its way to a target any more."""
    if any(action.status == "sending" for action in state.actions_by_id.values()):
        return ()
    if state.gave_up is not None:
        gave_up = state.gave_up
        attempts = f"{gave_up.attempts} attempt{'' if gave_up.attempts == 1 else 's'}"
        reason = f"a step of {gave_up.queue} gave up after {attempts}: {gave_up.code}"
        return (Close("dead_lettered", reason),)
    return (Close("cancelled", f"cancelled by {state.cancelled_by}"),)


def _towards_a_decision(state: OrchestrationState) -> tuple[Command, ...]:
    commands: list[Command] = []
    # What may end the orchestration waits: nothing may be on its way to a target then.
    may_end = not any(action.status == "sending" for action in state.actions_by_id.values())
    for template in state.release.template.stages:
        stage = state.stages[template.name]
        if stage.status == "pending" and ready(state, template.name):
            commands.append(ConsiderStage(template.name))
        elif not may_end:
            continue
        elif stage.status == "running" and not stage.missing(template.agents):
            commands.append(Aggregate(template.name))
        elif stage.resolved is not None and stage.status == "in_review":
            commands.append(Complete(template.name))
        elif stage.expired and stage.review is not None:
            limit = f"nobody completed it within {stage.review.expires_seconds:g} s"
            return (Close("failed", f"stage {template.name}: review expired: {limit}"),)
    if may_end and all(stage.settled for stage in state.stages.values()):
        commands.append(Conclude())
    return tuple(commands)


def _towards_the_end(state: OrchestrationState) -> tuple[Command, ...]:
    actions = state.actions_by_id
    if all(is_over(state, action) for action in actions.values()):
        gave_up = [key for key, action in actions.items() if action.gave_up]
        if gave_up:
            return (Close("dead_lettered", f"{len(gave_up)} of {len(actions)} actions gave up"),)
        settled = any(action.status == "settled" for action in actions.values())
        known = "confirmed or settled" if settled else "confirmed"
        return (Close("completed", f"decided, and every permitted action is {known}"),)
    return ()
