"""Guards: a slice over a flat context says what the whole policy says over the whole context."""

from __future__ import annotations

import json

import cedarpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.data_plane.gateway.judge import judge
from app.data_plane.gateway.provenance import Sources, as_json
from app.data_plane.gateway.slices import slice_of
from interlock.canonical import JsonObject
from tests.unit.gateway.calls import DIRECTORY, MAIL, asked, policy, question

SCOPES = [
    "principal, action, resource",
    'principal, action == Action::"mail.send", resource',
    'principal, action == Action::"directory.find", resource',
    'principal, action in [Action::"mail.send", Action::"x.y"], resource',
    'principal, action in [Action::"directory.find"], resource',
    'principal, action in Action::"mail.send", resource',
    'principal == Agent::"clerk", action, resource',
    'principal is Agent, action, resource == Target::"outbox"',
    'principal == Workflow::"clerk", action, resource',
    'principal, action == Other::Action::"mail.send", resource',
]
CONDITIONS = [
    "true",
    'context.arguments.body == "hello"',
    'context.arguments.body like "h*"',
    "context.arguments has cc && context.arguments.cc == 1",
    "context.arguments.cc == 1",
    "context.provenance.to.trusted",
    "!context.provenance.to.trusted",
    "context.provenance has cc && context.provenance.cc.trusted",
    "context.provenance.to has trusted",
    "context.provenance.cc has trusted",
    'context.provenance.to.origins.contains("event")',
    'context.provenance.to.origins.containsAny(["model", "choice"])',
    "context.provenance.to.unproven.isEmpty()",
    "context.provenance.to.unproven == []",
    "context.arguments.body == []",
    "context.arguments.body.isEmpty()",
    'context.arguments.to.contains("ann@acme.test")',
    "context.arguments.to.containsAll([])",
    "context.arguments.to.containsAny([context.arguments.body])",
    "context.arguments.to.contains(context.arguments.body)",
    'context.arguments.body.contains("x")',
    'context.asked.contains("send") && context.asked.containsAny(["mail", "ann"])',
    "context.provenance.to == context.provenance.body",
    'context has arguments && context has tenant && context.tenant == "acme"',
    "context has nothing",
    "context.tenant has x",
    "context.arguments == {}",
    'context == {"tenant": "acme"}',
    'if context.spend.calls > 0 then context.arguments.nothing == 1 else context["workflow"] == "support"',
    '{Var: context.arguments.body, Value: "context"}.Var == "hello"',
    'action == Action::"mail.send"',
    'context.arguments.body like "h\\*l*" || "a*b" like "a\\*b"',
    'ip("10.0.0.1").isInRange(ip("10.0.0.0/8")) && decimal("1.5").greaterThan(decimal("-1.25"))',
    "-1 + 2 * 3 == 5 && !(3 - 4 > 0)",
    'resource.hasTag("x")',
    'principal is Agent in Group::"g" || resource in [Target::"a", Target::"outbox"]',
    'context.arguments has "a member" || context has arguments.body',
    '[1, 2].containsAny([context.spend.calls, 2]) && ["caf\u00e9 \\u{1F600}"].contains("x") == false',
    "{a: {b: context.provenance.to}}.a.b.trusted",
    'context.arguments.body == "hello" && context.arguments.body != "Var"',
]
CALLS: list[JsonObject] = [
    {"to": ["ann@acme.test"], "body": "hello"},
    {"to": ["eve@evil.test"], "body": "see www.evil.test", "cc": 1},
    {"to": "hello", "body": ["x"], "cc": None},
]
statement = st.tuples(
    st.sampled_from(["permit", "forbid"]), st.sampled_from(SCOPES), st.sampled_from(CONDITIONS)
)


@settings(max_examples=300)
@given(
    st.lists(statement, min_size=1, max_size=4), st.sampled_from(CALLS), st.sampled_from([MAIL, DIRECTORY])
)
def test_a_slice_gives_the_same_verdict_as_the_whole_set(
    statements: list[tuple[str, str, str]], call: JsonObject, tool: object
) -> None:
    spec = MAIL if tool is MAIL else DIRECTORY
    cedar = "\n".join(
        f'@id("s{number}") {effect} ({scope}) when {{ {condition} }};'
        for number, (effect, scope, condition) in enumerate(statements)
    )
    asking = question(call, asked("Please send a mail to ann@acme.test"), spec)
    context = {
        "tenant": asking.tenant_id,
        "workflow": asking.workflow,
        "arguments": {name: value for name, value in call.items() if value is not None},
        "provenance": as_json(asking.provenance),
        "asked": sorted(asking.asked),
        "spend": {"calls": 0, "nano_usd": 0},
    }
    whole = cedarpy.is_authorized(
        {
            "principal": 'Agent::"clerk"',
            "action": f"Action::{json.dumps(spec.name)}",
            "resource": 'Target::"outbox"',
            "context": context,
        },
        cedar,
        [],
    )
    ours = judge(policy(cedar), asking)
    assert (ours.outcome == "permitted") == (whole.allowed and not whole.diagnostics.errors)
    assert ("could not be evaluated" in ours.reason) == bool(whole.diagnostics.errors)


@pytest.mark.parametrize(
    ("tool", "names"), [("mail.send", {"all", "mail", "both"}), ("x.y", {"all", "both"})]
)
def test_a_slice_has_the_statements_that_can_match(tool: str, names: set[str]) -> None:
    cedar = """
    @id("all") permit (principal, action, resource);
    @id("mail") permit (principal, action == Action::"mail.send", resource);
    @id("both") permit (principal, action in [Action::"mail.send", Action::"x.y"], resource);
    @id("foreign") permit (principal, action == Other::Action::"mail.send", resource);
    """
    assert {one.name for one in slice_of(cedar, tool).statements.values()} == names


def test_a_context_brings_what_is_read_and_nothing_else() -> None:
    cedar = """@id("a") permit (principal, action, resource) when {
      context.provenance.to.trusted && context.arguments has cc && context.asked.contains("send")
    };"""
    reads = slice_of(cedar, "mail.send").reads.values()
    assert {(read.path, read.operator) for read in reads} == {
        (("provenance", "to", "trusted"), "whole"),
        (("arguments", "cc"), "has"),
        (("asked",), "contains"),
    }


def test_a_request_that_needs_nothing_is_judged_too() -> None:
    assert judge(policy("permit (principal, action, resource);"), question({}, Sources())).policies == (
        "policy0",
    )
