"""One claimed run: what is known of it, what its answer means, and what is to be recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from app.data_plane.agent_runs import calls, effects, moves, observing
from app.data_plane.agent_runs.moves import Ask, GiveUp
from app.data_plane.agent_runs.proposals import PARSER, Proposal, Rejection, read_answer
from app.data_plane.agent_runs.recordings import read_recording
from app.data_plane.budgets.reservations import Settlement
from app.data_plane.contents import Contents
from app.data_plane.expressions import ExpressionError
from app.data_plane.models import ToolCall, Turn
from app.data_plane.orchestration.recorder import MOST_LAPSES, Loaded, Plan, Work
from app.data_plane.orchestration.state import OrchestrationState
from app.data_plane.ports import Append, Change, Claim
from app.kernel.errors import DefectError
from app.kernel.facts import (
    AnswerRejected,
    AnyFact,
    CallProposed,
    ModelAnswered,
    ModelAsked,
    ProposalMade,
    ProviderHop,
    Recorded,
    RunFailed,
    StepLapsed,
    ToolCalled,
)
from app.kernel.release import AgentBundle, Stage
from app.telemetry import tracing
from app.telemetry.redaction import redact_known
from app.telemetry.span_ids import LinkKind
from interlock.canonical import JsonObject, JsonValue

LONGEST_PATH, LONGEST_REASON = 100, 300
"""Characters, in the fact that an answer was rejected."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that nobody has interpreted yet."""

    position: int
    provider: str
    text: str
    calls: tuple[ToolCall, ...] = ()


@dataclass(slots=True)
class Run:
    """One claimed run on its way: the facts of its chain, and how many of them are recorded."""

    claim: Claim
    state: OrchestrationState
    stage: Stage
    agent: AgentBundle
    inputs: JsonObject
    contents: Contents
    watched: observing.Watched
    chain: list[AnyFact] = field(default_factory=list)
    recorded: int = 0
    answer: Answer | None = None
    last_text: str = ""
    """The answer that was interpreted last, for a re-ask."""
    given_up: GiveUp | None = None
    """Why nobody is asked any more."""
    settlements: list[Settlement] = field(default_factory=list)
    """What its questions cost, not recorded yet."""
    recording_is_urgent: bool = False
    """An answer that is not recorded was paid for."""
    ends_at: float | None = None
    """When the stage's limit is reached, by the event loop's clock; None before anything was asked."""
    positions: int = 0
    """How many were taken by questions so far."""
    is_reserving: bool = False
    """A question waits for its budgets, and was not sent."""
    outrun: str = ""
    """The provider that another one, asked beside it, was faster than."""
    may_be_asked_at: dict[str, float] = field(default_factory=dict)
    """By the event loop's clock, for the providers that said so."""
    reads: list[ToolCalled] = field(default_factory=list)
    """Permitted calls of reading tools that are to be made."""
    effects: list[CallProposed] = field(default_factory=list)
    """Calls that write or send: the run waits for what its orchestration makes of them."""

    @property
    def facts(self) -> tuple[AnyFact, ...]:
        """Those that are not recorded yet."""
        return tuple(self.chain[self.recorded :])

    @property
    def waits(self) -> bool:
        """Whether all that is left to do is to wait for what it called for."""
        return bool(self.effects) and not self.reads

    @property
    def calls_made(self) -> int:
        """How many of its calls were judged, whatever came of them."""
        return sum(isinstance(fact, ToolCalled) for fact in self.chain)

    @property
    def caller(self) -> calls.Caller:
        """Whose calls they are."""
        return calls.Caller(self.state, self.agent, self.stage.name, self.claim.step_id, self.contents)

    def turns(self) -> tuple[Turn, ...]:
        """The answers that called tools, and what came of it."""
        return calls.turns(self.chain, self.contents) if self.agent.tools else ()

    def take_position(self) -> int:
        """The next question's place among the run's questions; taken by one that is never asked, too."""
        self.positions += 1
        return self.positions - 1

    def next_move(self, now: float) -> Ask | GiveUp:
        """What it does next; ``now`` by the event loop's clock."""
        return moves.next_move(
            self.agent.providers,
            self.chain,
            waits=self._waits(now),
            seconds_left=self._seconds_left(now),
        )

    def leave(self, provider: str, reason: str, now: float) -> Ask | GiveUp:
        """Turn from a provider to what comes next, as a fact."""
        hop, move = moves.leave(
            self.agent.providers,
            self.chain,
            provider,
            reason,
            waits=self._waits(now),
            seconds_left=self._seconds_left(now),
        )
        self.chain.append(hop)
        self.watched.hopped(hop)
        return move

    def hedge(self, slow: str, beside: str) -> None:
        """Ask a second provider beside a slow one, as a fact: nobody is left."""
        hop = ProviderHop(left=slow, to=beside, reason=moves.SLOW)
        self.chain.append(hop)
        self.watched.hopped(hop)

    def _waits(self, now: float) -> dict[str, float]:
        return {name: moment - now for name, moment in self.may_be_asked_at.items()}

    def _seconds_left(self, now: float) -> float:
        return self.stage.timeout_seconds if self.ends_at is None else self.ends_at - now


