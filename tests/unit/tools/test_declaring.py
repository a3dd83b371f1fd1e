"""A wrong declaration is refused at import, with what is wrong and what to do; a release pins all of a right one."""

from __future__ import annotations

import json
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from app.data_plane.tools import Arguments, Outgoing, Reading, Result, tool
from app.data_plane.tools.declaring import ToolDeclarationError
from app.kernel.release import Release
from app.kernel.tool_spec import ToolSpec
from tests.unit.tools.a_team import find_customer, send_letter


class Given(Arguments):
    """Some arguments."""

    name: str


class Open(Arguments):
    """Drops what it does not know."""

    model_config = ConfigDict(extra="ignore")
    name: str


class Lax(Arguments):
    """Makes numbers of texts."""

    model_config = ConfigDict(strict=False)
    name: str


class Inner(BaseModel):
    """Open, as pydantic's models are."""

    colour: str = ""


class Nesting(Arguments):
    """Closed outside, open inside."""

    inners: list[Inner]


class Answer(Result):
    """An answer."""

    text: str = ""


async def reads(arguments: Given, reading: Reading) -> Answer:
    """Reads."""
    return Answer()


def writes(arguments: Given) -> Outgoing[Answer]:
    """Writes."""
    return Outgoing("/", {})


def reads_at_once(arguments: Given, reading: Reading) -> Answer:
    """Reads."""
    return Answer()


async def writes_later(arguments: Given) -> Outgoing[Answer]:
    """Writes."""
    return Outgoing("/", {})


def unannotated(arguments):  # type: ignore[no-untyped-def]
    """Writes."""


def answers_nothing(arguments: Given) -> None:
    """Writes."""


def sends_anything(arguments: Given) -> Outgoing[Any]:
    """Writes."""
    return Outgoing("/", {})


def takes_anything(arguments: dict[str, str]) -> Outgoing[Answer]:
    """Writes."""
    return Outgoing("/", {})


def takes_two(arguments: Given, more: Given) -> Outgoing[Answer]:
    """Writes."""
    return Outgoing("/", {})


async def reads_alone(arguments: Given) -> Answer:
    """Reads."""
    return Answer()


async def reads_something(arguments: Given, reading: Given) -> Answer:
    """Reads."""
    return Answer()


async def answers_a_text(arguments: Given, reading: Reading) -> str:
    """Reads."""
    return ""


def takes_what_is_open(arguments: Open) -> Outgoing[Answer]:
    """Writes."""
    return Outgoing("/", {})


def takes_what_is_lax(arguments: Lax) -> Outgoing[Answer]:
    """Writes."""
    return Outgoing("/", {})


def takes_what_nests(arguments: Nesting) -> Outgoing[Answer]:
    """Writes."""
    return Outgoing("/", {})


def unknown_annotation(arguments: Missing) -> Outgoing[Answer]:  # type: ignore[name-defined]  # noqa: F821
    """Writes."""
    return Outgoing("/", {})


def says_nothing(arguments: Given) -> Outgoing[Answer]:
    return Outgoing("/", {})


def says_too_much(arguments: Given) -> Outgoing[Answer]:
    return Outgoing("/", {})


says_too_much.__doc__ = "word " * 300


