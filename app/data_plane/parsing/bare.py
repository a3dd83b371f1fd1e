"""Values and keys without quotes: numbers, keywords of several languages, plain words."""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.data_plane.parsing.cursor import Cursor
from app.data_plane.parsing.outcome import UnreadableError
from app.data_plane.parsing.plain import whole
from app.data_plane.parsing.quoted import QUOTES, Place, looks_like_key
from interlock.canonical import JsonValue

_NUMBER = re.compile(r"[-+]?(\d[\d_]*+)?(\.(?:\d[\d_]*+)?)?([eE][-+]?\d*+)?", re.ASCII)
_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(?:,\d{3})++(?:\.\d++)?(?=\s{0,100}(?:[,}\n]|$))", re.ASCII)
_WORD = re.compile(r"[A-Za-z_$][\w$]*+")
_CALL = re.compile(r"(?:new\s{1,10})?[A-Za-z_$][\w$.]*+\s{0,20}\(")
_KEY_RUN = re.compile(f"[^:=,\\[\\]{{}}\n{QUOTES}]*+")
_RUN = re.compile(f"[^,\\[\\]{{}}()\n/+{QUOTES}]*+")
_URL = re.compile(r"(?:https?|ftp|file|data|irc|mailto|wss?|s3):$", re.IGNORECASE)
_URL_REST = re.compile(r"[A-Za-z0-9\-._~:/?#@!$&'()*+;=%]*+")
_NEXT_MEMBER = re.compile(r"\S\s+[A-Za-z_]\w*\s*:(?:\s|$)")
_KEYWORDS: dict[str, JsonValue] = {
    "true": True, "false": False, "null": None,
    "True": True, "False": False, "None": None,
    "TRUE": True, "FALSE": False, "NULL": None, "Null": None,
    "undefined": None, "NaN": None, "nan": None, "nil": None,
}  # fmt: skip
_CODES = {"true": "", "false": "", "null": "", "undefined": "undefined", "NaN": "not_a_number"}
_UNREADABLE = frozenset(("Infinity", "-Infinity", "+Infinity"))
_WHOLE_WORDS = ("true", "false", "null", "True", "False", "None")
_BEGINNINGS = {word[:length]: _KEYWORDS[word] for word in _WHOLE_WORDS for length in range(2, len(word))}


@dataclass(frozen=True, slots=True)
class Bare:
    """A value without quotes."""

    value: JsonValue


def call_at(cursor: Cursor) -> int | None:
    """Where the argument of a call begins, as in ``ObjectId("1")``, if one stands at the cursor."""
    match = _CALL.match(cursor.text, cursor.at)
    return match.end() if match else None


def read_bare_key(cursor: Cursor) -> str | None:
    """The key without quotes at the cursor."""
    text = cursor.text
    match = _KEY_RUN.match(text, cursor.at)
    assert match is not None
    cursor.step()
    cursor.at = match.end()
    key = match[0].rstrip()
    if not key:
        return None
    if cursor.peek() in tuple(QUOTES) and match[0] == key:
        cursor.at += 1
        cursor.notes["missing_quote"] += 1
    else:
        cursor.notes["unquoted_key"] += 1
    return key


def read_bare(cursor: Cursor, place: Place, *, in_call: bool) -> Bare | None:
    """The value without quotes at the cursor; nothing if none begins there."""
    cursor.step()
    return _number(cursor, place) or _keyword(cursor, place) or _words(cursor, place, in_call=in_call)


def _ends_token(cursor: Cursor, end: int, place: Place) -> bool:
    """Whether a number or keyword may end at ``end``: not if more words of the same value follow."""
    text = cursor.text
    if end >= len(text):
        return True
    character = text[end]
    if character in ",]})\n{[" or text.startswith(("//", "/*"), end):
        return True
    if not character.isspace():
        return False
    next_at = cursor.follows(end, in_line=True)
    following = text[next_at : next_at + 1]
    if (
        not following
        or following in ",]})\n"
        or following in QUOTES
        or text.startswith(("//", "/*", "#"), next_at)
    ):
        return True
    if place is Place.ITEM:
        return True
    return place is Place.MEMBER and looks_like_key(text, next_at)


