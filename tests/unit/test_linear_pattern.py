"""Guards: a pattern of a schema means what it means elsewhere, and no text makes it slow."""

from __future__ import annotations

import re
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.kernel.linear_pattern import LinearPattern, UnsupportedPatternError

PATTERNS = (
    "^a+$", "^(?:a|b)*c$", "ab", "^[a-c]{2,4}$", "^a?b?c?$", "^(a+)+$", "^CVE-[0-9]{4}-[0-9]{4,7}$", "a|b", "^[^ab]+$",
    r"^\d+(\.\d+)?$", "^(ab){0,2}$", "^x{3}y{2,}$", r"^[\w.-]+@[\w-]+\.[a-z]{2,}$", "^$", "", "^.b", r"^\$[0-9]+$",
    "^(|a)b$",
)  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
@given(text=st.text("abcxy01.-@$ C V E", max_size=12))
@settings(deadline=None)
def test_a_pattern_finds_what_the_standard_engine_finds(pattern: str, text: str) -> None:
    assert LinearPattern(pattern).matches(text) == (re.search(pattern, text, re.ASCII) is not None)


def test_a_pattern_that_makes_others_exponential_takes_a_look_at_each_character() -> None:
    """`(a+)+$` on a long row of a needs 2^n steps in an engine that goes back."""
    calls = 0

    def called(*_: object) -> None:
        nonlocal calls
        calls += 1

    pattern = LinearPattern("^(a+)+$")
    sys.setprofile(called)
    try:
        assert not pattern.matches("a" * 5_000 + "b")
    finally:
        sys.setprofile(None)
    assert calls < 50_000


@pytest.mark.parametrize(
    "pattern",
    [
        "(?=a)", "(?!a)", "(?<=a)b", r"(a)\1", r"\bword\b", "a**", "a{1000000}", "(", ")", "[", "[]", "[z-a]", "a{2,1",
        "a{x}", "^a|b$", "a^b", "a$b", "(?P<n>a)", r"\p{L}", "(" * 50, "((((a{99}){99}){99}){99})", r"\u00", "*a",
    ],
)  # fmt: skip
def test_what_is_not_matched_in_linear_time_is_refused(pattern: str) -> None:
    with pytest.raises(UnsupportedPatternError):
        LinearPattern(pattern)
