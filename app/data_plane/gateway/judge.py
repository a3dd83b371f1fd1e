"""The gateway's verdict on a call or an action: Cedar, default deny.

The principal is an agent or the workflow, the action is the tool, the resource is the target; the context holds tenant,
workflow, arguments, their provenance, what is spent so far and what was asked for.

A statement with ``@approval("why a person is asked")`` counts only together with a person's consent: a ``permit`` with
it permits nothing without one, and a ``forbid`` with it is lifted by one. ``@four_eyes`` beside it wants two people.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import cedarpy

from app.data_plane.gateway.provenance import Provenance
from app.kernel.release import Policy
from interlock.canonical import JsonObject, JsonValue

GATEWAY = "gateway/1"
"""Name and version of these rules; a release is judged by the ones that it was compiled for."""


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


def judge(policy: Policy, question: Question) -> Verdict:
    """Ask the policy. What it does not permit, or cannot evaluate, is denied.

    An error in any policy denies, also when another permits: Cedar skips a policy that fails, and the one it
    skipped may be the one that forbids.
    """
    answer = cedarpy.is_authorized(
        {
            "principal": f"{question.principal.kind}::{json.dumps(question.principal.name)}",
            "action": f"Action::{json.dumps(question.tool)}",
            "resource": f"Target::{json.dumps(question.target)}",
            "context": {"tenant": question.tenant_id, "arguments": _as_cedar(question.arguments)},
        },
        _policy_set(policy.cedar),
        [],
    )
    names = answer.diagnostics.id_annotations_by_reason
    policies = tuple(sorted(str(names.get(reason) or reason) for reason in answer.diagnostics.reasons))
    errors = "; ".join(str(error) for error in answer.diagnostics.errors)
    if answer.allowed and not errors:
        return Verdict("permitted", policies)
    if errors:
        return Verdict("denied", policies, f"a policy could not be evaluated: {errors}"[:500])
    return Verdict("denied", policies, "forbidden by the policy" if policies else "no policy permits it")


def _as_cedar(value: JsonValue) -> object:
    """JSON as Cedar knows it: members that are null are absent, fractions are decimals of four places."""
    if isinstance(value, float):
        return {"__extn": {"fn": "decimal", "arg": f"{value:.4f}"}}
    if isinstance(value, Mapping):
        return {key: _as_cedar(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_as_cedar(item) for item in value if item is not None]
    return value


@lru_cache(maxsize=256)
def _policy_set(cedar: str) -> cedarpy.PolicySet:
    return cedarpy.PolicySet.from_str(cedar)
