"""Arguments are validated before, results after; what goes wrong has a code, and says whether to call again."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from pydantic import Field, JsonValue, field_validator

from app.data_plane.tools import (
    Arguments,
    call_reading_tool,
    carried,
    find,
    load_tools,
    outgoing,
    read_result,
    registry,
    tool,
)
from app.data_plane.tools.calling import ToolError
from app.data_plane.tools.declaring import Outgoing
from app.data_plane.tools.registry import Registry, validated
from app.data_plane.tools.shipped import Applied
from app.kernel.errors import DefectError, Fate, NotFoundError
from interlock.canonical import JsonObject
from tests.unit.tools.a_team import DictReading, find_customer, send_letter

KNOWN = DictReading(
    {
        ("customers", "7"): {"name": "Mona"},
        ("customers", "8"): {"name": "M" * 60},
        ("repositories", "a/b"): {"owner": "core"},
    }
)
LETTER: JsonObject = {"to": "Mona", "text": "Hello."}


@pytest.fixture(autouse=True)
def teams_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registry", Registry([*registry._SHIPPED, find_customer, send_letter]))


def call(customer: object = "7", how: str = "plainly") -> bytes:
    return asyncio.run(call_reading_tool(find_customer, {"customer": customer, "how": how}, KNOWN))  # type: ignore[dict-item]


def test_a_result_is_canonical_json_with_what_the_model_says_by_default() -> None:
    assert call() == b'{"name":"Mona","years":0}'


@pytest.mark.parametrize("key", ["a/b", "a/c"])
def test_the_directory_answers_whether_it_knows_the_key(key: str) -> None:
    arguments: JsonObject = {"collection": "repositories", "key": key}
    told = json.loads(asyncio.run(call_reading_tool(find("directory.lookup"), arguments, KNOWN)))
    assert told == (
        {"found": True, "entry": {"owner": "core"}} if key == "a/b" else {"found": False, "entry": {}}
    )


@pytest.mark.parametrize(
    ("customer", "how", "code", "fate"),
    [
        (7, "plainly", "tool_arguments_invalid", Fate.PERMANENT),
        ("7" * 21, "plainly", "tool_arguments_invalid", Fate.PERMANENT),
        ("7", "slowly", "tool_timed_out", Fate.TRANSIENT),
        ("7", "in anger", "tool_failed", Fate.DEFECT),
        ("7", "clumsily", "tool_failed", Fate.DEFECT),
        ("7", "down", "tool_failed", Fate.TRANSIENT),
        ("7", "falsely", "tool_result_invalid", Fate.DEFECT),
        ("7", "elsewise", "tool_result_invalid", Fate.DEFECT),
        ("8", "plainly", "tool_result_too_large", Fate.PERMANENT),
    ],
)
def test_a_reading_that_fails_has_a_code_and_a_fate(
    customer: object, how: str, code: str, fate: Fate
) -> None:
    with pytest.raises(ToolError) as failed:
        call(customer, how)
    assert (failed.value.code, failed.value.fate) == (code, fate)
    assert failed.value.what
    assert failed.value.remedy
    assert "secret" not in str(failed.value)


def test_a_call_that_its_caller_gives_up_is_no_failure_of_the_tool() -> None:
    """Cancelling a run must reach through: an error would be recorded as the tool's."""

    async def give_up() -> None:
        running = asyncio.create_task(
            call_reading_tool(find_customer, {"customer": "7", "how": "slowly"}, KNOWN)
        )
        await asyncio.sleep(0.01)
        running.cancel()
        await running

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(give_up())


def test_what_reads_is_never_posted_and_what_writes_is_never_called() -> None:
    with pytest.raises(DefectError, match="only reads"):
        outgoing("customers.find", {"customer": "7"})
    with pytest.raises(DefectError, match="does not read"):
        asyncio.run(call_reading_tool(send_letter, LETTER, KNOWN))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"to": "Mona"}, "tool_arguments_invalid"),
        ({**LETTER, "stamp": 1}, "tool_arguments_invalid"),
        ({"to": "Mona", "text": 1.0}, "tool_arguments_invalid"),
        ({**LETTER, "text": "broken"}, "tool_failed"),
    ],
)
def test_an_effect_that_cannot_be_written_is_not_posted(arguments: JsonObject, code: str) -> None:
    with pytest.raises(ToolError) as failed:
        outgoing("letters.send", arguments)
    assert failed.value.code == code
    assert "secret" not in str(failed.value)


