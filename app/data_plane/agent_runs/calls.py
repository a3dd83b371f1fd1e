"""What a model's calls of tools may come to: each is judged from the release, its arguments and where they came from.

Pure, and the same when a record is verified: it sees the run's facts and their contents, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from app.data_plane.agent_runs.recordings import read_recording
from app.data_plane.contents import Contents
from app.data_plane.gateway.gateway import Setting, gateway_of
from app.data_plane.gateway.judge import Question, Spend, Verdict, judge
from app.data_plane.gateway.origins import as_json
from app.data_plane.gateway.provenance import Sources, sources_of
from app.data_plane.models import ToolCall, ToolOffer, ToolResult, Turn
from app.data_plane.orchestration.authorisation import outcomes_before
from app.data_plane.orchestration.state import OrchestrationState
from app.data_plane.tools import check_arguments
from app.kernel.errors import DefectError
from app.kernel.facts import (
    AnyFact,
    CallProposed,
    ModelAnswered,
    ModelFailed,
    ToolAnswered,
    ToolCalled,
    ToolFailed,
)
from app.kernel.release import AgentBundle
from app.kernel.tool_spec import ToolSpec, argument_schema
from app.telemetry.redaction import redact_known
from interlock.canonical import JsonValue, canonical_bytes, digest_bytes
from interlock.identity import call_action_id

LONGEST_TOOL_NAME = 100
TOO_MANY = "it calls {asked} tools, and {left} calls are left to this run"


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose calls they are, and what everything in them is compared with."""

    state: OrchestrationState
    agent: AgentBundle
    stage: str
    run_id: str
    contents: Contents
    """With the event, the snapshot, the outcomes so far and the results of this run."""


