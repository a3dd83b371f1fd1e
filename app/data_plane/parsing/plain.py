"""Plain JSON, read by the standard parser, with its depth and its numbers kept within bounds."""

from __future__ import annotations

import json
import re
from itertools import accumulate

from app.data_plane.parsing.outcome import UnreadableError
from interlock.canonical import JsonValue

MAX_CHARACTERS = 1_200_000
"""No longer answer is read. Time and memory are linear in it."""
MAX_DEPTH = 200
"""No value that is nested deeper is read."""
MAX_DIGITS = 4000
"""Just below what Python converts to an int."""

# Possessive, and the closing quote optional: linear also in a text whose last string never ends.
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_NO_BRACKET = re.compile(r"[^\[\]{}]++")
_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}


class NotPlainError(ValueError):
    """The text is not plain JSON; it may still be readable otherwise."""


def read_plain(text: str, *, once: bool = False) -> JsonValue:
    """The value of a text that is JSON by the letter.

    A key that is there twice has its last value, as in the standard parser; with ``once`` two different values
    of one key are refused.

    Raises:
        NotPlainError: it is not plain JSON.
        UnreadableError: it is, and must not be read.
    """
    if too_deep(text):
        raise NotPlainError(f"it is nested deeper than {MAX_DEPTH} levels")
    try:
        value: JsonValue = json.loads(
            text,
            object_pairs_hook=members_once if once else None,
            parse_constant=_no_constant,
            parse_int=whole,
        )
    except json.JSONDecodeError as error:
        raise NotPlainError(error.msg) from None
    return value


def too_deep(text: str) -> bool:
    """Whether brackets outside strings are nested deeper than ``MAX_DEPTH``."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return False
    brackets = _NO_BRACKET.sub("", _STRING.sub("", text))
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > MAX_DEPTH


def members_once(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    """An object of these members; a key with two different values is refused."""
    members = dict(pairs)
    if len(members) != len(pairs) and any(not same(members[name], value) for name, value in pairs):
        raise UnreadableError("it has an object with the same key twice")
    return members


def same(left: JsonValue, right: JsonValue) -> bool:
    """Whether two values are one and the same JSON; unlike Python, ``1`` is not ``true``."""
    waiting = [(left, right)]
    while waiting:
        one, other = waiting.pop()
        if type(one) is not type(other):
            return False
        if isinstance(one, dict) and isinstance(other, dict):
            if one.keys() != other.keys():
                return False
            waiting.extend((item, other[name]) for name, item in one.items())
        elif isinstance(one, list) and isinstance(other, list):
            if len(one) != len(other):
                return False
            waiting.extend(zip(one, other, strict=True))
        elif one != other:
            return False
    return True


def whole(digits: str) -> int:
    """The whole number that these digits are."""
    if len(digits) > MAX_DIGITS:
        raise UnreadableError(f"it has a number of more than {MAX_DIGITS} digits")
    return int(digits)


def _no_constant(name: str) -> JsonValue:
    raise NotPlainError(f"{name} is not JSON")
