"""What is known of an orchestration: the fold of its facts.

``evolve`` is total: a fact that cannot follow what is known (repeated, out of order, or of another stage) changes
nothing. So any order, repetition and loss of facts ends in a valid state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple, get_args

from app.data_plane.orchestration.action_state import (
    ANSWERS,
    DELIVERY,
    SETTLED_ACTION,
    ActionState,
    Verdict,
    after_answer,
    after_delivery,
    after_verdict,
    first_status,
    person,
)
from app.kernel.facts import (
    ActionSettled,
    AnyFact,
    CallProposed,
    CancelRequested,
    DecisionMade,
    DeliveryInDoubt,
    DeliveryProbed,
    OrchestrationClosed,
    OrchestrationResumed,
    OrchestrationStarted,
    OrchestrationStatus,
    Recorded,
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
from app.kernel.release import Release, Stage

VERDICTS = get_args(Verdict)

MOST_PROBES = 5
"""How often a target is asked what became of an action, before a person must tell."""


class StageState(NamedTuple):
    """One stage: pending until it is started or skipped, running until it is decided, perhaps by a person."""

    status: Literal["pending", "running", "in_review", "skipped", "decided"] = "pending"
    runs: tuple[RunFolded, ...] = ()
    decided: StageDecided | None = None
    skipped_because: str = ""
    review: ReviewRequested | None = None
    resolved: ReviewResolved | None = None
    """What a person said, in time."""
    expired: bool = False
    """Nobody did."""

    @property
    def settled(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status in {"skipped", "decided"}

    @property
    def awaits_a_person(self) -> bool:
        """Whether a review of it can still be completed, or expire."""
        return self.status == "in_review" and self.resolved is None and not self.expired

    def missing(self, agents: Iterable[str]) -> tuple[str, ...]:
        """The agents that have not been folded yet."""
        folded = {run.agent for run in self.runs}
        return tuple(agent for agent in agents if agent not in folded)


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
    resumed_by: tuple[str, ...] = ()
    """The replays that had it go on."""
    lapses: Mapping[str, int] | None = None
    """By step: how many of its leases ended without a result."""
    calls: Mapping[str, CallProposed] | None = None
    """By action: the calls of runs that write or send."""

    @property
    def status(self) -> OrchestrationStatus:
        """As it is shown: waiting for a person while anything does, though other branches may go on."""
        if self.closed is not None:
            return self.closed.status
        if any(one.status == "in_review" for one in self.stages.values()):
            return "in_review"
        waits = any(action.awaits_people for action in self.actions_by_id.values())
        return "awaiting_approval" if waits else "running"

    @property
    def actions_by_id(self) -> Mapping[str, ActionState]:
        """The actions proposed so far."""
        return self.actions or {}

    @property
    def decided_actions(self) -> tuple[str, ...]:
        """Those of them that the decision asks for."""
        return tuple(key for key, action in self.actions_by_id.items() if not action.proposed.run_id)

    def calls_of(self, run_id: str) -> tuple[str, ...]:
        """The effects that a run's model has called for."""
        return tuple(key for key, call in (self.calls or {}).items() if call.run_id == run_id)

    def is_settled(self, action_id: str) -> bool:
        """Whether a run that called for it is told what it came to: it may be in doubt, which is told as well."""
        action = self.actions_by_id.get(action_id)
        return action is not None and action.status in SETTLED_ACTION


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
    if state.closed is not None:
        return _evolve_closed(state, fact)
    match fact:
        case OrchestrationStarted():
            return state if state.started else state._replace(started=fact)
        case SnapshotTaken():
            fits = state.started is not None and state.snapshot_digest is None
            return state._replace(snapshot_digest=fact.snapshot_digest) if fits else state
        case StageStarted() | StageSkipped() | RunFolded() | StageDecided():
            return _evolve_stage(state, fact)
        case ReviewRequested() | ReviewResolved() | ReviewExpired():
            return _evolve_review(state, fact)
        case DecisionMade():
            fits = state.decision is None and all(stage.settled for stage in state.stages.values())
            return state._replace(decision=fact) if fits and state.snapshot_digest else state
        case CancelRequested():
            fits = state.started is not None and state.cancelled_by is None
            return state._replace(cancelled_by=fact.actor) if fits else state
        case StepGaveUp():
            fits = state.started is not None and state.gave_up is None
            return state._replace(gave_up=fact) if fits else state
        case StepLapsed():
            lapses = state.lapses or {}
            fits = state.started is not None and fact.lapses > lapses.get(fact.step_id, 0)
            return state._replace(lapses={**lapses, fact.step_id: fact.lapses}) if fits else state
        case OrchestrationClosed():
            return state._replace(closed=fact) if may_close(state, fact) else state
        case _:
            return _evolve_action(state, fact)


def _evolve_closed(state: OrchestrationState, fact: AnyFact) -> OrchestrationState:
    """After the end only people's repairs follow: where something gave up, or what cancelling left in doubt."""
    if state.status == "cancelled":
        return _evolve_action(state, fact) if isinstance(fact, (ActionSettled, DeliveryInDoubt)) else state
    if state.status != "dead_lettered":
        return state
    if isinstance(fact, OrchestrationResumed):
        if fact.replay_id in state.resumed_by:
            return state
        actions = {key: _retake(action) for key, action in state.actions_by_id.items()}
        resumed_by = (*state.resumed_by, fact.replay_id)
        return state._replace(
            closed=None, gave_up=None, actions=actions or None, resumed_by=resumed_by, lapses=None
        )
    if not isinstance(fact, (ActionSettled, DeliveryProbed)):
        return state
    after = _evolve_action(state, fact)
    mended = state.gave_up is None and not any(action.gave_up for action in after.actions_by_id.values())
    return after._replace(closed=None) if mended else after


