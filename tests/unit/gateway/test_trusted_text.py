"""Guards: a value stands in a trusted text only as whole words, and a number as what it says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.data_plane.gateway.trusted_text import TrustedText, as_number, shortened


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Send it to bob@acme.test.", "bob@acme.test"),
        ("Send it to 'bob@acme.test', please", "bob@acme.test"),
        ("See https://acme.test/a?b=1.", "https://acme.test/a?b=1"),
        ("See (www.acme.test)", "www.acme.test"),
        ("Invite Sarah Baker's team", "Sarah Baker"),
        ("post to #general, now", "general"),
        ("account DE89 3704 0044 0532 0130 00 please", "DE89 3704 0044 0532 0130 00"),
        ("file 7 of 2024-05-19", "7"),
        ("the file 'bill-2023.txt'", "bill-2023.txt"),
        ("file 50 and 50.5", "50"),
    ],
)
def test_a_value_stands_in_a_text_as_whole_words(text: str, value: str) -> None:
    assert TrustedText(text).holds(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("pay 50.5", "50"),
        ("pay 1,500", "500"),
        ("pay 1,500", "1"),
        ("bob@acme.test", "acme.test"),
        ("bob@acme.test", "bob"),
        ("rob.bob@acme.test", "bob@acme.test"),
        ("https://acme.test/a/b", "https://acme.test/a"),
        ("https://acme.test.evil.test/", "https://acme.test"),
        ("www.acme.test", "acme.test"),
        ("DE89370400440532013000", "DE89"),
        ("DE89 3704 0044 0532 0130 00", "3704 0044"),
        ("the 2024-05-19", "05"),
        ("the 2024-05-19", "2024"),
        ("bill-2023.txt", "bill"),
        ("Bobby and O'Brien", "Bob"),
        ("Bobby and O'Brien", "Brien"),
        ("a naïve word", "na"),
        ("at 12:30", "12"),
        ("Send it to Bob", "bob"),
        ("a b c", "a"),
        ("a -- b", "--"),
        ("see mailto:bob@acme.test", "bob@acme.test"),
    ],
)
def test_a_piece_of_a_word_a_number_or_an_address_does_not(text: str, value: str) -> None:
    assert not TrustedText(text).holds(value)


@pytest.mark.parametrize(
    ("text", "number"),
    [("pay 50", 50), ("pay 1,500 now", 1500), ("pay 1.500,25", 1500.25), ("pay $12.00.", 12),
     ("minus -5 C", -5), ("1,234,567.5", 1234567.5)],
)  # fmt: skip
def test_a_number_is_compared_by_what_it_says(text: str, number: float) -> None:
    assert TrustedText(text).holds_number(number)


@pytest.mark.parametrize(
    ("text", "number"),
    [("pay 50.5", 50), ("pay 1,500", 500), ("A50", 50), ("2024-05-19", 19), ("12:30", 30),
     ("5-10", 5), ("1.2.3", 1.2), ("-5", 5)],
)  # fmt: skip
def test_a_piece_of_a_number_is_none(text: str, number: float) -> None:
    assert not TrustedText(text).holds_number(number)


def test_a_text_is_shortened_at_a_word() -> None:
    assert shortened("to bob@acme.test.evil", 14) == "to"
    assert shortened("bob@acme.test", 5) == ""


@given(st.text("ab1. @-,", max_size=30), st.text("ab1.@-", min_size=1, max_size=8))
def test_what_stands_there_is_never_continued_by_a_letter_or_a_digit(text: str, value: str) -> None:
    if TrustedText(text).holds(value):
        places = [at for at in range(len(text)) if text.startswith(value, at)]
        around = [(text[:at][-1:], text[at + len(value) :][:1]) for at in places]
        assert any(not before.isalnum() and not after.isalnum() for before, after in around)


@given(st.from_regex(r"\d{1,9}([.,]\d{1,9}){0,3}", fullmatch=True))
def test_reading_a_number_never_raises(written: str) -> None:
    as_number(written)
