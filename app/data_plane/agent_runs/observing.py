"""What is seen of runs from outside: a span for each that is final, one below it for each question, and a line."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from app.data_plane.orchestration.step_spans import attempt_id, former_attempt
from app.data_plane.ports import Claim, History
from app.kernel.facts import (
    AnyFact,
    ModelAnswered,
    ModelAsked,
    ModelFailed,
    ProviderHop,
    RunFailed,
    ToolAnswered,
    ToolCalled,
    ToolFailed,
)
from app.telemetry import messages, metrics, naming, tracing
from app.telemetry.logs import get_logger
from app.telemetry.span_ids import Linked, LinkKind, beside, derived
from app.telemetry.tracing import Attributes, AttributeValue, Held, Keys

_log = get_logger(__name__)
_levels = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Question:
    """One question to one model, over."""

    start_ns: int
    end_ns: int
    asked: ModelAsked
    outcome: ModelAnswered | ModelFailed


@dataclass(frozen=True, slots=True)
class Called:
    """One call of a tool that reads, over; or of one that writes or sends, handed over to be delivered."""

    start_ns: int
    end_ns: int
    called: ToolCalled
    outcome: ToolAnswered | ToolFailed | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """The gateway's verdict on one call that is not handed over; on the others the orchestration's counts."""

    start_ns: int
    end_ns: int
    called: ToolCalled


@dataclass(slots=True)
class Watched:
    """A run as it is seen from outside, from its claim on.

    Args:
        traceparent: its orchestration's.
        span_id: of the span of what is done of it under this claim.
        former: what was done of it before.
    """

    keys: Keys
    traceparent: str | None
    stage: str
    agent: str
    span_id: int = 0
    former: tuple[Linked, ...] = ()
    questions: list[Question] = field(default_factory=list)
    calls: list[Called] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)
    hops: list[tuple[int, ProviderHop]] = field(default_factory=list)
    """With the nanosecond since the epoch."""
    since_ns: int = field(default_factory=tracing.now_ns)
    held: Held = field(default_factory=Held)

    def asked(self, since_ns: int, asked: ModelAsked, outcome: ModelAnswered | ModelFailed) -> None:
        """A question is over."""
        until_ns = tracing.now_ns()
        error = outcome.code if isinstance(outcome, ModelFailed) else ""
        metrics.model_asked(asked.provider, asked.model, error, (until_ns - since_ns) / 1e9)
        self.questions.append(Question(since_ns, until_ns, asked, outcome))

    def called(self, since_ns: int, called: ToolCalled, outcome: ToolAnswered | ToolFailed) -> None:
        """A call of a tool is over."""
        until_ns = tracing.now_ns()
        told = "failed" if isinstance(outcome, ToolFailed) else "answered"
        metrics.tool_called(called.tool, told, (until_ns - since_ns) / 1e9)
        self.calls.append(Called(since_ns, until_ns, called, outcome))

    def was_judged(self, since_ns: int, facts: Iterable[ToolCalled]) -> None:
        """The calls of an answer were judged, all of them in this time."""
        until_ns = tracing.now_ns()
        for fact in facts:
            if fact.verdict == "handed_over":
                self.calls.append(Called(since_ns, until_ns, fact))
            else:
                self.judged.append(Judged(since_ns, until_ns, fact))

    def hopped(self, hop: ProviderHop) -> None:
        """The run turned from one provider to the next, or to its end."""
        self.hops.append((tracing.now_ns(), hop))

    def asking(self, position: int) -> AbstractContextManager[None]:
        """While a model is asked: what its client records is below the question's span."""
        return self._under_way(naming.CHAT, position)

    def calling(self, called: ToolCalled) -> AbstractContextManager[None]:
        """While a tool is called: what it records is below the call's span."""
        return self._under_way(naming.EXECUTE_TOOL, called.position, called.call)

    def child_id(self, *which: str | int) -> int:
        """The id of a span below the run's."""
        return derived(self.span_id, *which)

    def _under_way(self, *which: str | int) -> AbstractContextManager[None]:
        if self.traceparent is None or not tracing.is_sampled(self.traceparent):
            return tracing.under_way(self.keys, self.traceparent, None)
        here = beside(self.traceparent, self.child_id(*which))
        return tracing.under_way(self.keys, here, self.held)


def watch(claim: Claim, history: History, event_id: str, former: LinkKind) -> Watched:
    """A claimed run.

    Args:
        former: why it is taken up again, if it is.
    """
    keys = Keys(claim.tenant_id, event_id, claim.orchestration_id, claim.step_id)
    traceparent = history.traceparent
    if traceparent is None or not tracing.is_sampled(traceparent):
        return Watched(keys, traceparent, claim.stage, claim.subject)
    return Watched(
        keys,
        traceparent,
        claim.stage,
        claim.subject,
        attempt_id(claim.step_id, history.facts, claim.attempt),
        former_attempt(claim, history.facts, traceparent, former),
    )


