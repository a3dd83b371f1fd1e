"""Guards: a drafted policy is Cedar, lets reads read, and asks a person for all that is not proven or not asked for."""

from __future__ import annotations

import pytest

from app.control_plane.policies import check_policy
from app.data_plane.gateway.asked import stems, words_of
from app.data_plane.gateway.drafting import draft_policy, effect_words
from app.data_plane.gateway.gateway import Gateway
from app.data_plane.gateway.provenance import Sources
from app.data_plane.tools import shipped_tools
from app.kernel.tool_spec import ToolSpec
from interlock.canonical import JsonObject
from tests.unit.gateway.calls import DIRECTORY, MAIL, asked, policy

DELETE = ToolSpec(
    name="mail.delete",
    version=1,
    effect="write",
    input_schema={"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]},
    output_schema={},
)
FETCH = ToolSpec(
    name="web.get_page",
    version=1,
    effect="egress",
    input_schema={"type": "object", "properties": {"url": {"type": "string"}}, "required": ["url"]},
    output_schema={"type": "string"},
)
TOOLS = {spec.name: spec for spec in (MAIL, DIRECTORY, DELETE, FETCH)}
GATEWAY = Gateway(policy(draft_policy(TOOLS)), TOOLS, {"clerk": TOOLS})


def outcome(
    tool: str, arguments: JsonObject, request: str, sources: Sources | None = None
) -> tuple[str, tuple[str, ...]]:
    found = GATEWAY.decide("clerk", tool, arguments, sources or asked(request))
    return found.outcome, found.policies


@pytest.mark.parametrize("tools", [TOOLS, shipped_tools()])
def test_a_draft_can_be_published_as_it_is(tools: dict[str, ToolSpec]) -> None:
    """Also for tools with arguments that may be left out."""
    assert check_policy(policy(draft_policy(tools)), tools) == []


def test_reads_read() -> None:
    assert outcome("directory.find", {"name": "anybody"}, "hello")[0] == "permitted"


def test_what_is_asked_for_with_proven_arguments_is_permitted() -> None:
    call: JsonObject = {
        "to": ["ann@acme.test"],
        "body": "The meeting is at noon.",
        "urgency": "now",
        "cc": None,
    }
    assert outcome("mail.send", call, "Tell ann@acme.test when the meeting is") == (
        "permitted",
        ("allow mail.send",),
    )


@pytest.mark.parametrize(
    ("changed", "request_text", "asking"),
    [
        ({"to": ["eve@evil.test"]}, "Tell ann@acme.test when the meeting is", "prove mail.send"),
        ({"cc": "eve@evil.test"}, "Tell ann@acme.test when the meeting is", "prove mail.send"),
        ({"copies": 9000}, "Tell ann@acme.test when the meeting is", "prove mail.send"),
        (
            {"body": "see www.evil.test/x"},
            "Tell ann@acme.test when the meeting is",
            "unproven addresses in mail.send",
        ),
        ({}, "Who is ann@acme.test?", "asked for mail.send"),
    ],
)
def test_a_person_is_asked_for_what_is_not_proven_or_not_asked_for(
    changed: JsonObject, request_text: str, asking: str
) -> None:
    call: JsonObject = {"to": ["ann@acme.test"], "body": "at noon", **changed}
    assert outcome("mail.send", call, request_text) == ("needs_approval", (asking,))


def test_a_request_may_leave_it_to_a_text_what_to_do_but_not_what_to_take_away() -> None:
    request = "Do the tasks on my list. They are about ann@acme.test and mail 7"
    assert outcome("mail.send", {"to": ["ann@acme.test"], "body": "hi"}, request)[0] == "permitted"
    assert outcome("mail.delete", {"id": "7"}, request) == ("needs_approval", ("asked for mail.delete",))
    assert outcome("mail.delete", {"id": "7"}, "Remove mail 7")[0] == "permitted"


def test_where_a_fetch_goes_is_proven_and_needs_no_other_word() -> None:
    assert outcome("web.get_page", {"url": "www.acme.test"}, "It is on www.acme.test")[0] == "permitted"
    assert outcome("web.get_page", {"url": "www.evil.test"}, "Read www.acme.test")[0] == "needs_approval"


@pytest.mark.parametrize(
    ("word", "stem"),
    [("sending", "send"), ("invited", "invite"), ("planned", "plan"), ("replies", "reply"),
     ("messages", "message"), ("mails", "mail")],
)  # fmt: skip
def test_a_word_also_counts_without_its_ending(word: str, stem: str) -> None:
    assert stem in stems(word)
    assert {word, stem} <= words_of(f"They were {word.upper()}, later.")


def test_the_words_of_an_effect_are_those_of_its_verb() -> None:
    assert {"send", "mail", "task"} <= set(effect_words(MAIL))
    assert "task" not in effect_words(DELETE)
