"""Guards: whatever could lead a reader or a payment somewhere is found, in time linear in the text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.data_plane.gateway.addresses import BEYOND, MAX_TEXT, addresses
from app.data_plane.gateway.provenance import Sources


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("go to http://evil.test/x?y=1.", ["http://evil.test/x?y=1"]),
        ("[click](https://evil.test/a)", ["https://evil.test/a"]),
        (
            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxhttp://evil.com/x",
            ["xxxxxxxxxxxxxxxxxxxxxxxxxxxhttp://evil.com/x"],
        ),
        ("evil.com", ["evil.com"]),
        ("evil.example.zip/payload", ["evil.example.zip/payload"]),
        ("www.evil.zip", ["www.evil.zip"]),
        ("//evil.com/x", ["evil.com/x"]),
        ("evil.com:8080/x", ["evil.com:8080/x"]),
        ("at 10.0.0.1 or 10.0.0.1:80/a", ["10.0.0.1", "10.0.0.1:80/a"]),
        ("javascript:alert(1)", ["javascript:alert(1"]),
        ("mail a.b+c@evil.test, now", ["a.b+c@evil.test"]),
        ("mail me@localhost", ["me@localhost"]),
        ("bücher.example/x and xn--bcher-kva.com", ["bücher.example/x", "xn--bcher-kva.com"]),
        ("ｅvil．com", ["evil.com"]),
        ("see evil.\u200dcom or evil.\ufe0fnet", ["evil.com", "evil.net"]),
        ("see evil\u3002com or evil\uff61net", ["evil.com", "evil.net"]),
        ("pay GB29 NWBK 6016 1331 9268 19 now", ["GB29 NWBK 6016 1331 9268 19"]),
        ("pay GB29NWBK60161331926819", ["GB29NWBK60161331926819"]),
        ("pay gb29nwbk60161331926819", ["gb29nwbk60161331926819"]),
        ("call +41 44 668 18 00", ["+41 44 668 18 00"]),
        ("call (212) 555-0100", ["(212) 555-0100"]),
        ("account 1234567890", ["1234567890"]),
    ],
)
def test_addresses_are_found(text: str, found: list[str]) -> None:
    assert list(addresses(text)) == found


@pytest.mark.parametrize(
    "text",
    ["on 2024-05-19 at 12:30", "version 1.2.3", "see report.docx and notes.md", "and/or", "1,500.00 USD",
     "e.g. this", "end.Next", "a@", "10%"],
)  # fmt: skip
def test_dates_amounts_and_file_names_are_none(text: str) -> None:
    assert list(addresses(text)) == []


@given(st.text(max_size=60), st.sampled_from(["https://evil.test/a", "www.evil.test", "eve@evil.test"]))
def test_an_address_between_spaces_is_always_found(around: str, address: str) -> None:
    assert address in set(addresses(f"{around} {address} {around}"))


def test_what_stands_beyond_the_cap_is_told_as_an_address_that_nobody_has_looked_at() -> None:
    assert list(addresses("word " * (MAX_TEXT // 5))) == []
    assert list(addresses("word " * (MAX_TEXT // 5) + "evil.com/x")) == [BEYOND]


def test_letters_that_become_longer_in_their_compatibility_form_hide_nothing_behind_the_cap() -> None:
    """One such letter is eighteen, so that a few thousand of them fill all that is searched."""
    text = "\ufdfa" * 5_600 + " pay at evil.com/x"
    sources = Sources()
    assert BEYOND in list(addresses(text))
    assert sources.trace({"body": text})["body"].unproven == (BEYOND,)