def _retake(action: ActionState) -> ActionState:
    """What certainly did not come to be is sent again with the same key; what is in doubt stays in doubt."""
    if action.status == "failed":
        return action._replace(status="authorised", attempts_before=action.attempts)
    if action.status == "settled" and not action.applied:
        return action._replace(status="authorised", attempts_before=action.attempts, ambiguous=False)
    return action


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
        and len(state.decided_actions) == state.decision.actions
        and all(is_over(state, action) for action in state.actions_by_id.values())
    )


def is_over(state: OrchestrationState, action: ActionState) -> bool:
    """Whether nothing more comes of an action by itself: one in doubt may still be probed."""
    return action.status in SETTLED_ACTION and not may_be_probed(state, action)


def may_be_probed(state: OrchestrationState, action: ActionState) -> bool:
    """Whether its target can be asked what became of it, and was not asked often enough."""
    if action.status != "in_doubt" or action.probes >= MOST_PROBES:
        return False
    return state.release.target(action.proposed.target).probe_path is not None


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
        case StageDecided() if _may_be_decided(stage, fact, template):
            changed = stage._replace(status="decided", decided=fact)
    return _with_stage(state, fact.stage, changed)


def _may_be_decided(stage: StageState, fact: StageDecided, template: Stage) -> bool:
    """By its agents or a fallback when all runs are final; after a review only as the person said."""
    if stage.status == "in_review":
        told = stage.resolved.outcome_digest if stage.resolved is not None else None
        return (fact.fallback, fact.outcome_digest) == ("review", told)
    return stage.status == "running" and fact.fallback != "review" and not stage.missing(template.agents)


def _evolve_review(
    state: OrchestrationState, fact: ReviewRequested | ReviewResolved | ReviewExpired
) -> OrchestrationState:
    """A person is asked once for each stage, and the first of answer and expiry counts."""
    stage = state.stages.get(fact.stage)
    if stage is None or state.snapshot_digest is None:
        return state
    template = state.release.template.stage(fact.stage)
    changed = stage
    match fact:
        case ReviewRequested() if (
            stage.status == "running"
            and template.fallback_review is not None
            and not stage.missing(template.agents)
            and all(run.proposal_digest is None for run in stage.runs)
        ):
            changed = stage._replace(status="in_review", review=fact)
        case ReviewResolved() if stage.awaits_a_person:
            changed = stage._replace(resolved=fact)
        case ReviewExpired() if stage.awaits_a_person:
            changed = stage._replace(expired=True)
    return _with_stage(state, fact.stage, changed)


def _with_stage(state: OrchestrationState, name: str, stage: StageState) -> OrchestrationState:
    """The state with the stage changed; the same object when it is not."""
    if stage is state.stages[name]:
        return state
    return state._replace(stages={**state.stages, name: stage})


def ready(state: OrchestrationState, stage: str) -> bool:
    """Whether everything that the stage comes after is settled."""
    return all(state.stages[name].settled for name in state.release.template.stage(stage).after)


def _evolve_action(state: OrchestrationState, fact: AnyFact) -> OrchestrationState:
    if isinstance(fact, CallProposed):
        return _evolve_call(state, fact)
    if isinstance(fact, VERDICTS):
        return _evolve_verdict(state, fact)
    if isinstance(fact, ANSWERS):
        action = state.actions_by_id.get(fact.action_id)
        return _with_action(state, action and after_answer(action, fact, proposers(state)), fact.action_id)
    if isinstance(fact, DELIVERY):
        action = state.actions_by_id.get(fact.action_id)
        return _with_action(state, action and after_delivery(action, fact), fact.action_id)
    return state


def _with_action(state: OrchestrationState, action: ActionState | None, key: str) -> OrchestrationState:
    """The state with the action changed; the same object when it is not."""
    return state if action is None else state._replace(actions={**state.actions_by_id, key: action})


def _evolve_call(state: OrchestrationState, fact: CallProposed) -> OrchestrationState:
    """A run that is not final calls for an effect, once."""
    stage = state.stages.get(fact.stage)
    calls = state.calls or {}
    if stage is None or stage.status != "running" or fact.action_id in calls:
        return state
    if fact.agent not in stage.missing(state.release.template.stage(fact.stage).agents):
        return state
    return state._replace(calls={**calls, fact.action_id: fact})


def _evolve_verdict(state: OrchestrationState, fact: Verdict) -> OrchestrationState:
    action = state.actions_by_id.get(fact.action_id)
    if action is not None:
        return _with_action(state, after_verdict(action, fact), fact.action_id)
    if not _is_asked_for(state, fact):
        return state
    return _with_action(state, ActionState(fact, first_status(fact)), fact.action_id)


def _is_asked_for(state: OrchestrationState, fact: Verdict) -> bool:
    """Whether a run's call or the decision asks for it."""
    if fact.run_id:
        call = (state.calls or {}).get(fact.action_id)
        return call is not None and call.run_id == fact.run_id
    return state.decision is not None and len(state.decided_actions) < state.decision.actions


def proposers(state: OrchestrationState) -> frozenset[str]:
    """Who stands behind what is proposed, and so must not consent to it: agents, the workflow, who made a decision."""
    people = [stage.resolved.actor for stage in state.stages.values() if stage.resolved is not None]
    return frozenset(map(person, [*state.release.agents, state.release.workflow, *people]))
