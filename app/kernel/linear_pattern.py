"""Patterns of JSON Schema that run in linear time: an automaton instead of backtracking.

A backtracking engine needs exponential time for some patterns and texts, and the texts are written by models. So
the regular part of ECMA 262 is compiled to an automaton; what is not regular is refused when it is published.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from string import hexdigits

MAX_CHARACTERS = 20_000
"""A longer text is not matched; a schema with a pattern means a short text."""
_MAX_STATES = 1_000
_MAX_GROUPS = 20
_MOST_KNOWN = 10_000

_Range = tuple[int, int]
_TOP = 0x10FFFF
_DIGIT: tuple[_Range, ...] = ((48, 57),)
_LETTER: tuple[_Range, ...] = ((48, 57), (65, 90), (95, 95), (97, 122))
_SPACE: tuple[_Range, ...] = ((9, 13), (32, 32), (160, 160), (0x1680, 0x1680), (0x2000, 0x200A), (0x2028, 0x2029),
                              (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF))  # fmt: skip
_CLASSES = {"d": _DIGIT, "w": _LETTER, "s": _SPACE}
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", "0": "\0"}
_SYNTAX = frozenset("^$\\.*+?()[]{}|/-")


class UnsupportedPatternError(ValueError):
    """The pattern says something that is not matched in linear time."""


def _complement(ranges: tuple[_Range, ...]) -> tuple[_Range, ...]:
    found, low = [], 0
    for start, end in sorted(ranges):
        if start > low:
            found.append((low, start - 1))
        low = max(low, end + 1)
    if low <= _TOP:
        found.append((low, _TOP))
    return tuple(found)


_ANY = _complement(((10, 10), (13, 13), (0x2028, 0x2029)))


@dataclass(slots=True)
class _Automaton:
    """States with at most one step on characters each, and steps on nothing."""

    silent: list[list[int]] = field(default_factory=list)
    steps: list[tuple[tuple[_Range, ...], int] | None] = field(default_factory=list)

    def state(self) -> int:
        if len(self.steps) >= _MAX_STATES:
            raise UnsupportedPatternError("it is too large")
        self.silent.append([])
        self.steps.append(None)
        return len(self.steps) - 1

    def closure(self, state: int) -> frozenset[int]:
        seen, waiting = {state}, [state]
        while waiting:
            for other in self.silent[waiting.pop()]:
                if other not in seen:
                    seen.add(other)
                    waiting.append(other)
        return frozenset(seen)


class LinearPattern:
    """One compiled pattern; ``matches`` takes time in proportion to the text."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._at_start = source.startswith("^")
        self._at_end = source.endswith("$") and not source.endswith("\\$")
        body = source[self._at_start : len(source) - self._at_end]
        automaton = _Automaton()
        parser = _Parser(body, automaton)
        first, self._last = parser.alternatives(0)
        parser.must_be_done()
        if parser.top_alternatives and (self._at_start or self._at_end):
            raise UnsupportedPatternError("^ or $ beside | has to stand outside a group")
        self._steps = automaton.steps
        self._closures = [automaton.closure(state) for state in range(len(automaton.steps))]
        self._first = self._closures[first]
        self._known: dict[tuple[frozenset[int], str], frozenset[int]] = {}

    def matches(self, text: str) -> bool:
        """Whether the pattern is found in ``text``, which is at most ``MAX_CHARACTERS`` long."""
        current = self._first
        known: dict[tuple[frozenset[int], str], frozenset[int]] = {}
        for character in text:
            if not self._at_end and self._last in current:
                return True
            if (following := known.get((current, character))) is None:
                following = known[current, character] = self._after(current, ord(character))
            current = following
            if not current:
                return False
        return self._last in current

    def longest_from(self, text: str, start: int, most: int) -> tuple[int, int]:
        """Where the longest match from ``start`` on ends, within ``most`` characters, and where reading ended.

        Without a match the first is -1.
        """
        current, end = self._first, -1
        for at in range(start, min(len(text), start + most)):
            if self._last in current:
                end = at
            if (following := self._known.get((current, text[at]))) is None:
                if len(self._known) >= _MOST_KNOWN:
                    self._known.clear()
                following = self._known[current, text[at]] = self._next(current, ord(text[at]), set())
            current = following
            if not current:
                return end, at + 1
        read = min(len(text), start + most)
        return (read if self._last in current else end), read

    def _after(self, current: frozenset[int], code: int) -> frozenset[int]:
        return self._next(current, code, set() if self._at_start else set(self._first))

    def _next(self, current: frozenset[int], code: int, following: set[int]) -> frozenset[int]:
        for state in current:
            step = self._steps[state]
            if step is not None and any(low <= code <= high for low, high in step[0]):
                following |= self._closures[step[1]]
        return frozenset(following)