@dataclass(frozen=True, slots=True)
class PlacedCall:
    """A call in its place: the question whose answer holds it, and its number in there."""

    position: int
    call: int
    written: ToolCall


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdict on one call as a fact, and what there is to do."""

    fact: ToolCalled
    proposed: CallProposed | None = None
    """What is handed over to the orchestration, of a call that writes or sends."""
    contents: Mapping[str, bytes] = field(default_factory=dict)


def offers(state: OrchestrationState, agent: AgentBundle, made: int) -> tuple[ToolOffer, ...]:
    """The tools that the next question offers; none when all calls of the run are made."""
    if made >= agent.most_calls:
        return ()
    specs = (state.release.tools[one.tool] for one in agent.tools)
    return tuple(ToolOffer(spec.name, spec.description, argument_schema(spec.input_schema)) for spec in specs)


def too_many(agent: AgentBundle, made: int, asked: int) -> str:
    """Why an answer with so many calls is no answer; empty when they fit into what is left."""
    left = max(0, agent.most_calls - made) if agent.tools else 0
    return TOO_MANY.format(asked=asked, left=left) if asked > left else ""


def judge_calls(
    caller: Caller, facts: Sequence[AnyFact], calls: Sequence[PlacedCall], at: str
) -> list[Judged]:
    """The verdicts on an answer's calls, in their order.

    Args:
        facts: of the run so far.
        at: when, as facts tell it.
    """
    sources = _sources(caller, facts)
    judged: list[Judged] = []
    for call in calls:
        spend = spent(caller, [*facts, *(one.fact for one in judged)])
        judged.append(_judge(caller, sources, call, spend, at))
    return judged


def spent(caller: Caller, facts: Iterable[AnyFact]) -> Spend:
    """What a run with these facts has taken: its calls, and what they and its questions cost."""
    made, nano_usd = 0, 0
    for fact in facts:
        match fact:
            case ModelAnswered(nano_usd=cost) | ModelFailed(nano_usd=cost):
                nano_usd += cost
            case ToolCalled(tool=tool, verdict=verdict):
                made += 1
                nano_usd += cost_of(caller, tool) if verdict != "denied" else 0
    return Spend(made, nano_usd)


def cost_of(caller: Caller, tool: str) -> int:
    """What one call of the tool costs, in billionths of a US dollar."""
    spec = caller.state.release.tools.get(tool)
    return spec.nano_usd if spec is not None else 0


def turns(facts: Iterable[AnyFact], contents: Contents) -> tuple[Turn, ...]:
    """The answers that called tools and what their calls came to, as far as that is known; open ones are left out."""
    answers: dict[int, tuple[str, tuple[ToolCall, ...]]] = {}
    results: dict[tuple[int, int], tuple[str, bool]] = {}
    for fact in facts:
        match fact:
            case ModelAnswered(calls=count) if count:
                answers[fact.position] = read_recording(contents.body(fact.answer_digest), count)
            case ToolCalled(verdict="denied"):
                results[fact.position, fact.call] = (fact.reason, True)
            case ToolAnswered():
                text = contents.body(fact.result_digest).decode("utf-8", "replace")
                results[fact.position, fact.call] = (text, False)
            case ToolFailed():
                results[fact.position, fact.call] = (fact.code, True)
    return tuple(
        Turn(text, tuple(ToolResult(call, *results[position, number]) for number, call in enumerate(calls)))
        for position, (text, calls) in answers.items()
        if all((position, number) in results for number in range(len(calls)))
    )


def open_calls(facts: Iterable[AnyFact]) -> list[ToolCalled]:
    """The calls that were permitted or handed over and have come to nothing yet."""
    found: dict[tuple[int, int], ToolCalled] = {}
    for fact in facts:
        if isinstance(fact, ToolCalled) and fact.verdict != "denied":
            found[fact.position, fact.call] = fact
        elif isinstance(fact, (ToolAnswered, ToolFailed)):
            found.pop((fact.position, fact.call), None)
    return list(found.values())


FateName = Literal["transient", "permanent", "defect"]


def failed(called: ToolCalled, code: str, fate: FateName = "permanent", milliseconds: int = 0) -> ToolFailed:
    """That a call came to nothing, and why."""
    return ToolFailed(
        position=called.position, call=called.call, code=code, fate=fate, duration_ms=milliseconds
    )


def proposal_of(caller: Caller, fact: ToolCalled, spend: Spend) -> CallProposed:
    """What was handed over, from the fact that says so, and what the run had taken before."""
    return CallProposed(
        action_id=fact.action_id,
        run_id=caller.run_id,
        stage=caller.stage,
        agent=caller.agent.name,
        position=fact.position,
        call=fact.call,
        tool=fact.tool,
        target=fact.target,
        arguments_digest=fact.arguments_digest,
        provenance_digest=fact.provenance_digest,
        made=spend.calls,
        spent_nano_usd=spend.nano_usd,
    )


def _sources(caller: Caller, facts: Iterable[AnyFact]) -> Sources:
    """All that the run has seen: the event, the snapshot, what was decided before its stage, and its own results."""
    state, contents = caller.state, caller.contents
    if state.started is None or state.snapshot_digest is None:
        raise DefectError("A run has nothing to call for before its orchestration began.")
    names: dict[tuple[int, int], str] = {}
    results: list[tuple[ToolSpec, JsonValue]] = []
    for fact in facts:
        if isinstance(fact, ToolCalled):
            names[fact.position, fact.call] = fact.tool
        elif isinstance(fact, ToolAnswered):
            spec = state.release.tools[names[fact.position, fact.call]]
            results.append((spec, contents.value(fact.result_digest)))
    return sources_of(
        state.release,
        contents.object(state.started.event_digest),
        contents.object(state.snapshot_digest),
        {
            name: contents.object(decided.outcome_digest)
            for name, decided in outcomes_before(state, caller.stage).items()
        },
        results,
    )


def _judge(caller: Caller, sources: Sources, placed: PlacedCall, spend: Spend, at: str) -> Judged:
    release, written = caller.state.release, placed.written
    target = next((one.target for one in caller.agent.tools if one.tool == written.tool), None)
    asked = gateway_of(release).question(
        caller.agent.name,
        written.tool,
        written.arguments or "{}",
        sources,
        target or "none",
        Setting(caller.state.tenant_id, release.workflow, spend),
    )
    if isinstance(asked, Verdict):
        return _refused(placed, asked, at)
    # The tool's own model may want more of its arguments than its contract can say.
    if problems := check_arguments(written.tool, asked.arguments):
        return _refused(placed, Verdict("denied", reason=f"arguments: {'; '.join(problems)}"[:500]), at)
    return _as_judged(caller, placed, asked, judge(release.policy, asked), at)


def _refused(placed: PlacedCall, verdict: Verdict, at: str) -> Judged:
    body = placed.written.arguments.encode("utf-8", "replace")
    digest = digest_bytes(body)
    fact = ToolCalled(
        position=placed.position,
        call=placed.call,
        tool=redact_known(placed.written.tool)[:LONGEST_TOOL_NAME],
        arguments_digest=digest,
        verdict="denied",
        policies=verdict.policies,
        reason=redact_known(verdict.reason)[:500],
        started_at=at,
    )
    return Judged(fact, contents={digest: body})


def _as_judged(caller: Caller, placed: PlacedCall, asked: Question, verdict: Verdict, at: str) -> Judged:
    body, traced = canonical_bytes(asked.arguments), canonical_bytes(as_json(asked.provenance))
    digest, provenance_digest = digest_bytes(body), digest_bytes(traced)
    reads = caller.state.release.tools[asked.tool].effect == "read"
    # Nobody is asked about a call that only reads: what needs consent is denied.
    denied = verdict.outcome == "denied" or (reads and verdict.outcome == "needs_approval")
    handed_over = not denied and not reads
    fact = ToolCalled(
        position=placed.position,
        call=placed.call,
        tool=asked.tool,
        target="" if reads else asked.target,
        arguments_digest=digest,
        provenance_digest=provenance_digest,
        verdict="denied" if denied else "handed_over" if handed_over else "permitted",
        policies=verdict.policies,
        reason=verdict.reason[:500] if denied else "",
        action_id=call_action_id(caller.run_id, placed.position, placed.call, digest) if handed_over else "",
        started_at=at,
    )
    proposed = proposal_of(caller, fact, asked.spend) if handed_over else None
    return Judged(fact, proposed, {digest: body, provenance_digest: traced})
