"""A policy is held against every request that the gateway can ask about, and its annotations are known ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

import pytest
from pydantic import Field

from app.control_plane.policies import check_policy
from app.control_plane.policy_schema import cedar_schema
from app.control_plane.statements import Asked, statements_of
from app.data_plane.tools import Arguments, Outgoing, Reading, Result, shipped_tools, tool
from app.kernel.release import Policy
from app.kernel.tool_spec import ToolSpec
from interlock.canonical import JsonObject

READS = 'principal, action == Action::"directory.lookup", resource'
WRITES = 'principal, action == Action::"tracker.triage_issue", resource'


class Place(Arguments):
    """A place."""

    street: str
    number: int | None = None


class Node(Arguments):
    """A thing that holds things like itself."""

    name: str
    inside: list[Node] = Field(default=[])


class Everything(Arguments):
    """Every kind of argument."""

    text: str
    maybe: str | None
    kind: Literal["a", "b"]
    level: Literal[1, 2] | None = None
    mixed: Literal["a", 1]
    either: int | str
    share: float
    flag: bool = False
    place: Place
    places: list[Place]
    pair: tuple[str, str]
    odd: tuple[str, int]
    tags: list[str] = Field(default=[], max_length=3)
    tree: Node
    rest: dict[str, str]


class Done(Result):
    """An answer."""

    done: bool = True


@tool("all.kinds", version=1, effect="egress")
def all_kinds(arguments: Everything) -> Outgoing[Done]:
    """Takes every kind of argument."""
    return Outgoing("/v1", {})


@tool("all.read", version=1, effect="read")
async def all_read(arguments: Everything, reading: Reading) -> Done:
    """Takes every kind of argument."""
    return Done()


TOOLS: Mapping[str, ToolSpec] = {
    **shipped_tools(),
    "all.kinds": all_kinds.spec(),
    "all.read": all_read.spec(),
}


def problems(cedar: str) -> list[str]:
    return check_policy(Policy(name="some", version=1, cedar=cedar), TOOLS)


def when(condition: str, scope: str = 'principal, action == Action::"all.kinds", resource') -> list[str]:
    return problems(f'@id("one") permit ({scope}) when {{ {condition} }};')


def action(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cedar_schema(TOOLS))[""]["actions"][name]["appliesTo"]
    return found


@pytest.mark.parametrize(
    "condition",
    [
        'context.tenant == "demo" && context.workflow == "issue-triage"',
        'context.asked.contains("delete") && context.spend.calls < 3 && context.spend.nano_usd <= 1000000',
        "context.provenance.text.trusted",
        'context.provenance.text.origins.contains("model") || context.provenance.text.unproven.isEmpty()',
        'context.provenance.rest.fields.contains("event.repository.full_name")',
        "if context.provenance has maybe then context.provenance.maybe.trusted else true",
        "context.provenance has flag && context.provenance.flag.trusted",
        'context.arguments.text like "*x*" && ["a", "b"].contains(context.arguments.kind)',
        "context.arguments has level && context.arguments.level > 1",
        'context.arguments has maybe && context.arguments.maybe == ""',
        'context.arguments.share.lessThan(decimal("0.5"))',
        "context.arguments has flag && context.arguments.flag",
        'context.arguments.place.street == "x"',
        "context.arguments.place has number && context.arguments.place.number > 3",
        'context.arguments.pair.contains("x")',
        'context.arguments has tags && context.arguments.tags.contains("x")',
        'context.arguments.tree.name == "x"',
        'principal == Agent::"classifier"',
    ],
)
def test_a_policy_may_ask_for_all_that_the_gateway_knows(condition: str) -> None:
    assert when(condition) == []


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("context.arguments.flag", "flag"),
        ('context.arguments.maybe == ""', "maybe"),
        ("context.provenance.flag.trusted", "flag"),
        ("context.provenance.maybe.trusted", "maybe"),
        ("context.arguments.place.number > 3", "number"),
        ("context.provenance.colour.trusted", "colour"),
        ("context.provenance.text.origin", "origin"),
        ("context.spend.euros > 3", "euros"),
        ('context.user == "x"', "user"),
        ("context.arguments.text > 3", "String"),
        ('context.arguments.either == "x"', "either"),
        ('context.arguments.mixed == "a"', "mixed"),
        ('context.arguments.odd.contains("x")', "odd"),
        ('context.arguments.rest.x == "y"', "rest"),
        ("context.arguments.tree.inside.isEmpty()", "inside"),
    ],
)
def test_what_may_be_absent_or_is_not_there_is_found_before_it_is_published(
    condition: str, reason: str
) -> None:
    """Evaluated, it would be an error, and deny for ever."""
    assert any("it is not valid" in found and reason in found for found in when(condition))


def test_only_agents_call_what_reads() -> None:
    assert action("all.read")["principalTypes"] == ["Agent"]
    assert action("all.kinds")["principalTypes"] == ["Agent", "Workflow"]
    scope = 'principal == Workflow::"some", action == Action::"all.read", resource'
    assert any("not valid" in found for found in when("true", scope))
    assert when("true", scope.replace("Workflow", "Agent")) == []


def test_what_cedar_has_no_type_for_has_its_provenance_all_the_same() -> None:
    context = action("all.kinds")["context"]["attributes"]
    left_out = set(context["provenance"]["attributes"]) - set(context["arguments"]["attributes"])
    assert left_out == {"either", "mixed", "odd", "rest"}
    assert set(context) == {"tenant", "workflow", "arguments", "provenance", "asked", "spend"}


@pytest.mark.parametrize("scope", [READS, WRITES])
@pytest.mark.parametrize(
    ("annotations", "reason"),
    [
        ('@id("one")', ""),
        ('@id("one") @approval("It cannot be taken back.")', ""),
        ('@id("one") @approval("It cannot be taken back.") @four_eyes', ""),
        ('@id("one") @approval("It cannot be taken back.") @four_eyes("two")', ""),
        ('@id("one") @approval', "'one' has an @approval without a text"),
        ('@id("one") @approval(" ")', "'one' has an @approval without a text"),
        ('@id("one") @four_eyes', "'one' has @four_eyes, which counts only beside @approval"),
        ('@id("one") @aproval("Why.")', "annotation @aproval, which nobody knows (known are @approval,"),
        ('@advice("x")', "a permit statement has the annotation @advice"),
        ("", 'a permit statement has no @id("...")'),
        ("@id", 'a permit statement has no @id("...")'),
    ],
)
def test_annotations_are_known_ones_and_say_why_a_person_is_asked(
    scope: str, annotations: str, reason: str
) -> None:
    """A misspelt @approval would permit without asking anybody."""
    found = problems(f"{annotations} permit ({scope});")
    assert found == [] if not reason else any(reason in one for one in found)


def test_two_statements_of_one_name_are_refused() -> None:
    found = problems(f'@id("one") permit ({READS}); @id("one") forbid ({READS});')
    assert found == ["two statements have the @id 'one'"]


AGENT = Asked("Agent", "scout", "tracker.add_note", "tracker")


@pytest.mark.parametrize(
    ("scope", "applies"),
    [
        ("principal, action, resource", True),
        ('principal == Agent::"scout", action, resource', True),
        ('principal == Agent::"other", action, resource', False),
        ('principal == Workflow::"scout", action, resource', False),
        ("principal is Agent, action, resource", True),
        ("principal is Workflow, action, resource", False),
        ('principal is Agent in Agent::"scout", action, resource', True),
        ('principal is Agent in Agent::"other", action, resource', False),
        ('principal in Agent::"scout", action, resource', True),
        ('principal, action == Action::"tracker.add_note", resource', True),
        ('principal, action == Action::"pager.notify_owner", resource', False),
        ('principal, action in [Action::"pager.notify_owner", Action::"tracker.add_note"], resource', True),
        ('principal, action in [Action::"pager.notify_owner"], resource', False),
        ('principal, action, resource == Target::"tracker"', True),
        ('principal, action, resource == Target::"pager"', False),
    ],
)
def test_a_statements_scope_tells_which_requests_it_takes_in(scope: str, applies: bool) -> None:
    (statement,) = statements_of(Policy(name="some", version=1, cedar=f"permit ({scope});"))
    assert statement.may_apply(AGENT) is applies
    assert statement.always_applies(AGENT) is applies
    (conditional,) = statements_of(
        Policy(name="some", version=1, cedar=f'permit ({scope}) when {{ context.tenant == "a" }};')
    )
    assert conditional.may_apply(AGENT) is applies
    assert not conditional.always_applies(AGENT)


def test_statements_keep_the_policys_order() -> None:
    """Cedar lists them by the text of their numbers, where 10 comes before 2."""
    cedar = "".join(f'@id("{number}") permit ({READS});' for number in range(12))
    found = [statement.name for statement in statements_of(Policy(name="some", version=1, cedar=cedar))]
    assert found == [str(number) for number in range(12)]


def test_a_null_argument_is_as_good_as_absent() -> None:
    schema: JsonObject = {
        "properties": {
            "a": {"type": ["string", "null"]},
            "b": {"enum": ["x", None]},
            "c": {"anyOf": [{"$ref": "#/$defs/C"}, {"type": "null"}]},
            "d": {"$ref": "#/$defs/C"},
        },
        "$defs": {"C": {"type": "string"}},
        "required": ["a", "b", "c", "d"],
    }
    spec = ToolSpec(name="a.b", version=1, effect="write", input_schema=schema, output_schema={})
    (found,) = json.loads(cedar_schema({"a.b": spec}))[""]["actions"].values()
    arguments = found["appliesTo"]["context"]["attributes"]["arguments"]["attributes"]
    assert {name: part["required"] for name, part in arguments.items()} == {
        "a": False,
        "b": False,
        "c": False,
        "d": True,
    }
    assert {part["type"] for part in arguments.values()} == {"String"}