def _number(cursor: Cursor, place: Place) -> Bare | None:
    text, start = cursor.text, cursor.at
    match = _NUMBER.match(text, start)
    if match is None or match.end() == start or match[0] == "+":
        return None
    if place is Place.MEMBER and (grouped := _THOUSANDS.match(text, start)):
        cursor.at = grouped.end()
        cursor.notes["thousands_separator"] += 1
        digits = grouped[0].replace(",", "")
        return Bare(float(digits) if "." in digits else whole(digits))
    if not _ends_token(cursor, match.end(), place):
        return None
    integer, fraction, exponent = match[1] or "", match[2] or "", match[3] or ""
    if exponent and not integer and not fraction:
        return None
    if match[0] == "-" and text[cursor.follows(match.end()) :][:1].isalnum():
        raise UnreadableError("it has a minus without its number")
    cursor.at = match.end()
    if cursor.at == len(text):
        cursor.cut = True
    if len(integer) > 1 and integer.startswith("0"):
        cursor.notes["leading_zero"] += 1
        return Bare(match[0])
    return Bare(_value_of(cursor, match[0], integer, fraction, exponent))


def _value_of(cursor: Cursor, written: str, integer: str, fraction: str, exponent: str) -> JsonValue:
    sign = "-" if written.startswith("-") else ""
    if "_" in written or written.startswith("+"):
        cursor.notes["number_format"] += 1
    fraction = fraction.replace("_", "")
    if not integer or fraction == "." or (exponent and not exponent[-1].isdigit()):
        cursor.notes["number_format"] += 1
    integer = integer.replace("_", "") or "0"
    if exponent and not exponent[-1].isdigit():
        exponent += "0"
    if not fraction and not exponent:
        return whole(sign + integer)
    return float(f"{sign}{integer}{fraction + '0' if fraction == '.' else fraction}{exponent}")


def _keyword(cursor: Cursor, place: Place) -> Bare | None:
    text, start = cursor.text, cursor.at
    match = _WORD.match(text, start + (text[start : start + 1] in ("-", "+")))
    if match is None:
        return None
    word = text[start : match.end()]
    if word in _UNREADABLE and _ends_token(cursor, match.end(), place):
        raise UnreadableError("it has an infinite number")
    if word in _KEYWORDS and _ends_token(cursor, match.end(), place):
        code = _CODES.get(word, "python_literal")
        if code:
            cursor.notes[code] += 1
        cursor.at = match.end()
        return Bare(_KEYWORDS[word])
    if match.end() == len(text) and place is not Place.ROOT and word in _BEGINNINGS:
        cursor.notes["truncated"] += 1
        cursor.at = match.end()
        return Bare(_BEGINNINGS[word])
    return None


def _words(cursor: Cursor, place: Place, *, in_call: bool) -> Bare | None:
    text, start = cursor.text, cursor.at
    at = start
    while True:
        match = _RUN.match(text, at)
        assert match is not None
        at = match.end()
        if at >= len(text):
            break
        further = _further(cursor, start, at, place, in_call=in_call)
        if further is None:
            break
        cursor.step()
        at = further
    said = text[start:at].rstrip()
    if not said:
        return None
    if place is Place.MEMBER and _NEXT_MEMBER.search(said):
        raise UnreadableError("a text without quotes runs into what may be the next key")
    cursor.at = start + len(said)
    if cursor.peek() == '"':
        if text[cursor.at + 1 : cursor.at + 2].isalnum():
            raise UnreadableError("it has a word that touches a string")
        cursor.at += 1
        cursor.notes["missing_quote"] += 1
    else:
        cursor.notes["unquoted_string"] += 1
    cursor.cut = cursor.at == len(text)
    return Bare(said)


def _further(cursor: Cursor, start: int, at: int, place: Place, *, in_call: bool) -> int | None:
    """Where words without quotes go on behind the character at ``at``; nothing if they end there."""
    text = cursor.text
    character = text[at]
    if character in "'\u2019`\u00b4\u2018":
        inside = at > start and text[at - 1].isalnum() and text[at + 1 : at + 2].isalpha()
        return at + 1 if inside else None
    if character == "/":
        if text.startswith("//", at) and _URL.search(text, max(start, at - 8), at):
            match = _URL_REST.match(text, at)
            return match.end() if match else None
        comment = text[at + 1 : at + 2] in ("/", "*")
        return None if comment or at == start else at + 1
    if character == "+":
        following = cursor.follows(at + 1)
        return None if following < len(text) and text[following] in QUOTES else at + 1
    if character == ")":
        if not in_call:
            return at + 1
        cursor.spend(at - start)
        return at + 1 if text.count("(", start, at) > text.count(")", start, at) else None
    if character == "(":
        return at + 1
    if character == "," and place is Place.MEMBER:
        following = cursor.follows(at + 1)
        ended = following >= len(text) or "\n" in text[at:following] or text[following] in "}]{[,.\"'#/"
        return None if ended or looks_like_key(text, following) else at + 1
    return None
