"""What the agents said and which tools they called, for a person who must decide about an action."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.data_plane.replay.explain import StageTold
from app.data_plane.replay.explain_argument import content
from app.data_plane.replay.narrate_run import total, verdict_in_words, why_not
from app.data_plane.replay.record import Record, read_chain
from app.kernel.facts import AnyFact, ToolAnswered, ToolCalled, ToolFailed
from app.telemetry.redaction import redact_value


@dataclass(frozen=True, slots=True)
class CallTold:
    """One call of a tool. Secrets of a known form are left out of its content."""

    tool: str
    target: str
    arguments: object
    """None when they were erased, or are no JSON."""
    verdict: str
    result: object
    """None when there is none, or it was erased."""
    failed: str
    """Why there is no result, in words."""


@dataclass(frozen=True, slots=True)
class AgentTold:
    """What one agent said, and what it called for on the way there."""

    stage: str
    agent: str
    run_id: str
    proposes_it: bool
    """The action is a call of this agent's model."""
    said: object
    """Its proposal; None when there is none yet, or at all."""
    failure: str
    calls: tuple[CallTold, ...]


def explain_agents(record: Record, stages: Sequence[StageTold], run_id: str) -> tuple[AgentTold, ...]:
    """Every agent that was asked so far, in the template's order.

    Args:
        run_id: whose model has called for the action; empty for an action of the decision.
    """
    return tuple(_agents(record, stages, run_id))


def spent(record: Record) -> tuple[int, int]:
    """What all runs of the orchestration cost until now: tokens, and billionths of a US dollar."""
    return total(one.fact for links in record.runs.values() for one in read_chain(links))


def _agents(record: Record, stages: Sequence[StageTold], run_id: str) -> Iterator[AgentTold]:
    for stage in stages:
        for voice in stage.voices:
            yield AgentTold(
                stage=stage.name,
                agent=voice.agent,
                run_id=voice.run_id,
                proposes_it=voice.run_id == run_id,
                said=redact_value(voice.proposal),
                failure=voice.failure,
                calls=_calls(record, voice.run_id),
            )
        for one in stage.under_way:
            yield AgentTold(
                stage=stage.name,
                agent=one.agent,
                run_id=one.run_id,
                proposes_it=one.run_id == run_id,
                said=None,
                failure="",
                calls=_calls(record, one.run_id),
            )


def _calls(record: Record, run_id: str) -> tuple[CallTold, ...]:
    facts = [one.fact for one in read_chain(record.runs.get(run_id, ()))]
    return tuple(_call(record, fact, facts) for fact in facts if isinstance(fact, ToolCalled))


def _call(record: Record, called: ToolCalled, facts: Sequence[AnyFact]) -> CallTold:
    ends = [
        fact
        for fact in facts
        if isinstance(fact, (ToolAnswered, ToolFailed))
        and (fact.position, fact.call) == (called.position, called.call)
    ]
    end = ends[-1] if ends else None
    return CallTold(
        tool=called.tool,
        target=called.target,
        arguments=redact_value(content(record, called.arguments_digest)),
        verdict=verdict_in_words(called),
        result=redact_value(content(record, end.result_digest)) if isinstance(end, ToolAnswered) else None,
        failed=why_not(end) if isinstance(end, ToolFailed) else "",
    )
