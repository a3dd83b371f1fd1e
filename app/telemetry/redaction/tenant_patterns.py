"""Patterns that tenants add: each a word that has to stand in the text, and a pattern that is found near it.

Every tenant's are applied to every text: a line about a batch may hold anybody's. What they cost is bounded: one
screen over all words, then so many steps of an automaton near each word that is there, and a text that needs more
than ``MOST_STEPS`` is replaced as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from app.kernel.linear_pattern import LinearPattern, UnsupportedPatternError
from app.telemetry.redaction.rules import REDACTED, in_small_letters
from app.telemetry.redaction.screen import Screen

KEYWORD: Final = re.compile(r"[A-Za-z0-9 _.:/#@=-]{3,50}")
LONGEST_PATTERN: Final = 200
MOST_PATTERNS: Final = 20
"""Of one tenant."""
MOST_OF_ALL: Final = 1_000
"""Of all tenants in one process, by the tenants' names; the others are not applied."""
MOST_STEPS: Final = 50_000
"""Steps of an automaton for one text."""
_BEFORE: Final = 64
"""How far before its word a match may begin."""
_LONGEST: Final = 256
"""The longest match."""


@dataclass(frozen=True, slots=True)
class TenantPattern:
    """What a tenant calls a secret."""

    name: str
    keyword: str
    """Found in any case."""
    pattern: str


class _Ready(NamedTuple):
    keyword: str
    pattern: LinearPattern


class _Made(NamedTuple):
    patterns: tuple[_Ready, ...]
    screen: Screen


class _Installed:
    """This process's patterns; replaced as one, so that a thread sees the old ones or the new ones."""

    given: Mapping[str, Sequence[TenantPattern]] | None = None
    made: _Made | None = None


class _TooMuchError(Exception):
    """A text needs more steps than one may."""


def pattern_fault(pattern: str) -> str | None:
    """Why a pattern cannot be used, or None."""
    if not 1 <= len(pattern) <= LONGEST_PATTERN:
        return f"it has no character, or more than {LONGEST_PATTERN}"
    if pattern.startswith("^") or (pattern.endswith("$") and not pattern.endswith("\\$")):
        return "it is tied to the beginning or the end of a text, and secrets stand anywhere"
    try:
        made = LinearPattern(pattern)
    except UnsupportedPatternError as error:
        return f"it is not matched in linear time: {error}"
    return "it is found in an empty text" if made.longest_from("", 0, 1)[0] >= 0 else None


def install(patterns: Mapping[str, Sequence[TenantPattern]]) -> list[str] | None:
    """Make these the patterns of this process, by tenant; returns ``tenant/name`` of what cannot be used.

    None, and nothing was done, when they are the ones that it has: whoever reads them every few seconds would have
    hundreds of automata made anew each time.
    """
    given = {name: tuple(listed) for name, listed in patterns.items()}
    if given == _Installed.given:
        return None
    refused: list[str] = []
    ready: list[_Ready] = []
    for tenant, pattern in ((name, pattern) for name in sorted(patterns) for pattern in patterns[name]):
        if (
            len(ready) >= MOST_OF_ALL
            or KEYWORD.fullmatch(pattern.keyword) is None
            or pattern_fault(pattern.pattern) is not None
        ):
            refused.append(f"{tenant}/{pattern.name}")
            continue
        ready.append(_Ready(pattern.keyword.lower(), LinearPattern(pattern.pattern)))
    words = sorted({f"(?i:{_literal(one.keyword)})" for one in ready})
    _Installed.given = given
    _Installed.made = _Made(tuple(ready), Screen((), words)) if words else None
    return refused


def suspect(text: str) -> bool:
    """Whether a tenant's word is in the text."""
    made = _Installed.made
    return made is not None and made.screen.suspects(text)


def applied(text: str) -> str:
    """``text`` without what tenants call secrets."""
    made = _Installed.made
    if made is None or not made.screen.suspects(text):
        return text
    try:
        spans = sorted(_spans(made.patterns, text, in_small_letters(text)))
    except _TooMuchError:
        return REDACTED
    pieces: list[str] = []
    at = 0
    for start, end in spans:
        if start >= at:
            pieces += (text[at:start], REDACTED)
        at = max(at, end)
    return "".join((*pieces, text[at:])) if pieces else text


def _spans(patterns: Sequence[_Ready], text: str, small: str) -> Iterator[tuple[int, int]]:
    steps = MOST_STEPS
    for keyword, pattern in patterns:
        at = small.find(keyword)
        done = 0
        while at >= 0:
            for start in range(max(done, at - _BEFORE), at + 1):
                end, read = pattern.longest_from(text, start, _LONGEST)
                steps -= read - start
                if end > start:
                    done = end
                    yield start, end
                    break
            if steps < 0:
                raise _TooMuchError
            at = small.find(keyword, max(at + 1, done))


def _literal(keyword: str) -> str:
    return "".join(character if character.isalnum() else f"[{character}]" for character in keyword)