def final(runs: Iterable[tuple[Watched, AnyFact]]) -> None:
    """Tell the runs that became final, each with its last fact."""
    for run, last in runs:
        failure = last.failure if isinstance(last, RunFailed) else None
        if tracing.is_sampled(run.traceparent):
            _record(run, failure)
        level = logging.DEBUG if failure is None else logging.WARNING
        if _levels.isEnabledFor(level):
            words = "run final" if failure is None else "run without a proposal"
            joined = tracing.joined(run.keys, run.traceparent)
            _log.log(level, words, **joined, stage=run.stage, agent=run.agent, failure=failure or "")


def put_off(runs: Iterable[Watched]) -> None:
    """Tell the runs that wait for what they called for: what they did until now is a span of its own."""
    for run in runs:
        if tracing.is_sampled(run.traceparent):
            _record(run, None, "waiting")


def _record(run: Watched, failure: str | None, outcome: str = "proposal") -> None:
    attributes: dict[str, AttributeValue] = {
        naming.GEN_AI_OPERATION: naming.INVOKE_AGENT,
        naming.GEN_AI_AGENT: run.agent,
        naming.STAGE: run.stage,
        naming.OUTCOME: failure or outcome,
    }
    if run.questions:
        attributes |= _genai(run.questions[-1])
    if failure is not None:
        attributes[naming.ERROR_TYPE] = failure
    parent = tracing.record(
        naming.agent_span(run.agent),
        run.keys,
        parent=run.traceparent,
        start_ns=run.since_ns,
        end_ns=tracing.now_ns(),
        attributes=attributes,
        events=[_event(at_ns, hop) for at_ns, hop in run.hops],
        links=(*run.former, *messages.carried_by()),
        span_id=run.span_id,
    )
    for seen in _below(run):
        tracing.record(
            seen.name,
            run.keys,
            parent=parent,
            start_ns=seen.start_ns,
            end_ns=seen.end_ns,
            attributes=seen.attributes,
            span_id=seen.span_id,
        )
    run.held.recorded()


@dataclass(frozen=True, slots=True)
class _Below:
    """A span below a run's."""

    name: str
    start_ns: int
    end_ns: int
    attributes: Attributes
    span_id: int


def _below(run: Watched) -> Iterator[_Below]:
    for one in run.questions:
        attributes: Attributes = {naming.GEN_AI_OPERATION: naming.CHAT, **_genai(one)}
        span_id = run.child_id(naming.CHAT, one.asked.position)
        yield _Below(naming.model_span(one.asked.model), one.start_ns, one.end_ns, attributes, span_id)
    for judged in run.judged:
        fact = judged.called
        attributes = {
            naming.GEN_AI_TOOL: fact.tool,
            naming.EFFECT: fact.verdict,
            naming.POLICIES: tuple(fact.policies),
        }
        span_id = run.child_id(naming.POLICIES, fact.position, fact.call)
        yield _Below(naming.policy_span(fact.tool), judged.start_ns, judged.end_ns, attributes, span_id)
    for call in run.calls:
        fact = call.called
        attributes = {
            naming.GEN_AI_OPERATION: naming.EXECUTE_TOOL,
            naming.GEN_AI_TOOL: fact.tool,
            **_came_to(call),
        }
        span_id = run.child_id(naming.EXECUTE_TOOL, fact.position, fact.call)
        yield _Below(naming.tool_span(fact.tool), call.start_ns, call.end_ns, attributes, span_id)


def _came_to(call: Called) -> Attributes:
    if call.outcome is None:
        return {naming.ACTION_ID: call.called.action_id, naming.OUTCOME: call.called.verdict}
    return {naming.ERROR_TYPE: call.outcome.code} if isinstance(call.outcome, ToolFailed) else {}


def _event(at_ns: int, hop: ProviderHop) -> tracing.Event:
    attributes = {naming.LEFT: hop.left, naming.TO: hop.to, naming.REASON: hop.reason}
    return tracing.Event(at_ns, naming.EVENT_PROVIDER_HOP, attributes)


def _genai(question: Question) -> dict[str, AttributeValue]:
    asked, outcome = question.asked, question.outcome
    values: dict[str, AttributeValue] = {
        naming.GEN_AI_PROVIDER: asked.provider,
        naming.GEN_AI_REQUEST_MODEL: asked.model,
    }
    if isinstance(outcome, ModelFailed):
        return {**values, naming.ERROR_TYPE: outcome.code}
    return {
        **values,
        naming.GEN_AI_RESPONSE_MODEL: outcome.model,
        naming.GEN_AI_INPUT_TOKENS: outcome.input_tokens,
        naming.GEN_AI_OUTPUT_TOKENS: outcome.output_tokens,
    }
