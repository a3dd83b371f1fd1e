"""``execute``: runs, a batch of them at once, each recorded as it becomes final.

A run asks its providers in order. Every answer is recorded before it is interpreted; only a provider whose answer to
the same question is always the same one shares a commit with the interpretation, as asking it again loses nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.data_plane.agent_runs import observing
from app.data_plane.agent_runs.prompts import prompt_bytes
from app.data_plane.agent_runs.proposals import PARSER, Proposal, read_answer
from app.data_plane.contents import Contents
from app.data_plane.expressions import ExpressionError
from app.data_plane.orchestration.observing import batch
from app.data_plane.orchestration.recorder import Loaded, Recorder
from app.data_plane.orchestration.state import OrchestrationState
from app.data_plane.ports import (
    Append,
    Carrier,
    Change,
    Claim,
    ModelAnswer,
    ModelRequest,
    Providers,
    Queue,
    Store,
    Verdict,
)
from app.kernel.clock import Clock, to_text
from app.kernel.errors import InterlockError, TransientError
from app.kernel.facts import (
    AnyFact,
    ModelAnswered,
    ModelAsked,
    ModelFailed,
    ProposalMade,
    Recorded,
    RunFailed,
)
from app.kernel.release import AgentBundle, Stage
from app.telemetry import tracing
from app.telemetry.tracing import Keys
from interlock.canonical import JsonObject, JsonValue


@dataclass(slots=True)
class _Run:
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


class Runner:
    """Executes runs. ``in_flight`` is how many model calls this process holds at once."""

    def __init__(
        self,
        store: Store,
        recorder: Recorder,
        providers: Providers,
        carrier: Carrier,
        clock: Clock,
        *,
        batch_size: int,
        in_flight: int,
    ) -> None:
        self._store = store
        self._recorder = recorder
        self._providers = providers
        self._carrier = carrier
        self._clock = clock
        self._batch_size = batch_size
        self._in_flight = asyncio.Semaphore(in_flight)

    async def execute(self, worker: str, run_ids: Sequence[str] = ()) -> tuple[int, int]:
        """Claim runs, ask, record; returns how many were claimed and how many of them failed."""
        claims = await asyncio.to_thread(self._claim, worker, tuple(run_ids))
        if not claims:
            return 0, 0
        loaded = await asyncio.to_thread(self._load, claims)
        with batch(Queue.AGENT_RUNS, loaded):
            runs = await asyncio.to_thread(self._prepare, claims, loaded)
            return len(claims), await self._finish(runs)

    async def _finish(self, runs: Sequence[_Run]) -> int:
        """Ask for all of them at once and record each as it becomes final; returns how many failed."""
        asking: set[asyncio.Task[_Run]] = {asyncio.create_task(self._ask(run)) for run in runs}
        failed = 0
        try:
            while asking:
                done, asking = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
                final = [task.result() for task in done]
                failed += await asyncio.to_thread(self._record, final)
        finally:
            for task in asking:
                task.cancel()
        return failed

    def _claim(self, worker: str, run_ids: tuple[str, ...]) -> list[Claim]:
        limit = max(self._batch_size, len(run_ids))
        claims = self._store.claim(Queue.AGENT_RUNS, limit=limit, worker=worker, step_ids=run_ids)
        if not run_ids and len(claims) == limit:
            self._carrier.ring(Queue.AGENT_RUNS)
        return claims

    def _load(self, claims: Sequence[Claim]) -> dict[str, Loaded]:
        tenants = sorted({claim.tenant_id for claim in claims})
        return self._recorder.load(tenants, sorted({claim.orchestration_id for claim in claims}))

    def _prepare(self, claims: Sequence[Claim], loaded: Mapping[str, Loaded]) -> list[_Run]:
        """Read what the runs need; those of orchestrations whose release cannot be loaded keep their lease."""
        tenants = sorted({claim.tenant_id for claim in claims})
        chains = self._store.run_chains(tenants, [claim.step_id for claim in claims if claim.attempt > 1])
        answers = self._store.contents(tenants, _answers(chains))
        return [
            _resume(claim, loaded[claim.orchestration_id], chains.get(claim.step_id, ()), answers)
            for claim in claims
            if claim.orchestration_id in loaded
        ]

    async def _ask(self, run: _Run) -> _Run:
        """Ask the agent's providers in order until one answers; a recorded answer is not asked for again."""
        position = sum(isinstance(fact, (ModelAnswered, ModelFailed)) for fact in run.facts)
        if run.answer is not None or run.failure is not None:
            return run
        for name in run.agent.providers:
            request = self._request(run, name)
            provider = run.state.release.providers[name]
            run.recording_is_urgent = provider.kind != "scripted"
            asked = ModelAsked(
                position=position,
                provider=name,
                model=request.model,
                prompt_digest=run.contents.add_bytes(prompt_bytes(request)),
            )
            started, since = self._clock.now(), tracing.now_ns()
            try:
                async with self._in_flight, asyncio.timeout(request.timeout_seconds):
                    answer = await self._providers.open(run.state.release, name).ask(request)
            except TimeoutError:
                run.facts += [asked, _failed(position, name, TransientError("timed out"), "timed_out")]
                run.failure, run.detail = "timed_out", f"{name} gave no answer in {request.timeout_seconds} s"
            except InterlockError as error:
                run.facts += [asked, _failed(position, name, error, error.code)]
                run.failure, run.detail = "provider_unavailable", f"{name}: {error.code}"
            else:
                duration = int((self._clock.now() - started).total_seconds() * 1000)
                run.facts += [asked, _answered(run, position, name, answer, to_text(started), duration)]
                run.answer, run.failure = answer.text, None
            run.watched.asked(since, run.facts)
            if run.answer is not None:
                break
            position += 1
        return run

    def _request(self, run: _Run, provider: str) -> ModelRequest:
        return ModelRequest(
            agent=run.agent.name,
            model=run.state.release.providers[provider].model,
            instructions=run.agent.instructions,
            inputs=run.inputs,
            schema=run.stage.proposal,
            temperature=run.agent.temperature,
            max_output_tokens=run.agent.max_output_tokens,
            timeout_seconds=min(run.agent.timeout_seconds, run.stage.timeout_seconds),
        )

    def _record(self, runs: Sequence[_Run]) -> int:
        """Record answers, then what they mean; returns how many runs ended without a proposal."""
        urgent = [run for run in runs if run.recording_is_urgent and run.facts]
        if urgent:
            self._store.commit([_change(run, settle_it=False) for run in urgent])
            for run in urgent:
                run.recorded += len(run.facts)
                run.facts = []
                run.contents.added.clear()
        failed = sum(not _interpret(run) for run in runs)
        committed = self._store.commit([_change(run, settle_it=True) for run in runs])
        self._recorder.tell(committed)
        outcomes = zip(runs, committed.verdicts, strict=True)
        observing.final(
            (run.watched, run.facts[-1]) for run, verdict in outcomes if verdict is Verdict.RECORDED
        )
        return failed


