"""The steps that an orchestration needs: those that its facts call for, and those that it needs to go on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from app.data_plane.orchestration.state import OrchestrationState
from app.data_plane.ports import NewStep, Queue
from app.kernel.facts import ActionAuthorised, AnyFact, ApprovalRequested, ReviewRequested, StageStarted
from interlock.identity import advance_id, aggregation_id, approval_id, review_id, run_id

LEASE_MARGIN_SECONDS = 15.0
"""How much longer a lease holds than its work can take."""


def called_for(state: OrchestrationState, facts: Iterable[AnyFact]) -> Iterator[NewStep]:
    """The steps that these facts of the orchestration call for."""
    for fact in facts:
        if isinstance(fact, StageStarted):
            yield from stage_steps(state, fact.stage, fact.agents)
        elif isinstance(fact, ActionAuthorised):
            yield delivery_step(state, fact.action_id)
        elif isinstance(fact, ReviewRequested):
            yield review_step(state, fact)
        elif isinstance(fact, ApprovalRequested):
            yield approval_step(state, fact)


def over(before: OrchestrationState, after: OrchestrationState) -> tuple[str, ...]:
    """The steps that nobody needs any more: those that would end a wait that has ended, and runs that would go on."""
    if before.closed is not None:
        return ()
    ended = after.closed is not None
    reviews = (
        review_id(before.orchestration_id, name)
        for name, stage in before.stages.items()
        if stage.status == "in_review" and (ended or after.stages[name].settled)
    )
    approvals = (
        approval_id(key)
        for key, action in before.actions_by_id.items()
        if action.awaits_people and (ended or not after.actions_by_id[key].awaits_people)
    )
    return (*reviews, *approvals, *(_waiting_steps(before) if ended else ()))


def woken(before: OrchestrationState, after: OrchestrationState, put_off: str = "") -> tuple[str, ...]:
    """The runs that wait for nothing any more: what they called for is settled, the last of it just now.

    Args:
        put_off: the run that is put off with this. It is woken at once when what it waits for came while it was held
            by a worker, or its orchestration ended: nobody would wake it later.
    """
    itself = {put_off} if put_off else set()
    if after.closed is not None:
        return tuple(itself)
    still = set(waiting_runs(after))
    news = {call.run_id for key, call in (after.calls or {}).items() if key not in (before.calls or {})}
    return tuple(sorted((set(waiting_runs(before)) | news | itself) - still))


def waiting_runs(state: OrchestrationState) -> tuple[str, ...]:
    """The runs that wait for what they called for."""
    waits = (call.run_id for key, call in (state.calls or {}).items() if not state.is_settled(key))
    return tuple(dict.fromkeys(waits))


def _waiting_steps(state: OrchestrationState) -> tuple[str, ...]:
    """The runs that wait for what they called for, and their stages' aggregations, which wait for the runs."""
    runs = waiting_runs(state)
    stages = dict.fromkeys(call.stage for call in (state.calls or {}).values() if call.run_id in runs)
    return (*runs, *(aggregation_id(state.orchestration_id, stage) for stage in stages))


def to_go_on(state: OrchestrationState, asked_about: Iterable[str] = ()) -> tuple[NewStep, ...]:
    """The steps that an open orchestration needs to come to its end.

    Args:
        asked_about: the actions in doubt whose targets are asked what became of them.
    """
    if state.snapshot_digest is None:
        return (
            NewStep(
                advance_id(state.orchestration_id),
                state.tenant_id,
                state.orchestration_id,
                Queue.ORCHESTRATION,
            ),
        )
    steps: list[NewStep] = []
    for name, stage in state.stages.items():
        missing = stage.missing(state.release.template.stage(name).agents)
        if stage.status == "running" and missing:
            steps += stage_steps(state, name, missing)
        elif stage.review is not None and stage.awaits_a_person:
            steps.append(review_step(state, stage.review))
    steps += [
        approval_step(state, action.proposed)
        for action in state.actions_by_id.values()
        if action.awaits_people and isinstance(action.proposed, ApprovalRequested)
    ]
    unsent = [key for key, action in state.actions_by_id.items() if action.status == "authorised"]
    steps += [delivery_step(state, key) for key in (*unsent, *asked_about)]
    return tuple(steps)


def stage_steps(state: OrchestrationState, stage: str, agents: tuple[str, ...]) -> Iterator[NewStep]:
    """The aggregation of a stage that waits for these agents' runs, and the runs."""
    parent = aggregation_id(state.orchestration_id, stage)
    limit = state.release.template.stage(stage).timeout_seconds
    yield NewStep(
        parent,
        state.tenant_id,
        state.orchestration_id,
        Queue.AGGREGATION,
        stage=stage,
        open_members=len(agents),
    )
    for agent in agents:
        yield NewStep(
            run_id(state.orchestration_id, stage, agent),
            state.tenant_id,
            state.orchestration_id,
            Queue.AGENT_RUNS,
            stage=stage,
            subject=agent,
            lease_seconds=limit + LEASE_MARGIN_SECONDS,
            parent_id=parent,
        )


def review_step(state: OrchestrationState, review: ReviewRequested) -> NewStep:
    """The step that ends the wait for a person, due when that has lasted long enough."""
    return NewStep(
        review_id(state.orchestration_id, review.stage),
        state.tenant_id,
        state.orchestration_id,
        Queue.ORCHESTRATION,
        stage=review.stage,
        due_in_seconds=review.expires_seconds,
    )


def approval_step(state: OrchestrationState, requested: ApprovalRequested) -> NewStep:
    """The step that ends the wait for people's consent, due when that has lasted long enough."""
    return NewStep(
        approval_id(requested.action_id),
        state.tenant_id,
        state.orchestration_id,
        Queue.ORCHESTRATION,
        subject=requested.action_id,
        due_in_seconds=requested.expires_seconds,
    )


def delivery_step(state: OrchestrationState, action_id: str) -> NewStep:
    """The step that delivers an action, and asks about it when it is in doubt."""
    target = state.release.target(state.actions_by_id[action_id].proposed.target)
    return NewStep(
        action_id,
        state.tenant_id,
        state.orchestration_id,
        Queue.DISPATCH,
        subject=target.name,
        lease_seconds=target.timeout_seconds + LEASE_MARGIN_SECONDS,
    )
