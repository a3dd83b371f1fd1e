"""What is known of an orchestration: the fold of its facts.

``evolve`` is total: a fact that cannot follow what is known (repeated, out of order, or of another stage) changes
nothing. So any order, repetition and loss of facts ends in a valid state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from app.kernel.facts import (
    TERMINAL,
    ActionAuthorised,
    ActionDenied,
    AnyFact,
    CancelRequested,
    DecisionMade,
    DeliveryConfirmed,
    DeliveryFailed,
    DeliveryInDoubt,
    DeliveryRetried,
    DeliveryStarted,
    OrchestrationClosed,
    OrchestrationStarted,
    OrchestrationStatus,
    Recorded,
    RunFolded,
    SnapshotTaken,
    StageDecided,
    StageSkipped,
    StageStarted,
    StepGaveUp,
)
from app.kernel.release import Release

ActionStatus = Literal["authorised", "denied", "sending", "confirmed", "failed", "in_doubt"]
SETTLED_ACTION: frozenset[str] = frozenset({"denied", "confirmed", "failed", "in_doubt"})


class StageState(NamedTuple):
    """One stage: pending until it is started or skipped, running until it is decided."""

    status: Literal["pending", "running", "skipped", "decided"] = "pending"
    runs: tuple[RunFolded, ...] = ()
    decided: StageDecided | None = None
    skipped_because: str = ""

    @property
    def settled(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status in {"skipped", "decided"}

    def missing(self, agents: Iterable[str]) -> tuple[str, ...]:
        """The agents that have not been folded yet."""
        folded = {run.agent for run in self.runs}
        return tuple(agent for agent in agents if agent not in folded)


class ActionState(NamedTuple):
    """One action of the decision."""

    proposed: ActionAuthorised | ActionDenied
    status: ActionStatus
    attempts: int = 0


class OrchestrationState(NamedTuple):
    """Everything that decides what happens next."""

    orchestration_id: str
    tenant_id: str
    release: Release
    stages: Mapping[str, StageState]
    started: OrchestrationStarted | None = None
    snapshot_digest: str | None = None
    decision: DecisionMade | None = None
    actions: Mapping[str, ActionState] | None = None
    cancelled_by: str | None = None
    gave_up: StepGaveUp | None = None
    closed: OrchestrationClosed | None = None

    @property
    def status(self) -> OrchestrationStatus:
        """As it is shown."""
        return self.closed.status if self.closed is not None else "running"

    @property
    def actions_by_id(self) -> Mapping[str, ActionState]:
        """The actions proposed so far."""
        return self.actions or {}


def initial(orchestration_id: str, tenant_id: str, release: Release) -> OrchestrationState:
    """An orchestration of which nothing is known yet but its pinned release."""
    stages = {stage.name: StageState() for stage in release.template.stages}
    return OrchestrationState(orchestration_id, tenant_id, release, stages)


def fold(state: OrchestrationState, facts: Iterable[Recorded]) -> OrchestrationState:
    """The state after these facts, in their order."""
    for recorded in facts:
        state = evolve(state, recorded.fact)
    return state


def evolve(state: OrchestrationState, fact: AnyFact) -> OrchestrationState:
    """The state after ``fact``; the same object when the fact cannot follow what is known."""
    if state.status in TERMINAL:
        return state
    match fact:
        case OrchestrationStarted():
            return state if state.started else state._replace(started=fact)
        case SnapshotTaken():
            fits = state.started is not None and state.snapshot_digest is None
            return state._replace(snapshot_digest=fact.snapshot_digest) if fits else state
        case StageStarted() | StageSkipped() | RunFolded() | StageDecided():
            return _evolve_stage(state, fact)
        case DecisionMade():
            fits = state.decision is None and all(stage.settled for stage in state.stages.values())
            return state._replace(decision=fact) if fits and state.snapshot_digest else state
        case CancelRequested():
            fits = state.started is not None and state.cancelled_by is None
            return state._replace(cancelled_by=fact.actor) if fits else state
        case StepGaveUp():
            fits = state.started is not None and state.gave_up is None
            return state._replace(gave_up=fact) if fits else state
        case OrchestrationClosed():
            return state._replace(closed=fact) if may_close(state, fact) else state
        case _:
            return _evolve_action(state, fact)


def may_close(state: OrchestrationState, fact: OrchestrationClosed) -> bool:
    """Whether this end can follow: nothing may be on its way to a target."""
    if state.started is None or any(action.status == "sending" for action in state.actions_by_id.values()):
        return False
    if fact.status == "cancelled":
        return state.cancelled_by is not None
    if fact.status == "dead_lettered" and state.gave_up is not None:
        return True
    if fact.status == "failed":
        return state.decision is None
    return (
        state.decision is not None
        and len(state.actions_by_id) == state.decision.actions
        and all(action.status in SETTLED_ACTION for action in state.actions_by_id.values())
    )


def _evolve_stage(
    state: OrchestrationState, fact: StageStarted | StageSkipped | RunFolded | StageDecided
) -> OrchestrationState:
    stage = state.stages.get(fact.stage)
    if stage is None or state.snapshot_digest is None:
        return state
    template = state.release.template.stage(fact.stage)
    changed = stage
    match fact:
        case StageStarted() if stage.status == "pending" and ready(state, fact.stage):
            changed = stage._replace(status="running")
        case StageSkipped() if stage.status == "pending" and ready(state, fact.stage):
            changed = stage._replace(status="skipped", skipped_because=fact.reason)
        case RunFolded() if stage.status == "running" and fact.agent in stage.missing(template.agents):
            changed = stage._replace(runs=(*stage.runs, fact))
        case StageDecided() if stage.status == "running" and not stage.missing(template.agents):
            changed = stage._replace(status="decided", decided=fact)
    if changed is stage:
        return state
    return state._replace(stages={**state.stages, fact.stage: changed})


def ready(state: OrchestrationState, stage: str) -> bool:
    """Whether everything that the stage comes after is settled."""
    return all(state.stages[name].settled for name in state.release.template.stage(stage).after)


def _evolve_action(state: OrchestrationState, fact: AnyFact) -> OrchestrationState:
    actions = state.actions_by_id
    if state.decision is None:
        return state
    if isinstance(fact, (ActionAuthorised, ActionDenied)):
        if fact.action_id in actions or len(actions) >= state.decision.actions:
            return state
        status: ActionStatus = "authorised" if isinstance(fact, ActionAuthorised) else "denied"
        return state._replace(actions={**actions, fact.action_id: ActionState(fact, status)})
    if not isinstance(
        fact, (DeliveryStarted, DeliveryConfirmed, DeliveryRetried, DeliveryFailed, DeliveryInDoubt)
    ):
        return state
    action = actions.get(fact.action_id)
    changed = _evolve_delivery(action, fact) if action is not None else None
    return state if changed is None else state._replace(actions={**actions, fact.action_id: changed})


def _evolve_delivery(
    action: ActionState,
    fact: DeliveryStarted | DeliveryConfirmed | DeliveryRetried | DeliveryFailed | DeliveryInDoubt,
) -> ActionState | None:
    if isinstance(fact, DeliveryStarted):
        # Also from `sending`: at a target that honours keys, an attempt nobody heard of again is made once more.
        fits = action.status in {"authorised", "sending"} and fact.attempt > action.attempts
        return action._replace(status="sending", attempts=fact.attempt) if fits else None
    if isinstance(fact, DeliveryFailed) and action.status == "authorised" and fact.attempt == action.attempts:
        return action._replace(status="failed")
    if action.status != "sending" or fact.attempt != action.attempts:
        return None
    match fact:
        case DeliveryConfirmed():
            return action._replace(status="confirmed")
        case DeliveryRetried():
            return action._replace(status="authorised")
        case DeliveryFailed():
            return action._replace(status="failed")
        case DeliveryInDoubt():
            return action._replace(status="in_doubt")
