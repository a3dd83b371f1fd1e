"""Guards: no text and no value makes redaction fail, change its mind, or take time beyond what the text is long."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.telemetry.redaction import REDACTED, TenantPattern, install_patterns, redact, redact_value
from tests.unit.telemetry.planted_secrets import FORMS, NAMED

SIZE = 200_000
HOSTILE: dict[str, Callable[[int], str]] = {
    word: lambda size, word=word: word * (size // len(word))  # type: ignore[misc]
    for word in (
        *(
            "ghp_",
            "token",
            "token=",
            "token=$",
            "password:",
            "secret_",
            "key=",
            "key%3d",
            "api-",
            "pass",
            "--",
        ),
        *(
            "a@",
            "a.b@",
            "@",
            "a@b.co ",
            "%40",
            "://",
            "://a:",
            "user:pw@",
            "eyJ",
            "eyJaaaaaaaa.",
            "a1Q~",
            "$1$",
        ),
        *(
            "-----BEGIN PRIVATE KEY-----",
            "Bearer ",
            "Basic ",
            "basic aB3",
            "authorization: x ",
            "cookie: a=b c ",
        ),
        *(
            "('token','",
            "password = ",
            'password\\"',
            "--a-a-a-token ",
            "phone ",
            "tel 1",
            "+1 ",
            "4111 ",
            "1",
        ),
        *(
            "DE89 ",
            "AB12",
            "123-12-",
            "415-555-",
            "sk-",
            "SG.aaaaaaaaaaaaaaaa.",
            "xoxb-xoxb",
            "\\n",
            "\ud800@",
            "(",
        ),
        *("key", "İpassword=", "curl -u ", "name value ", "M" * 24 + "." + "a" * 6 + "."),
    )
} | {
    "a long run": lambda size: "a" * size,
    "a long word in an address": lambda size: "://" + "a" * size,
    "a long local part": lambda size: "a" * size + "@b.co",
    "spaces behind a name": lambda size: "token" + " " * size,
    "a long value": lambda size: "key=" + "aB3" * (size // 3),
    "a cookie without end": lambda size: "cookie: " + "a" * size,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_are_done_with_and_settled(name: str) -> None:
    """200 KB each: what grew with the square of the length would still be at it when CI gives up."""
    once = redact(HOSTILE[name](SIZE))
    assert redact(once) == once


_RANDOM = Random(3)
_PIECES = [
    *(draw(_RANDOM) for draw in FORMS.values()),
    *(f"{names[0]}={draw(_RANDOM)}" for names, draw in NAMED.values()),
    *(
        "password",
        "token=",
        "://",
        "a:b@",
        ": ",
        "Bearer ",
        "Basic ",
        '"',
        "'",
        "\\n",
        "%40",
        "@",
        REDACTED,
        "x",
        " ",
    ),
    *(
        "authorization: ",
        "cookie: ",
        "key=",
        "value",
        "name",
        "-u ",
        "--token ",
        "\ud800",
        "İ",
        "\n",
        "4",
        "+1 ",
    ),
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(_PIECES), max_size=8).map("".join) | st.text(max_size=60))
def test_redacting_twice_is_redacting_once(text: str) -> None:
    once = redact(text)
    assert redact(once) == once
    value = redact_value({text: [text], "name": text, "value": text})
    assert redact_value(value) == value


class Textless:
    """What cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __repr__(self) -> str:
        raise RuntimeError("no text either")


class Unreadable(dict[str, object]):
    """A mapping that breaks while it is read."""

    def items(self) -> object:  # type: ignore[override]
        raise RuntimeError("no members")

    def get(self, *_: object) -> object:
        raise RuntimeError("no members")


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.floats()
        | st.integers()
        | st.text()
        | st.binary()
        | st.builds(Textless)
        | st.builds(Unreadable)
        | st.builds(lambda: 10**5000)
        | st.just("\ud800 token=\udfff1234"),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.binary(), inner),
    )
)
def test_no_value_makes_it_raise(value: object) -> None:
    redact_value(value)


def test_a_value_that_holds_itself_is_cut() -> None:
    loop: list[object] = []
    loop += [loop, loop]
    assert REDACTED in str(redact_value(loop))[:1_000_000]


def test_a_value_that_is_nested_without_end_is_cut_where_nobody_reads_any_more() -> None:
    deep: object = "token=abc12345"
    for _ in range(10_000):
        deep = {"a": [deep]}
    assert json.dumps(redact_value(deep)).count('"a"') < 40


def test_a_large_value_keeps_all_that_is_no_secret() -> None:
    """A hundred thousand nodes, of which one is a secret."""
    rows = [{"id": number, "name": f"row {number}", "ok": True} for number in range(25_000)]
    rows[777]["name"] = "mail a@b.example"
    shown = redact_value({"rows": rows})
    rows[777]["name"] = f"mail {REDACTED}"
    assert shown == {"rows": rows}


@pytest.mark.parametrize("pattern", ["badge-[0-9]{6}", "(a+)+b", "badge-(?:[0-9a-]*[0-9a-]*)*x"])
def test_a_tenants_pattern_costs_a_bounded_number_of_steps(pattern: str) -> None:
    """A text that would need more is replaced as a whole: nobody's pattern may stand still."""
    install_patterns({"acme": [TenantPattern("badge", "badge", pattern)]})
    try:
        assert redact("badge-aaaa1234 " * 20_000) == REDACTED
        assert redact("badge-aaaa1234 " * 20) != REDACTED
    finally:
        install_patterns({})