@pytest.mark.parametrize(
    ("effect", "function", "reason"),
    [
        ("read", reads_at_once, "not async"),
        ("read", writes, "not async"),
        ("write", writes_later, "is async"),
        ("write", reads, "is async"),
        ("write", unannotated, "'arguments' is not annotated with a subclass of Arguments"),
        ("write", answers_nothing, "Outgoing[...]"),
        ("write", sends_anything, "a subclass of Result"),
        ("write", takes_anything, "a subclass of Arguments"),
        ("write", takes_two, "takes 2 arguments"),
        ("read", reads_alone, "takes 1 arguments"),
        ("read", reads_something, "'reading' is not annotated with Reading"),
        ("read", answers_a_text, "a subclass of Result"),
        ("write", takes_what_is_open, "(Open) are not closed and strict"),
        ("write", takes_what_is_lax, "(Lax) are not closed and strict"),
        ("write", takes_what_nests, "a misspelt member would be dropped"),
        ("write", unknown_annotation, "'Missing'"),
        ("write", says_nothing, "no docstring"),
        ("write", says_too_much, "first paragraph is too long"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_function_that_is_no_tools_function_is_refused(effect: Any, function: Any, reason: str) -> None:
    with pytest.raises(ToolDeclarationError) as refused:
        tool("a.b", version=1, effect=effect)(function)
    assert "The tool 'a.b' cannot be declared: " in refused.value.what
    assert reason in refused.value.what
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("declaration", "reason"),
    [
        ({"name": "shout"}, "name: "),
        ({"name": "Pager.shout"}, "name: "),
        ({"name": "a.b.c"}, "name: "),
        ({"version": 0}, "version: "),
        ({"effect": "delete"}, "effect: "),
        ({"idempotency": "none: the pager has no keys"}, "idempotency: "),
        ({"idempotency": "field:"}, "idempotency: "),
        ({"idempotency": "body"}, "idempotency: "),
        ({"cost": "0,002"}, "its cost is no amount"),
        ({"cost": "-1"}, "its cost is no amount"),
        ({"timeout_seconds": 0}, "timeout_seconds: "),
        ({"timeout_seconds": 1000}, "timeout_seconds: "),
        ({"most_result_bytes": 0}, "most_result_bytes: "),
        ({"capabilities": ["Send messages"]}, "a capability is no word"),
        ({"capabilities": ["a.b", "a.b"]}, "a capability is named twice"),
    ],
)
def test_a_declaration_that_no_release_could_pin_is_refused(declaration: dict[str, Any], reason: str) -> None:
    with pytest.raises(ToolDeclarationError) as refused:
        tool(**{"name": "a.b", "version": 1, "effect": "write", **declaration})(writes)
    assert reason in refused.value.what
    assert refused.value.remedy


def test_a_reading_has_no_key_and_so_no_way_for_it_to_travel() -> None:
    with pytest.raises(ToolDeclarationError, match="a reading has no key"):
        tool("a.b", version=1, effect="read", idempotency="none")(reads)


@pytest.mark.parametrize(
    "path", ["letters", "/a/../b", "//evil.example", "/a?b=c", "/a b", "/{name}", "", "/a\n"]
)
def test_a_tool_can_post_to_a_plain_path_alone(path: str) -> None:
    """An argument in a path must not lead to another one."""
    with pytest.raises(ToolDeclarationError, match="path"):
        Outgoing(path, {})


def test_a_release_pins_all_that_is_declared() -> None:
    assert find_customer.spec() == ToolSpec(
        name="customers.find",
        version=3,
        effect="read",
        input_schema={
            "additionalProperties": False,
            "properties": {
                "customer": {"description": "The customer's number.", "maxLength": 20, "type": "string"},
                "how": {"default": "plainly", "type": "string"},
            },
            "required": ["customer"],
            "type": "object",
        },
        output_schema={
            "properties": {
                "name": {"type": "string", "x-interlock": "structured"},
                "years": {"default": 0, "type": "integer"},
            },
            "required": ["name"],
            "type": "object",
        },
        description="Finds a customer by number.",
        capabilities=("customers.read",),
        sensitive=True,
        trusted=True,
        nano_usd=2_000_000,
        timeout_seconds=0.05,
        most_result_bytes=60,
    )
    assert send_letter.spec().idempotency == "field:request_id"


def test_a_class_may_be_reworded_and_renamed_but_a_functions_first_paragraph_is_the_contract() -> None:
    class Renamed(Given):
        """Other words for programmers."""

    def same(arguments: Given) -> Outgoing[Answer]:
        """Writes."""
        return Outgoing("/", {})

    same.__annotations__["arguments"] = Renamed
    other = tool("a.b", version=1, effect="write")
    assert other(same).spec() == other(writes).spec()
    same.__doc__ = "Writes more."
    assert other(same).spec() != other(writes).spec()


def test_an_argument_may_be_called_title() -> None:
    class Named(Arguments):
        title: Annotated[str, Field(title="Dropped")]
        description: str

    def names(arguments: Given) -> Outgoing[Answer]:
        """Names."""
        return Outgoing("/", {})

    names.__annotations__["arguments"] = Named
    schema = tool("a.b", version=1, effect="write")(names).spec().model_dump(mode="json")["input_schema"]
    assert set(schema["properties"]) == {"title", "description"}
    assert "Dropped" not in json.dumps(schema)


def test_what_is_not_used_of_a_spec_is_in_no_digest() -> None:
    """Old releases hold specs from before there were these fields."""
    old = {"name": "a.b", "version": 1, "effect": "write", "input_schema": {}, "output_schema": {}}
    assert ToolSpec.model_validate(old).model_dump(mode="json") == old
    assert Release.model_fields["gateway"].default == ""
