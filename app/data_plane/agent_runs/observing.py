"""What is seen of runs from outside: a span for each that is final, one below it for each question, and a line."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from app.kernel.facts import (
    AnyFact,
    ModelAnswered,
    ModelAsked,
    ModelFailed,
    ProviderHop,
    RunFailed,
    ToolAnswered,
    ToolFailed,
)
from app.telemetry import metrics, naming, tracing
from app.telemetry.logs import get_logger
from app.telemetry.tracing import AttributeValue, Keys

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
    """One call of a tool that reads, over. What writes or sends has a span of its delivery."""

    start_ns: int
    end_ns: int
    tool: str
    outcome: ToolAnswered | ToolFailed


@dataclass(slots=True)
class Watched:
    """A run as it is seen from outside, from its claim on.

    Args:
        traceparent: its orchestration's.
    """

    keys: Keys
    traceparent: str | None
    stage: str
    agent: str
    questions: list[Question] = field(default_factory=list)
    calls: list[Called] = field(default_factory=list)
    hops: list[tuple[int, ProviderHop]] = field(default_factory=list)
    """With the nanosecond since the epoch."""
    since_ns: int = field(default_factory=tracing.now_ns)

    def asked(self, since_ns: int, asked: ModelAsked, outcome: ModelAnswered | ModelFailed) -> None:
        """A question is over."""
        until_ns = tracing.now_ns()
        error = outcome.code if isinstance(outcome, ModelFailed) else ""
        metrics.model_asked(asked.provider, asked.model, error, (until_ns - since_ns) / 1e9)
        self.questions.append(Question(since_ns, until_ns, asked, outcome))

    def called(self, since_ns: int, tool: str, outcome: ToolAnswered | ToolFailed) -> None:
        """A call of a tool is over."""
        until_ns = tracing.now_ns()
        told = "failed" if isinstance(outcome, ToolFailed) else "answered"
        metrics.tool_called(tool, told, (until_ns - since_ns) / 1e9)
        self.calls.append(Called(since_ns, until_ns, tool, outcome))

    def hopped(self, hop: ProviderHop) -> None:
        """The run turned from one provider to the next, or to its end."""
        self.hops.append((tracing.now_ns(), hop))


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
        naming.GEN_AI_OPERATION: "invoke_agent",
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
    )
    for question in run.questions:
        tracing.record(
            naming.model_span(question.asked.model),
            run.keys,
            parent=parent,
            start_ns=question.start_ns,
            end_ns=question.end_ns,
            attributes={naming.GEN_AI_OPERATION: "chat", **_genai(question)},
        )
    for call in run.calls:
        failed = {naming.ERROR_TYPE: call.outcome.code} if isinstance(call.outcome, ToolFailed) else {}
        tracing.record(
            naming.tool_span(call.tool),
            run.keys,
            parent=parent,
            start_ns=call.start_ns,
            end_ns=call.end_ns,
            attributes={naming.GEN_AI_OPERATION: "execute_tool", naming.GEN_AI_TOOL: call.tool, **failed},
        )


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
