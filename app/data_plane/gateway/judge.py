"""The gateway's verdict on a call or an action: Cedar, default deny.

The principal is an agent or the workflow, the action is the tool, the resource is the target; the context holds tenant,
workflow, arguments, their provenance, what is spent so far and what was asked for.

A statement with ``@approval("why a person is asked")`` counts only together with a person's consent: a ``permit`` with
it permits nothing without one, and a ``forbid`` with it is lifted by one. ``@four_eyes`` beside it wants two people.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import cedarpy

from app.data_plane.gateway.cedar_values import NotCedarError, as_cedar
from app.data_plane.gateway.origins import Provenance, as_json
from app.data_plane.gateway.slices import Path, Read, Slice, Statement, slice_of
from app.kernel.release import Policy
from app.telemetry import metrics
from interlock.canonical import JsonObject, JsonValue, NotCanonicalError, canonical_bytes

_NOBODY = cedarpy.Entities.from_json_str("[]")
_EFFECTS = {"permitted": "permitted", "denied": "denied", "needs_approval": "approval"}
"""What metrics call the outcomes."""
_FAILED = re.compile(r"policy `([^`]{1,100})`")


@dataclass(frozen=True, slots=True)
class Principal:
    """Who wants it: an agent, by its model's call, or the workflow, by its decision."""

    kind: Literal["Agent", "Workflow"]
    name: str


@dataclass(frozen=True, slots=True)
class Spend:
    """What the run, or the orchestration, has taken so far."""

    calls: int = 0
    """Of tools."""
    nano_usd: int = 0


