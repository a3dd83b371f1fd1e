"""One claimed run: what is known of it, what its answer means, and what is to be recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.data_plane.agent_runs import observing
from app.data_plane.agent_runs.proposals import PARSER, Proposal, read_answer
from app.data_plane.contents import Contents
from app.data_plane.expressions import ExpressionError
from app.data_plane.orchestration.recorder import MOST_LAPSES, Loaded
from app.data_plane.orchestration.state import OrchestrationState
from app.data_plane.ports import Append, Change, Claim
from app.kernel.errors import DefectError
from app.kernel.facts import (
    AnyFact,
    ModelAnswered,
    ModelAsked,
    ProposalMade,
    Recorded,
    RunFailed,
    StepLapsed,
)
from app.kernel.release import AgentBundle, Stage
from app.telemetry.tracing import Keys
from interlock.canonical import JsonObject, JsonValue


@dataclass(slots=True)
class Run:
    """One claimed run on its way: what is recorded of it, and what is not yet."""

    claim: Claim
    state: OrchestrationState
    stage: Stage
    agent: AgentBundle
    inputs: JsonObject
    recorded: int
    contents: Contents
    watched: observing.Watched
    facts: list[AnyFact] = field(default_factory=list)
    answer: str | None = None
    failure: str | None = None
    """Why no provider answered."""
    detail: str = ""
    recording_is_urgent: bool = False
    asked: int = 0
    """How many questions its chain holds from before its worker died."""


def resume(claim: Claim, loaded: Loaded, chain: Sequence[Recorded], answers: Mapping[str, bytes]) -> Run:
    """The run as it stands: new, or with the answers that were recorded before its worker died."""
    agent = loaded.state.release.agents[claim.subject]
    gave_up = claim.lapses >= MOST_LAPSES
    run = Run(
        claim=claim,
        state=loaded.state,
        stage=loaded.state.release.template.stage(claim.stage),
        agent=agent,
        # Nothing is evaluated any more of a run that gives up: that may be what ends its workers.
        inputs={} if gave_up else _inputs(agent, loaded),
        recorded=len(chain),
        contents=Contents({}),
        watched=_watched(claim, loaded),
    )
    if gave_up:
        run.failure, run.detail = "gave_up", f"begun {claim.lapses} times and never finished"
    told = 0
    for recorded in chain:
        run.asked += isinstance(recorded.fact, ModelAsked)
        if isinstance(recorded.fact, StepLapsed):
            told = recorded.fact.lapses
        if isinstance(recorded.fact, ModelAnswered) and not gave_up:
            run.answer = _answer(answers, recorded.fact)
    if claim.lapses > told:
        run.facts.append(StepLapsed(step_id=claim.step_id, queue=claim.queue.value, lapses=claim.lapses))
    return run


def _answer(answers: Mapping[str, bytes], fact: ModelAnswered) -> str:
    if fact.answer_digest not in answers:
        raise DefectError(
            f"The payload store holds no answer {fact.answer_digest[:12]}.",
            "It was erased: look at `runs explain`.",
        )
    return answers[fact.answer_digest].decode()


def is_final(chain: Sequence[Recorded]) -> bool:
    """Whether the run ended already: nothing is asked or recorded any more."""
    return any(isinstance(recorded.fact, (ProposalMade, RunFailed)) for recorded in chain)


def interpret(run: Run) -> bool:
    """Append what the answer means: a proposal, or why there is none."""
    if run.answer is None:
        failure = run.failure or "provider_unavailable"
        run.facts.append(RunFailed(failure=failure, detail=run.detail, parser=PARSER))
        return False
    read = read_answer(run.answer, run.stage.proposal)
    if isinstance(read, Proposal):
        run.facts.append(ProposalMade(proposal_digest=run.contents.add_bytes(read.body), parser=PARSER))
        return True
    run.facts.append(RunFailed(failure="invalid_answer", detail=str(read)[:300], parser=PARSER))
    return False


def change(run: Run, *, settle_it: bool) -> Change:
    """What is to be recorded of it; ``settle_it`` when it is final."""
    return Change(
        tenant_id=run.claim.tenant_id,
        orchestration_id=run.claim.orchestration_id,
        claim=run.claim,
        run=Append(run.claim.step_id, run.recorded, tuple(run.facts)),
        contents=dict(run.contents.added),
        settle="finish" if settle_it else "keep",
    )


def _watched(claim: Claim, loaded: Loaded) -> observing.Watched:
    event_id = loaded.state.started.event_id if loaded.state.started is not None else ""
    keys = Keys(claim.tenant_id, event_id, claim.orchestration_id, claim.step_id)
    return observing.Watched(keys, loaded.history.traceparent, claim.stage, claim.subject)


def _inputs(agent: AgentBundle, loaded: Loaded) -> JsonObject:
    """What the agent sees; an input that has no value is null, and says so."""
    inputs: dict[str, JsonValue] = {}
    for name, expression in agent.inputs.items():
        value = loaded.scope.evaluate(expression)
        inputs[name] = None if isinstance(value, ExpressionError) else value
    return inputs