class _Parser:
    """Reads a pattern into an automaton: each part from its first state to its last."""

    def __init__(self, source: str, automaton: _Automaton) -> None:
        self.source = source
        self.automaton = automaton
        self.at = 0
        self.top_alternatives = False

    def peek(self) -> str:
        return self.source[self.at : self.at + 1]

    def take(self) -> str:
        character = self.peek()
        if not character:
            raise UnsupportedPatternError("it ends too early")
        self.at += 1
        return character

    def must_be_done(self) -> None:
        if self.at < len(self.source):
            raise UnsupportedPatternError(f"{self.peek()!r} is not expected there")

    def alternatives(self, depth: int) -> tuple[int, int]:
        if depth > _MAX_GROUPS:
            raise UnsupportedPatternError("its groups are nested too deep")
        automaton = self.automaton
        first, last = automaton.state(), automaton.state()
        while True:
            start, end = self._sequence(depth)
            automaton.silent[first].append(start)
            automaton.silent[end].append(last)
            if self.peek() != "|":
                return first, last
            self.top_alternatives = self.top_alternatives or depth == 0
            self.at += 1

    def _sequence(self, depth: int) -> tuple[int, int]:
        automaton = self.automaton
        first = last = automaton.state()
        while self.peek() and self.peek() not in "|)":
            begin = self.at
            start, end = self._atom(depth)
            behind = self.at
            low, high = self._count()
            after = self.at
            if (low, high) != (1, 1):
                start, end = self._repeated(begin, behind, depth, low, high)
                self.at = after
            automaton.silent[last].append(start)
            last = end
        return first, last

    def _repeated(self, begin: int, behind: int, depth: int, low: int, high: int | None) -> tuple[int, int]:
        """Copies of the part between two places: as many as there must be, then those that may be."""
        automaton = self.automaton
        first = last = automaton.state()
        final = automaton.state()
        for number in range(low if high is None else high):
            if number >= low:
                automaton.silent[last].append(final)
            last = self._copy(begin, last, depth)
        if high is None:
            again = automaton.state()
            automaton.silent[last].append(again)
            automaton.silent[self._copy(begin, again, depth)].append(again)
            last = again
        automaton.silent[last].append(final)
        assert self.at in (behind, begin) or low == 0
        return first, final

    def _copy(self, begin: int, last: int, depth: int) -> int:
        self.at = begin
        start, end = self._atom(depth)
        self.automaton.silent[last].append(start)
        return end

    def _count(self) -> tuple[int, int | None]:
        character = self.peek()
        if character not in ("*", "+", "?", "{"):
            return 1, 1
        self.at += 1
        if character != "{":
            low, high = {"*": (0, None), "+": (1, None), "?": (0, 1)}[character]
        else:
            end = self.source.find("}", self.at)
            low_text, comma, high_text = self.source[self.at : max(end, self.at)].partition(",")
            if not (
                low_text.isdecimal()
                and (not high_text or high_text.isdecimal())
                and len(low_text + high_text) < 8
            ):
                raise UnsupportedPatternError("{ without a count")
            self.at = end + 1
            low = int(low_text)
            high = int(high_text) if high_text else (None if comma else low)
        if self.peek() in ("?", "+", "*", "{"):
            raise UnsupportedPatternError("a count behind a count")
        return low, high

    def _atom(self, depth: int) -> tuple[int, int]:
        character = self.take()
        if character == "(":
            if self.source.startswith("?:", self.at):
                self.at += 2
            elif self.peek() == "?":
                raise UnsupportedPatternError("(? other than (?:")
            found = self.alternatives(depth + 1)
            if self.take() != ")":
                raise UnsupportedPatternError("( without )")
            return found
        if character in "^$*+?{":
            raise UnsupportedPatternError(f"{character!r} inside it")
        ranges = self._set(character)
        automaton = self.automaton
        first, last = automaton.state(), automaton.state()
        automaton.steps[first] = (ranges, last)
        return first, last

    def _set(self, character: str) -> tuple[_Range, ...]:
        if character == ".":
            return _ANY
        if character == "\\":
            return self._escaped()
        if character == "[":
            return self._class()
        return ((ord(character), ord(character)),)

    def _escaped(self) -> tuple[_Range, ...]:
        character = self.take()
        if character.lower() in _CLASSES:
            ranges = _CLASSES[character.lower()]
            return ranges if character.islower() else _complement(ranges)
        if character in _ESCAPES:
            character = _ESCAPES[character]
        elif character in ("u", "x"):
            size = 4 if character == "u" else 2
            digits = self.source[self.at : self.at + size]
            self.at += len(digits)
            if len(digits) < size or not all(digit in hexdigits for digit in digits):
                raise UnsupportedPatternError("a broken escape")
            character = chr(int(digits, 16))
        elif character.isalnum():
            raise UnsupportedPatternError(f"\\{character}")
        return ((ord(character), ord(character)),)

    def _class(self) -> tuple[_Range, ...]:
        negated = self.peek() == "^"
        self.at += negated
        ranges: list[_Range] = []
        while (character := self.take()) != "]":
            if character == "[":
                raise UnsupportedPatternError("[ inside a class")
            low = self._escaped() if character == "\\" else ((ord(character), ord(character)),)
            if self.peek() == "-" and self.source[self.at + 1 : self.at + 2] not in ("]", ""):
                self.at += 1
                upper = self.take()
                high = self._escaped() if upper == "\\" else ((ord(upper), ord(upper)),)
                if len(low) != 1 or len(high) != 1 or low[0][0] != low[0][1] or high[0][0] < low[0][0]:
                    raise UnsupportedPatternError("a broken range")
                low = ((low[0][0], high[0][1]),)
            ranges.extend(low)
        if not ranges:
            raise UnsupportedPatternError("an empty class")
        return _complement(tuple(ranges)) if negated else tuple(ranges)
