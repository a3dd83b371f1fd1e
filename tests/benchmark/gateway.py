"""What a verdict costs: tracing eight arguments, and asking fifty policies about them and where they came from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter

import cedarpy

from app.data_plane.gateway.gateway import Gateway
from app.data_plane.gateway.judge import Principal, Question, judge
from app.data_plane.gateway.provenance import Origin, Sources, as_json
from app.kernel.release import Policy
from app.kernel.tool_spec import ToolSpec

POLICIES = 50
ARGUMENTS = tuple(f"a{number}" for number in range(8))
_TOOL = "bench.send"
_CALL = {name: f"value of {name}" for name in ARGUMENTS}
_PERMIT = f'@id("permit") permit (principal == Agent::"bench", action == Action::"{_TOOL}", resource);'
_APPROVAL = (
    f'@id("ask") @approval("it sends") forbid (principal, action == Action::"{_TOOL}", resource) '
    'when { context.arguments.a0 like "value*" };'
)
_ROUNDS, _REPEATS = 50, 60


@dataclass(frozen=True)
class Cost:
    """Microseconds of one verdict: the best of many short rounds' means, so that what else runs is left out."""

    name: str
    microseconds: float


def costs() -> Iterator[Cost]:
    """A bare evaluation first, which all others can be compared with."""
    sources, spec = _sources(), _spec()
    same = [_forbid(number, _TOOL) for number in range(POLICIES - 1)]
    spread = [
        _forbid(number, f"bench.tool{number % 10}" if number % 10 else _TOOL)
        for number in range(POLICIES - 1)
    ]
    yield Cost(
        f"bare is_authorized, {POLICIES} policies, whole context",
        _best(_bare([_PERMIT, *same], sources, spec)),
    )
    for name, statements in (
        ("one policy", [_PERMIT]),
        (f"{POLICIES} policies, all for the tool", [_PERMIT, *same]),
        (f"{POLICIES} policies, spread over ten tools", [_PERMIT, *spread]),
        (
            f"{POLICIES} policies that read all of the provenance",
            [_PERMIT, *map(_thorough, range(POLICIES - 1))],
        ),
        (f"{POLICIES} policies, needs approval (evaluated twice)", [_PERMIT, _APPROVAL, *same[1:]]),
    ):
        yield Cost(name, _best(_verdict(_policy(statements), sources, spec)))
    gateway = Gateway(_policy([_PERMIT, *same]), {_TOOL: spec}, {"bench": [_TOOL]})
    yield Cost(
        f"{POLICIES} policies, with the arguments checked by their schema",
        _best(lambda: gateway.decide("bench", _TOOL, _CALL, sources)),
    )
    yield Cost("of that, tracing alone", _best(lambda: sources.trace(_CALL, spec)))


def _verdict(policy: Policy, sources: Sources, spec: ToolSpec) -> Callable[[], object]:
    def once() -> object:
        traced = sources.trace(_CALL, spec)
        question = Question(
            Principal("Agent", "bench"), "bench", _TOOL, "none", "acme", _CALL, traced, sources.asked
        )
        return judge(policy, question)

    return once


def _bare(statements: list[str], sources: Sources, spec: ToolSpec) -> Callable[[], object]:
    policies = cedarpy.PolicySet.from_str("\n".join(statements))
    context = {
        "tenant": "acme",
        "workflow": "bench",
        "arguments": _CALL,
        "provenance": as_json(sources.trace(_CALL, spec)),
        "asked": sorted(sources.asked),
        "spend": {"calls": 0, "nano_usd": 0},
    }
    request = {
        "principal": 'Agent::"bench"',
        "action": f"Action::{json.dumps(_TOOL)}",
        "resource": 'Target::"none"',
        "context": context,
    }
    return lambda: cedarpy.is_authorized(request, policies, [])


def _best(once: Callable[[], object]) -> float:
    once()
    return min(_mean(once) for _ in range(_REPEATS)) * 1e6


def _mean(once: Callable[[], object]) -> float:
    started = perf_counter()
    for _ in range(_ROUNDS):
        once()
    return (perf_counter() - started) / _ROUNDS


def _policy(statements: list[str]) -> Policy:
    return Policy(name="bench", version=1, cedar="\n".join(statements))


def _forbid(number: int, tool: str) -> str:
    name = ARGUMENTS[number % len(ARGUMENTS)]
    return (
        f'@id("f{number}") forbid (principal, action == Action::"{tool}", resource) '
        f'when {{ !context.provenance.{name}.trusted && context.arguments.{name} like "*bad{number}*" }};'
    )


def _thorough(number: int) -> str:
    name = ARGUMENTS[number % len(ARGUMENTS)]
    known = f"context.provenance.{name}"
    return (
        f'@id("t{number}") forbid (principal, action == Action::"{_TOOL}", resource) '
        f'unless {{ {known}.trusted || {known}.origins.contains("choice") || {known}.unproven.isEmpty() '
        f'&& {known}.fields.contains("event.owner") && context.arguments.{name} != "bad{number}" }};'
    )


def _spec() -> ToolSpec:
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in ARGUMENTS}}
    marked = {name: {"type": "string", "x-interlock": "structured"} for name in ARGUMENTS}
    return ToolSpec(
        name=_TOOL,
        version=1,
        effect="egress",
        trusted=True,
        input_schema=schema,
        output_schema={"type": "object", "properties": marked},
    )


def _sources() -> Sources:
    sources = Sources()
    sources.add_result(_spec(), "results.bench", _CALL)
    sources.add_text(
        Origin.EVENT, "request", "Please send the value of a3 to the owner of the repository. " * 4
    )
    return sources
