"""What two readers could understand differently is refused, under a stable code and in linear time."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock import strict_json
from interlock.errors import InvalidInputError

REFUSED = {
    "an empty body": (b"", "not_json"),
    "a half": (b'{"a": ', "not_json"),
    "two values": (b"{} {}", "not_json"),
    "single quotes": (b"{'a': 1}", "not_json"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "not_json"),
    "a raw NUL": (b'"\x00"', "not_json"),
    "Latin-1": (b'"\xe9"', "not_utf8"),
    "a surrogate in UTF-8": (b'"\xed\xa0\x80"', "not_utf8"),
    "NaN": (b'{"a": NaN}', "not_a_number"),
    "Infinity": (b"[-Infinity]", "not_a_number"),
    "a float beyond doubles": (b"1e999", "number_too_large"),
    "an endless integer": (b"9" * 5000, "number_too_large"),
    "a key twice": (b'{"a": 1, "b": {"c": 1, "c": 2}}', "duplicate_key"),
    "a key twice, spelled differently": (b'{"a": 1, "\\u0061": 2}', "duplicate_key"),
    "an escaped NUL": (b'["\\u0000"]', "nul_character"),
    "a NUL in a key": (b'{"a\\u0000": 1}', "nul_character"),
    "half a pair": (b'["\\uD83D"]', "lone_surrogate"),
    "the wrong half first": (b'{"\\ude00\\ud83d": 1}', "lone_surrogate"),
    "10,000 arrays": (b"[" * 10_000 + b"]" * 10_000, "too_deep"),
    "10,000 objects, unfinished": (b'{"a":' * 10_000, "too_deep"),
}


@pytest.mark.parametrize(("body", "code"), REFUSED.values(), ids=REFUSED)
def test_it_refuses(body: bytes, code: str) -> None:
    """Each with its code, what failed, and what to do."""
    with pytest.raises(InvalidInputError) as refused:
        strict_json.read(body)
    assert refused.value.code == code
    assert refused.value.what
    assert refused.value.remedy


def test_a_body_one_byte_too_long_is_refused_and_at_the_limit_it_is_read() -> None:
    """The limit is in bytes, not characters."""
    body = '"é"'.encode()
    assert strict_json.read(body, max_bytes=4) == "é"
    with pytest.raises(InvalidInputError) as refused:
        strict_json.read(body, max_bytes=3)
    assert refused.value.code == "too_large"


def test_brackets_inside_strings_are_no_depth() -> None:
    """A log excerpt full of brackets is an ordinary payload."""
    text = '[{"\\' * 500
    assert strict_json.read(json.dumps([text]).encode()) == [text]


def test_an_escaped_backslash_before_u0000_is_not_a_nul() -> None:
    """Source code in an issue's body often holds these six characters."""
    assert strict_json.read(b'"\\\\u0000 \\\\ud800"') == "\\u0000 \\ud800"


def test_big_integers_are_exact() -> None:
    """Ids beyond 2**53 must not be rounded."""
    assert strict_json.read(b"[9007199254740993, 123456789012345678901234567890]") == [
        9007199254740993,
        123456789012345678901234567890,
    ]


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('ab"\\{['), inner, max_size=4),
    max_leaves=15,
)


@given(VALUES, st.booleans())
def test_it_reads_all_other_json(value: object, ascii_only: bool) -> None:
    """Strict, and no stricter."""
    assert strict_json.read(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@given(st.binary(max_size=200) | st.text(alphabet='[]{}",:\\u0dD8\x00e+-.1 ').map(str.encode))
def test_any_bytes_are_read_or_refused_and_nothing_else(body: bytes) -> None:
    """Whatever is sent, no other error escapes."""
    with suppress(InvalidInputError):
        strict_json.read(body)