def resume(claim: Claim, loaded: Loaded, chain: Sequence[Recorded], answers: Mapping[str, bytes]) -> Run:
    """The run as it stands: new, or with what was recorded of it before its worker died.

    Args:
        answers: the contents that its chain names, and the receipts of what it called for.
    """
    agent = loaded.state.release.agents[claim.subject]
    gave_up = claim.lapses >= MOST_LAPSES
    facts = [recorded.fact for recorded in chain]
    run = Run(
        claim=claim,
        state=loaded.state,
        stage=loaded.state.release.template.stage(claim.stage),
        agent=agent,
        # Nothing is evaluated any more of a run that gives up: that may be what ends its workers.
        inputs={} if gave_up else _inputs(agent, loaded),
        # A run that calls tools compares what it is about to say with all that was said to it.
        contents=Contents(loaded.contents.with_more(answers) if agent.tools else answers),
        watched=_watched(claim, loaded, facts),
        chain=facts,
        recorded=len(facts),
        positions=max((fact.position + 1 for fact in facts if isinstance(fact, ModelAsked)), default=0),
    )
    if gave_up:
        run.given_up = GiveUp("gave_up", f"begun {claim.lapses} times and never finished")
    else:
        _take_up(run, facts, answers)
    if claim.lapses > _told_lapses(facts):
        run.chain.append(StepLapsed(step_id=claim.step_id, queue=claim.queue.value, lapses=claim.lapses))
    return run


def _take_up(run: Run, facts: Sequence[AnyFact], answers: Mapping[str, bytes]) -> None:
    """Go on with the last answer that was recorded: to be interpreted, or to be shown in a re-ask."""
    answered = [fact for fact in facts if isinstance(fact, ModelAnswered)]
    if not answered:
        return
    last = answered[-1]
    if last.answer_digest not in answers:
        raise DefectError(
            f"The payload store holds no answer {last.answer_digest[:12]}.",
            "It was erased: look at `runs explain`.",
        )
    text, called = read_recording(answers[last.answer_digest], last.calls)
    interpreted = any(
        isinstance(fact, (AnswerRejected, ToolCalled)) and fact.position == last.position for fact in facts
    )
    if interpreted:
        run.last_text = text
        _take_up_calls(run)
    else:
        run.answer = Answer(last.position, last.provider, text, called)


def _take_up_calls(run: Run) -> None:
    """Go on with the calls that have come to nothing yet, or to something that the run was not told."""
    for fact in calls.open_calls(run.chain):
        if fact.verdict == "permitted":
            run.reads.append(fact)
        elif run.state.is_settled(fact.action_id):
            run.chain.append(effects.told(run.state, fact, run.contents))
            run.recording_is_urgent = True
        else:
            before = run.chain[: run.chain.index(fact)]
            run.effects.append(calls.proposal_of(run.caller, fact, calls.spent(run.caller, before)))


def is_final(chain: Iterable[Recorded]) -> bool:
    """Whether the run ended already: nothing is asked or recorded any more."""
    return any(isinstance(recorded.fact, (ProposalMade, RunFailed)) for recorded in chain)


def interpret(run: Run, now: float, at: str) -> None:
    """Append what the answer means, or why there is none: the end of the run, unless it goes on.

    Args:
        now: by the event loop's clock.
        at: by the clock on the wall, as facts tell it.
    """
    if run.answer is None:
        _fail(run, run.given_up or GiveUp("provider_unavailable", ""))
        return
    answer = run.answer
    run.answer, run.last_text = None, answer.text
    if answer.calls:
        many = calls.too_many(run.agent, run.calls_made, len(answer.calls))
        if not many:
            _judge(run, answer, at)
            return
        read: Proposal | Rejection = Rejection("", many)
    else:
        read = read_answer(answer.text, run.stage.proposal)
    if isinstance(read, Proposal):
        digest = run.contents.add_bytes(read.body)
        # Their kinds alone: a place may hold a name that the model made up.
        repairs = tuple(sorted({repair.code for repair in read.repairs}))
        run.chain.append(ProposalMade(proposal_digest=digest, parser=PARSER, repairs=repairs))
        return
    told = refusal_told(read)
    run.chain.append(
        AnswerRejected(
            position=answer.position,
            provider=answer.provider,
            path=told[0],
            reason=told[1],
            parser=PARSER,
        )
    )
    move = run.next_move(now)
    if isinstance(move, Ask) and move.again is not None:
        return
    move = run.leave(answer.provider, moves.INVALID_ANSWER, now)
    if isinstance(move, GiveUp):
        _fail(run, GiveUp(move.failure, redact_known(f"{move.detail}: {read}")[:300]))


