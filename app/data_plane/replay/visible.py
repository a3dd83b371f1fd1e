"""Text of others as a person may be shown it: what would not be seen, or would change what is seen, is written out."""

from __future__ import annotations

import re
from collections.abc import Mapping

from interlock.canonical import JsonValue

# Marks and letters that show nothing, though Unicode counts them as printable.
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_SEEN_AS_THEY_ARE = frozenset("\n\t")
MOST_LISTED = 8


def visible(text: str) -> str:
    """The text on one line, with every invisible or bidirectional character as its escape, as in ``\\u202e``."""
    return "".join(
        letter if _is_seen(letter) else letter.encode("unicode_escape").decode() for letter in text
    )


def hidden_in(value: JsonValue) -> tuple[str, ...]:
    """The code points (``U+202E``) in a JSON value, names of members included, that a person would not see; a few."""
    found: dict[str, None] = {}
    for text in _texts(value):
        for letter in text:
            if letter not in _SEEN_AS_THEY_ARE and not _is_seen(letter):
                found[f"U+{ord(letter):04X}"] = None
    return tuple(found)[:MOST_LISTED]


def _is_seen(letter: str) -> bool:
    return letter.isprintable() and _BLANK.match(letter) is None


def _texts(value: JsonValue) -> list[str]:
    """Every text in it. Without recursion: what others wrote may be nested deeply."""
    found: list[str] = []
    left: list[JsonValue] = [value]
    while left:
        one = left.pop()
        if isinstance(one, str):
            found.append(one)
        elif isinstance(one, Mapping):
            found += one.keys()
            left += one.values()
        elif isinstance(one, (list, tuple)):
            left += one
    return found
