"""Backslashes in strings: JSON's escapes, what other languages escape, and those that nobody meant as an escape."""

from __future__ import annotations

import re

from app.data_plane.parsing.outcome import UnreadableError

_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_HEX = re.compile(r"[0-9A-Fa-f]{0,4}")
_LOW_SURROGATE = re.compile(r"\\u([dD][c-fC-F][0-9A-Fa-f]{2})")
_BYTE = re.compile(r"\\x([0-9A-Fa-f]{2})")
# A backslash that stands for itself: a command or a path, a class or a bracket of a pattern.
_ITSELF = re.compile(r"\\(?:[A-Za-z]{2}|[dDwWsSBAZzpPkK](?![A-Za-z])|[()\[\]{}.+?|^<>])")
_DRIVE = re.compile(r"[A-Za-z]:\\[^\\]")


def unescaped(text: str, at: int, quotes: str) -> tuple[str, int, str]:
    """What the backslash at ``at`` and what belongs to it say, how long they are, and what was repaired.

    Raises:
        UnreadableError: it may say anything.
    """
    character = text[at + 1 : at + 2]
    if character == "u":
        return _unicode(text, at)
    if not character:
        return "", 2, "truncated"
    if character in _ESCAPES:
        return _ESCAPES[character], 2, ""
    if character in '"\\/' or character in quotes:
        return character, 2, ""
    if byte := _BYTE.match(text, at):
        return chr(int(byte[1], 16)), 4, "bad_escape"
    if _ITSELF.match(text, at):
        return "\\" + character, 2, "backslash"
    return character, 2, "bad_escape"


def _unicode(text: str, at: int) -> tuple[str, int, str]:
    digits = _HEX.match(text, at + 2)
    assert digits is not None
    if len(digits[0]) < 4:
        if digits.end() < len(text):
            raise UnreadableError("it has a broken \\u escape")
        return "", len(text) - at, "truncated"
    code = int(digits[0], 16)
    if 0xD800 <= code < 0xDC00 and (low := _LOW_SURROGATE.match(text, at + 6)):
        return chr(0x10000 + ((code - 0xD800) << 10) + int(low[1], 16) - 0xDC00), 12, ""
    return chr(code), 6, ""


def with_backslashes(said: str, written: str) -> str:
    """A string that has backslashes of its own: its writer escaped none, so that ``C:\\new`` has no line end."""
    if _DRIVE.match(written):
        return written
    return said.replace("\b", "\\b").replace("\f", "\\f")