def test_a_tool_that_is_not_there_is_not_posted() -> None:
    with pytest.raises(NotFoundError):
        outgoing("letters.burn", {})


def test_a_date_travels_as_text() -> None:
    """Strict as the arguments are, JSON has no dates."""
    assert outgoing("letters.send", {**LETTER, "on": "2026-01-31"}).path == "/letters"
    with pytest.raises(ToolError):
        outgoing("letters.send", {**LETTER, "on": "soon"})


@pytest.mark.parametrize(
    ("idempotency", "headers", "body"),
    [
        ("header", {"Idempotency-Key": "k1"}, b'{"to":"Mona"}'),
        ("field:request_id", {}, b'{"request_id":"k1","to":"Mona"}'),
        ("none", {}, b'{"to":"Mona"}'),
    ],
)
def test_the_key_travels_as_the_tool_declares(idempotency: str, headers: dict[str, str], body: bytes) -> None:
    sent = carried(Outgoing[Any]("/letters", {"to": "Mona"}), idempotency, "k1")
    assert (sent.path, sent.headers, sent.body) == ("/letters", headers, body)


def test_a_key_replaces_no_field_of_the_body() -> None:
    with pytest.raises(DefectError, match="'to' already"):
        carried(Outgoing[Any]("/letters", {"to": "Mona"}), "field:to", "k1")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"number": 3, "colour": "blue"}', {"number": 3}),
        (b"", "tool_result_invalid"),
        (b"[]", "tool_result_invalid"),
        (b'{"number": "three"}', "tool_result_invalid"),
        (b"<html>", "tool_result_invalid"),
        (b"\xff", "tool_result_invalid"),
        (b"[" * 39, "tool_result_invalid"),
        (b'{"number": 3, "colour": "' + b"b" * 40 + b'"}', "tool_result_too_large"),
    ],
)
def test_what_a_target_answered_is_read_or_is_an_error_that_says_why(body: bytes, told: object) -> None:
    """A target may say more than we read; what is not its tool's result reaches no model."""
    found = read_result("letters.send", body)
    assert (found.code if isinstance(found, ToolError) else found) == told
    assert not isinstance(found, ToolError) or found.fate is Fate.PERMANENT


def test_a_target_that_says_nothing_means_the_results_own_defaults() -> None:
    assert read_result("tracker.add_note", b"") == {"applied": True}


def test_a_deeply_nested_answer_is_an_error() -> None:
    assert isinstance(read_result("tracker.add_note", b"[" * 60_000), ToolError)


def test_the_shipped_and_the_teams_tools_are_known_together() -> None:
    assert {"directory.lookup", "letters.send"} <= set(load_tools())


class Strict(Arguments):
    """With a rule of its own that quotes what it refuses, and with names that somebody else gives."""

    to: str
    amounts: dict[str, int] = Field(default={})

    @field_validator("to")
    @classmethod
    def is_known(cls, value: str) -> str:
        """Raises ValueError: nobody knows it."""
        if value != "ann":
            raise ValueError(f"{value} is nobody")
        return value


@tool("strict.send", version=1, effect="egress")
def send_strictly(arguments: Strict) -> Outgoing[Applied]:
    """Sends something to somebody who is known."""
    return Outgoing("/v1/effects/strict.send", {"to": arguments.to})


@pytest.mark.parametrize(
    ("arguments", "clause"),
    [
        ({"to": "eve@evil.test"}, "to: a rule of the tool's own refuses it"),
        ({"to": "ann", "amounts": {"eve@evil.test": "x"}}, "amounts.*: Input should be a valid integer"),
        ({"to": "ann", "eve@evil.test": 1}, "*: Extra inputs are not permitted"),
        ({"to": 7}, "to: Input should be a valid string"),
    ],
)
def test_no_clause_repeats_a_value_or_a_name_that_somebody_made_up(
    arguments: dict[str, JsonValue], clause: str
) -> None:
    """It is recorded, told to a model and read by people."""
    assert validated(send_strictly, arguments) == [clause]