@dataclass(frozen=True, slots=True)
class Question:
    """One call or action that wants to happen. Its arguments fit the tool already."""

    principal: Principal
    workflow: str
    tool: str
    target: str
    tenant_id: str
    arguments: JsonObject
    provenance: Mapping[str, Provenance] = field(default_factory=dict)
    asked: frozenset[str] = frozenset()
    """The words of what was asked for by a trusted text, in small letters."""
    spend: Spend = Spend()
    decimals: frozenset[str] = frozenset()
    """The arguments that the tool declares as ``number``: policies read them as decimals, also the whole ones."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether it may happen, by which policies, and if not, why.

    Args:
        persons: how many must consent, where it needs approval.
    """

    outcome: Literal["permitted", "denied", "needs_approval"]
    policies: tuple[str, ...] = ()
    reason: str = ""
    persons: int = 0


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one evaluation said."""

    allowed: bool
    fired: tuple[Statement, ...]
    failed: tuple[str, ...]


def judge(policy: Policy, question: Question) -> Verdict:
    """Ask the policy. What it does not permit, or cannot evaluate, is denied; nothing makes it raise.

    First without the permits that want a person's consent: what is permitted so is permitted. Then as it would be with
    consent: without the forbids that consent lifts, and with those permits. What is permitted only so needs approval.

    An error in any statement denies, also when another permits: Cedar skips a statement that fails, and the one it
    skipped may be the one that forbids. What it says of the error is not passed on: it may quote an argument.
    """
    since = metrics.now()
    verdict = _judge(policy, question)
    metrics.judged(_EFFECTS[verdict.outcome], metrics.now() - since)
    return verdict


def _judge(policy: Policy, question: Question) -> Verdict:
    try:
        parts = slice_of(policy.cedar, question.tool)
    except ValueError:
        return Verdict("denied", (), "the policy is not Cedar")
    try:
        request = _request(question, parts.reads)
    except NotCedarError as error:
        return Verdict("denied", (), f"the policy cannot be asked about {error}")
    except (NotCanonicalError, RecursionError):
        return Verdict("denied", (), "the policy cannot be asked about what is not JSON")
    first = _ask(request, parts.plain, parts)
    if first.allowed or first.failed or parts.consented is None:
        return _verdict(first)
    second = _ask(request, parts.consented, parts)
    if second.failed or not second.allowed:
        return _verdict(second)
    return _needs_approval([*first.fired, *second.fired])


def _request(question: Question, reads: Mapping[str, Read]) -> dict[str, object]:
    """The request as Cedar takes it, with what the policy reads of the context."""
    context = {name: value for name, read in reads.items() if (value := _value(question, read)) is not None}
    # Entities as objects: Cedar would parse a text, which costs ten microseconds and stumbles over line breaks.
    return {
        "principal": {"type": question.principal.kind, "id": question.principal.name},
        "action": {"type": "Action", "id": question.tool},
        "resource": {"type": "Target", "id": question.target},
        "context": canonical_bytes(context).decode(),
    }


def _value(question: Question, read: Read) -> JsonValue:
    """What is read, for Cedar; None where it would be an error: there is nothing, or it is no set."""
    path = read.path
    if path == ("asked",) and read.operator not in ("whole", "has"):
        return _told_of(question.asked, read)
    if len(path) == 2 and path[0] == "arguments" and read.operator == "whole":
        value = question.arguments.get(path[1])
        return None if value is None else _whole(question, path, value)
    if len(path) == 3 and path[2] == "trusted" and path[0] == "provenance" and path[1] in question.provenance:
        value = question.provenance[path[1]].trusted
    else:
        value = _found(question, path)
    if value is None:
        return None
    if read.operator == "whole":
        return value if isinstance(value, bool) else _whole(question, path, value)
    if read.operator == "has":
        return True
    if isinstance(value, (str, int, float, Mapping)):
        return False if read.operator == "isNothing" else None
    return _told_of([item for item in value if item is not None], read)


def _told_of(items: Collection[JsonValue], read: Read) -> bool:
    """What is asked about a set."""
    if read.operator in ("isEmpty", "isNothing"):
        return not items
    found = (text in items for text in read.texts)
    return any(found) if read.operator == "containsAny" else all(found)


def _whole(question: Question, path: Path, value: JsonValue) -> JsonValue:
    if path[:1] == ("arguments",) and len(path) > 1:
        return as_cedar(value, decimals=path[1] in question.decimals)
    if path and path != ("arguments",):
        return as_cedar(value)
    arguments = {
        name: as_cedar(item, decimals=name in question.decimals)
        for name, item in question.arguments.items()
        if item is not None
    }
    others = {part: as_cedar(_found(question, (part,))) for part in _PARTS if part != "arguments"}
    return arguments if path else {**others, "arguments": arguments}


def _found(question: Question, path: Path) -> JsonValue:
    if path[:1] == ("provenance",) and len(path) > 1:
        one = question.provenance.get(path[1])
        if one is None:
            return None
        if len(path) == 3 and path[2] in _OF_PROVENANCE:
            return _OF_PROVENANCE[path[2]](one)
        return _inside(one.as_json(), path[2:])
    if path[:1] == ("arguments",):
        return _inside(question.arguments, path[1:])
    if not path:
        return True
    part = _PARTS.get(path[0])
    return None if part is None else _inside(part(question), path[1:])


_OF_PROVENANCE: Mapping[str, Callable[[Provenance], JsonValue]] = {
    "trusted": lambda one: one.trusted,
    "origins": lambda one: one.origins,
    "fields": lambda one: one.fields,
    "unproven": lambda one: one.unproven,
}


def _inside(value: JsonValue, path: Path) -> JsonValue:
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


_PARTS: Mapping[str, Callable[[Question], JsonValue]] = {
    "tenant": lambda question: question.tenant_id,
    "workflow": lambda question: question.workflow,
    "arguments": lambda question: question.arguments,
    "provenance": lambda question: as_json(question.provenance),
    "asked": lambda question: sorted(question.asked),
    "spend": lambda question: {"calls": question.spend.calls, "nano_usd": question.spend.nano_usd},
}


def _ask(request: dict[str, object], policies: cedarpy.PolicySet, parts: Slice) -> _Answer:
    answer = cedarpy.is_authorized(request, policies, _NOBODY)
    told = answer.diagnostics
    failed = [_failed(str(error), parts.statements) for error in told.errors]
    return _Answer(
        answer.allowed,
        tuple(parts.statements[reason] for reason in told.reasons if reason in parts.statements),
        tuple(sorted(failed)),
    )


def _failed(error: str, statements: Mapping[str, Statement]) -> str:
    """The statement that could not be evaluated, by its ``@id``; else what could not is the request."""
    match = _FAILED.search(error)
    statement = statements.get(match.group(1)) if match else None
    return statement.name if statement is not None else "the request"


def _verdict(answer: _Answer) -> Verdict:
    names = _names(answer.fired)
    if answer.failed:
        return Verdict("denied", names, f"a policy could not be evaluated: {', '.join(answer.failed)}"[:500])
    if answer.allowed:
        return Verdict("permitted", names)
    return Verdict("denied", names, "forbidden by the policy" if names else "no policy permits it")


def _needs_approval(fired: Sequence[Statement]) -> Verdict:
    asking = {statement.name: statement for statement in fired if statement.approval is not None}
    reasons = dict.fromkeys(asking[name].approval or "" for name in sorted(asking))
    return Verdict(
        "needs_approval",
        tuple(sorted(asking)),
        "; ".join(reasons)[:500],
        max((statement.persons for statement in asking.values()), default=1),
    )


def _names(fired: Iterable[Statement]) -> tuple[str, ...]:
    return tuple(sorted({statement.name for statement in fired}))
