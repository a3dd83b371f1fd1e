"""Arguments for a person who must decide: their values, and where they came from, in words."""

from __future__ import annotations

import pytest

from app.data_plane.replay.explain_argument import ArgumentTold, explain_arguments
from app.data_plane.replay.record import Record
from app.data_plane.replay.visible import hidden_in, visible
from app.data_plane.tools import shipped_tools
from interlock.canonical import JsonObject, JsonValue, canonical_bytes, digest_bytes


def told(
    value: JsonValue, name: str = "subject", tool: str = "reference.record", **known: JsonValue
) -> ArgumentTold:
    """One argument, with what is known of where it came from; nothing is when nothing is given."""
    arguments, provenance = canonical_bytes({name: value}), canonical_bytes({name: known} if known else {})
    contents = {digest_bytes(body): body for body in (arguments, provenance)}
    record = Record("orc_1", "demo", "0" * 64, 0, b"", (), {}, contents)
    spec = shipped_tools()[tool]
    found = explain_arguments(record, digest_bytes(arguments), digest_bytes(provenance), spec)
    assert found is not None
    (one,) = found
    return one


@pytest.mark.parametrize(
    ("known", "words", "untrusted"),
    [
        ({"origins": ["template"]}, "the release says it", False),
        (
            {"origins": ["event"], "fields": ["event.repository.full_name"]},
            "the event's trusted field event.repository.full_name",
            False,
        ),
        (
            {"origins": ["event"], "fields": ["event.a", "event.b"]},
            "the event's trusted fields event.a, event.b",
            False,
        ),
        (
            {"origins": ["lookup"], "fields": ["snapshot.repository.entry.owner"]},
            "a trusted lookup's field snapshot.repository.entry.owner",
            False,
        ),
        ({"origins": ["choice"]}, "a model chose it among values that the release names", False),
        (
            {"origins": ["event_text"]},
            "the event's text, which an outsider may have written",
            True,
        ),
        ({"origins": ["tool_text"]}, "a tool's free text, which an outsider may have written", True),
        ({"origins": ["model"]}, "a model wrote it", True),
        ({"origins": ["template", "model"]}, "the release says it; a model wrote it", True),
        (
            {"origins": ["model"], "fields": ["event.a"]},
            "a model wrote it (equal to event.a)",
            True,
        ),
        ({"origins": []}, "it is empty", False),
        ({}, "where it came from is not recorded", True),
        ({"origins": ["from_the_future"]}, "from_the_future", False),
    ],
)
def test_where_a_value_came_from_is_told_in_words(known: JsonObject, words: str, untrusted: bool) -> None:
    one = told("octo", **known)
    assert (one.came_from, one.untrusted) == (words, untrusted)


def test_addresses_that_no_trusted_source_holds_are_told() -> None:
    assert told(
        "see https://evil.example", origins=["model"], unproven=["https://evil.example"]
    ).unproven == ("https://evil.example",)


def test_text_for_people_is_told_from_what_decides() -> None:
    assert told("a note", "note", "tracker.add_note", origins=["model"]).content
    assert not told("octo/demo", "repository", "tracker.add_note", origins=["model"]).content


def test_secrets_are_left_out_and_the_length_is_that_of_the_whole() -> None:
    one = told("use ghp_" + "a" * 36, origins=["model"])
    assert "ghp_" not in str(one.value)
    assert one.characters == 44


def test_erased_arguments_are_none() -> None:
    record = Record("orc_1", "demo", "0" * 64, 0, b"", (), {}, {})
    assert explain_arguments(record, "1" * 64, "", None) is None


@pytest.mark.parametrize(
    ("text", "shown", "hidden"),
    [
        ("plain, na\u00efve and \u65e5\u672c", "plain, na\u00efve and \u65e5\u672c", ()),
        ("a\u202eb", "a\\u202eb", ("U+202E",)),
        ("a\u200bb", "a\\u200bb", ("U+200B",)),
        ("a\x1b[2Jb", "a\\x1b[2Jb", ("U+001B",)),
        ("a\u3164b", "a\\u3164b", ("U+3164",)),
        ("a\ufe0fb", "a\\ufe0fb", ("U+FE0F",)),
        ("a\U000e0041b", "a\\U000e0041b", ("U+E0041",)),
        ("two\nlines", "two\\nlines", ()),
    ],
)
def test_what_nobody_would_see_is_written_out(text: str, shown: str, hidden: tuple[str, ...]) -> None:
    assert visible(text) == shown
    assert hidden_in({"one": [text]}) == hidden
    assert hidden_in({text: 1}) == hidden


def test_a_value_that_is_nested_without_end_is_looked_through() -> None:
    value: JsonValue = "\u202e"
    for _ in range(5000):
        value = [value]
    assert hidden_in(value) == ("U+202E",)