def _answers(chains: Mapping[str, tuple[Recorded, ...]]) -> list[str]:
    return [
        recorded.fact.answer_digest
        for chain in chains.values()
        for recorded in chain
        if isinstance(recorded.fact, ModelAnswered)
    ]


def _resume(claim: Claim, loaded: Loaded, chain: Sequence[Recorded], answers: Mapping[str, bytes]) -> _Run:
    """The run as it stands: new, or with the answers that were recorded before its worker died."""
    stage = loaded.state.release.template.stage(claim.stage)
    agent = loaded.state.release.agents[claim.subject]
    run = _Run(
        claim=claim,
        state=loaded.state,
        stage=stage,
        agent=agent,
        inputs=_inputs(agent, loaded),
        recorded=len(chain),
        contents=Contents({}),
        watched=_watched(claim, loaded),
    )
    for recorded in chain:
        if isinstance(recorded.fact, ModelAnswered):
            run.answer = answers[recorded.fact.answer_digest].decode()
    return run


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


def _answered(
    run: _Run, position: int, provider: str, answer: ModelAnswer, started_at: str, duration_ms: int
) -> ModelAnswered:
    return ModelAnswered(
        position=position,
        provider=provider,
        model=answer.model,
        answer_digest=run.contents.add_bytes(answer.text.encode("utf-8", "replace")),
        input_tokens=answer.input_tokens,
        output_tokens=answer.output_tokens,
        started_at=started_at,
        duration_ms=duration_ms,
    )


def _failed(position: int, provider: str, error: InterlockError, code: str) -> ModelFailed:
    return ModelFailed(position=position, provider=provider, code=code, fate=error.fate.value)


def _interpret(run: _Run) -> bool:
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


def _change(run: _Run, *, settle_it: bool) -> Change:
    return Change(
        tenant_id=run.claim.tenant_id,
        orchestration_id=run.claim.orchestration_id,
        claim=run.claim,
        run=Append(run.claim.step_id, run.recorded, tuple(run.facts)),
        contents=dict(run.contents.added),
        settle="finish" if settle_it else "keep",
    )