def refusal_told(read: Rejection) -> tuple[str, str]:
    """The place and the reason as a fact holds them: both may quote the answer."""
    return redact_known(read.path)[:LONGEST_PATH], redact_known(read.reason)[:LONGEST_REASON]


def _judge(run: Run, answer: Answer, at: str) -> None:
    """The verdicts on what it calls; nothing of it has happened yet."""
    placed = [
        calls.PlacedCall(answer.position, number, written) for number, written in enumerate(answer.calls)
    ]
    since = tracing.now_ns()
    verdicts = calls.judge_calls(run.caller, run.chain, placed, at)
    run.watched.was_judged(since, (judged.fact for judged in verdicts))
    for judged in verdicts:
        run.chain.append(judged.fact)
        for body in judged.contents.values():
            run.contents.add_bytes(body)
        if judged.proposed is not None:
            run.effects.append(judged.proposed)
        elif judged.fact.verdict == "permitted":
            run.reads.append(judged.fact)
    run.recording_is_urgent = True


def _fail(run: Run, end: GiveUp) -> None:
    run.chain.append(RunFailed(failure=end.failure, detail=end.detail, parser=PARSER))


def ended(run: Run) -> bool:
    """Whether its last fact is the end of it."""
    return bool(run.chain) and isinstance(run.chain[-1], (ProposalMade, RunFailed))


def failed(run: Run) -> bool:
    """Whether it ended without a proposal."""
    return bool(run.chain) and isinstance(run.chain[-1], RunFailed)


def change(run: Run, *, settle_it: bool) -> Change:
    """What is to be recorded of it; ``settle_it`` when it is final."""
    return Change(
        tenant_id=run.claim.tenant_id,
        orchestration_id=run.claim.orchestration_id,
        claim=run.claim,
        run=Append(run.claim.step_id, run.recorded, run.facts),
        contents=dict(run.contents.added),
        settlements=tuple(run.settlements),
        settle="finish" if settle_it else "keep",
    )


def handed_over(run: Run) -> Work:
    """Its calls as what its orchestration is asked for, and the run put off until that has come to something."""
    known = dict(run.contents.added)
    named = {digest for call in run.effects for digest in (call.arguments_digest, call.provenance_digest)}
    plan = Plan(
        facts=tuple(run.effects),
        contents={**known, **{digest: run.contents.body(digest) for digest in named}},
        run=Append(run.claim.step_id, run.recorded, run.facts),
        settlements=tuple(run.settlements),
        settle="wait",
    )
    return Work(run.claim.tenant_id, run.claim.orchestration_id, run.claim, lambda _: plan)


def was_recorded(run: Run) -> None:
    """All of it stands in the journal now."""
    run.recorded = len(run.chain)
    run.contents.were_kept()
    run.settlements.clear()
    run.recording_is_urgent = False


def _watched(claim: Claim, loaded: Loaded, facts: Sequence[AnyFact]) -> observing.Watched:
    event_id = loaded.state.started.event_id if loaded.state.started is not None else ""
    former = LinkKind.RETRY
    if claim.lapses > _told_lapses(facts):
        former = LinkKind.LAPSE
    elif any(called.verdict == "handed_over" for called in calls.open_calls(facts)):
        former = LinkKind.CONTINUES
    return observing.watch(claim, loaded.history, event_id, former)


def _told_lapses(facts: Iterable[AnyFact]) -> int:
    return max((fact.lapses for fact in facts if isinstance(fact, StepLapsed)), default=0)


def _inputs(agent: AgentBundle, loaded: Loaded) -> JsonObject:
    """What the agent sees; an input that has no value is null, and says so."""
    inputs: dict[str, JsonValue] = {}
    for name, expression in agent.inputs.items():
        value = loaded.scope.evaluate(expression)
        inputs[name] = None if isinstance(value, ExpressionError) else value
    return inputs
