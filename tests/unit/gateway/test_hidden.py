"""Guards: what a person cannot see does not get through, and no reason shows a value."""

from __future__ import annotations

import pytest

from app.data_plane.gateway.hidden import check_hidden, hidden
from app.data_plane.gateway.provenance import Origin, Provenance
from tests.unit.gateway.calls import MAIL


@pytest.mark.parametrize(
    ("character", "code"),
    [("\u202e", "U+202E"), ("\u200b", "U+200B"), ("\u2066", "U+2066"), ("\U000e0041", "U+E0041"),
     ("\u0000", "U+0000"), ("\ue000", "U+E000"), ("\u0378", "U+0378"), ("\ud800", "U+D800"),
     ("\u3164", "U+3164"), ("\u00ad", "U+00AD"), ("\u007f", "U+007F"), ("\ufe00", "U+FE00"),
     ("\u2028", "U+2028")],
)  # fmt: skip
def test_hidden_characters_are_told_by_their_code_point(character: str, code: str) -> None:
    assert hidden(f"a{character}b") == hidden(f"a{character}b", content=True) == code


@pytest.mark.parametrize("character", ["\n", "\t", "\u200c", "\u200d", "\u200e", "\u200f"])
def test_what_languages_are_written_with_is_hidden_outside_content_only(character: str) -> None:
    assert hidden(f"a{character}b", content=True) is None
    assert hidden(f"a{character}b") is not None


@pytest.mark.parametrize("text", ["plain", "Zürich – “ça”", "日本語", "שלום", "😀", "naïve"])
def test_visible_text_is_not_hidden(text: str) -> None:
    assert hidden(text) is None


def test_an_argument_that_decides_holds_nothing_hidden_wherever_it_is_from() -> None:
    known = {"to": Provenance((Origin.TEMPLATE,))}
    assert check_hidden(MAIL, {"to": ["bob\u202e@acme.test"]}, known) == [
        "to[]: it has the hidden character U+202E"
    ]


def test_content_is_looked_at_when_a_model_or_a_tool_wrote_of_it() -> None:
    body = {"body": "secret \u202e text\n"}
    assert check_hidden(MAIL, body, {"body": Provenance((Origin.EVENT_TEXT,))}) == []
    for origin in (Origin.MODEL, Origin.TOOL_TEXT):
        (problem,) = check_hidden(MAIL, body, {"body": Provenance((Origin.EVENT, origin))})
        assert "U+202E" in problem
        assert "secret" not in problem
    assert check_hidden(MAIL, body, {}), "what is not known is looked at"


def test_the_name_of_a_member_decides_too() -> None:
    (problem,) = check_hidden(MAIL, {"to": {"a\u200bb": 1}}, {})
    assert problem == "to: it has the hidden character U+200B"
