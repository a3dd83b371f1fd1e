"""The policy's verdict on an action: Cedar, default deny.

The principal is the workflow, the action is the tool, the resource is the target; the context holds the tenant and the
arguments. A policy set is parsed once for each release (parsing it for each question costs ten times the answer).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import cedarpy

from app.kernel.release import Policy
from interlock.canonical import JsonObject, JsonValue


@dataclass(frozen=True, slots=True)
class PolicyVerdict:
    """Whether the action may happen, by which policies, and if not, why."""

    permitted: bool
    policies: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class PolicyQuestion:
    """One action that a workflow's decision asks for."""

    workflow: str
    tool: str
    target: str
    tenant_id: str
    arguments: JsonObject


def judge(policy: Policy, question: PolicyQuestion) -> PolicyVerdict:
    """Ask the policy. What it does not permit, or cannot evaluate, is denied.

    An error in any policy denies, also when another permits: Cedar skips a policy that fails, and the one it
    skipped may be the one that forbids.
    """
    answer = cedarpy.is_authorized(
        {
            "principal": f"Workflow::{json.dumps(question.workflow)}",
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
        return PolicyVerdict(True, policies, "")
    if errors:
        return PolicyVerdict(False, policies, f"a policy could not be evaluated: {errors}"[:500])
    return PolicyVerdict(False, policies, "forbidden by the policy" if policies else "no policy permits it")


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
