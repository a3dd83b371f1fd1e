"""Whether a value stands in a trusted text: a person's request, or a template's words.

It stands there when it is found as it is, as whole words: ``50`` does not stand in ``50.5``, ``1,500`` or ``A50``, and
``example.com`` does not stand in ``bob@example.com``. A number stands there in any usual way of writing it.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right

from app.data_plane.gateway import addresses
from app.data_plane.gateway.hidden import hidden

MAX_TEXT = 100_000
"""Characters of a text that count; what stands beyond them is not trusted."""
MAX_VALUE = 2_000
"""Characters of a value that is looked for; a longer one does not stand in a text."""
_MOST_PLACES = 200
"""Of one value that are tried, before it counts as not found."""

# What joins two words to one, so that neither stands there alone.
_JOINERS = frozenset(".-@/+=&~\\'’")
_BETWEEN_DIGITS = frozenset(",:")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


class TrustedText:
    """One trusted text, prepared for being asked."""

    def __init__(self, text: str) -> None:
        self._text = shortened(text, MAX_TEXT)
        self._spans = list(addresses.spans(self._text))
        self._starts = [start for start, _ in self._spans]
        self._numbers = self._all_numbers()

    def holds(self, value: str) -> bool:
        """Whether ``value`` stands in it as whole words, letter by letter; a single letter proves nothing."""
        if len(value) > MAX_VALUE:
            return False
        start = self._text.find(value)
        if start < 0 or not _can_stand(value):
            return False
        for _ in range(_MOST_PLACES):
            if start < 0:
                return False
            if self._is_whole(start, start + len(value)):
                return True
            start = self._text.find(value, start + 1)
        return False

    def holds_number(self, value: float) -> bool:
        """Whether the number stands in it, as ``1500``, ``1,500``, ``1.500,00`` or ``1500.00``."""
        return value in self._numbers

    def _all_numbers(self) -> frozenset[float]:
        found: set[float] = set()
        for match in _NUMBER.finditer(self._text):
            start, end = match.span()
            sign = 1
            if start and self._text[start - 1] in "-−" and (start == 1 or self._text[start - 2].isspace()):
                start, sign = start - 1, -1
            number = as_number(match.group())
            if number is not None and self._is_whole(start, end):
                found.add(sign * number)
        return frozenset(found)

    def _is_whole(self, start: int, end: int) -> bool:
        return not (
            self._goes_on(start - 1, -1) or self._goes_on(end, 1) or self._is_inside_an_address(start, end)
        )

    def _is_inside_an_address(self, start: int, end: int) -> bool:
        """Whether an address reaches beyond what begins and ends here: then it is a piece of that address."""
        for position in (bisect_right(self._starts, start) - 1, bisect_right(self._starts, end - 1) - 1):
            if position >= 0:
                first, last = self._spans[position]
                if last > start and (first < start or last > end):
                    return True
        return False

    def _goes_on(self, at: int, step: int) -> bool:
        """Whether the word beside ``at`` is longer than what ends there."""
        text = self._text
        if not 0 <= at < len(text):
            return False
        character = text[at]
        if _is_word(character):
            return True
        if character in _BETWEEN_DIGITS:
            return text[at - 1 : at].isdigit() and text[at + 1 : at + 2].isdigit()
        if character in "'’" and step == 1 and text[at + 1 : at + 2] in ("s", "S"):
            return at + 2 < len(text) and _is_word(text[at + 2])
        for beyond in range(at, at + 4 * step, step):
            if not 0 <= beyond < len(text):
                return False
            if text[beyond] not in _JOINERS:
                return beyond != at and _is_word(text[beyond])
        return True


def shortened(text: str, most: int) -> str:
    """The whole words among the first characters of a text: half an address would be another address."""
    if len(text) <= most:
        return text
    words = text[: max(most, 0)].rsplit(maxsplit=1)
    return words[0] if len(words) == 2 else ""


def _can_stand(value: str) -> bool:
    if value != value.strip() or not any(map(str.isalnum, value)) or hidden(value, content=True) is not None:
        return False
    return len(value) > 1 or value.isdigit()


def as_number(written: str) -> float | None:
    """A number as people write it, or nothing when its commas and points can be read in several ways."""
    groups = re.split(r"[.,]", written)
    marks = re.sub(r"\d", "", written)
    if not marks:
        return int(written) if len(written) <= 19 else None
    grouped = all(len(group) == 3 for group in groups[1:]) and len(groups[0]) <= 3
    if set(marks) == {","} and grouped:
        return int("".join(groups))
    if len(set(marks[:-1])) <= 1 and (len(marks) == 1 or marks[-1] != marks[0]):
        if len(marks) > 1 and not all(len(group) == 3 for group in groups[1:-1]):
            return None
        return float(f"{''.join(groups[:-1])}.{groups[-1]}")
    return None


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_" or unicodedata.category(character).startswith("M")
