"""Reading JSON that somebody else wrote: what two readers could understand differently is refused.

Python's own reader takes NaN, keeps the last of two equal keys, turns 1e999 into infinity, lets lone
surrogates through and recurses as deep as its input. Each of these is refused here, under a stable code, in
time linear in the input (RFC 8259 for the grammar, RFC 7493 for the duplicates and surrogates).
"""

from __future__ import annotations

import json
import math
import re
from typing import NoReturn

from interlock.canonical import JsonValue
from interlock.errors import InvalidInputError

MAX_BYTES = 1_000_000
"""Bytes that a document may have unless the caller says otherwise."""
MAX_DEPTH = 100
"""Containers inside containers that a document may have; half of what canonical JSON takes."""
MAX_NUMBER_CHARACTERS = 1000
"""Characters of one number; longer ones cost quadratic time to read."""

# The optional closing quote and the possessive repeat keep this linear in an unfinished string.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NOT_A_BRACKET = bytes(byte for byte in range(256) if byte not in b"[]{}")
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def read(body: bytes, *, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH) -> JsonValue:
    """The value that ``body`` holds; integers are exact, whatever their size.

    Raises:
        InvalidInputError: with code ``too_large``, ``not_utf8``, ``too_deep``, ``not_json``,
            ``not_a_number``, ``number_too_large``, ``duplicate_key``, ``nul_character``, ``lone_surrogate``.
    """
    if len(body) > max_bytes:
        raise too_large(max_bytes)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            "not_utf8", f"The JSON is not UTF-8 at byte {error.start}.", "Encode it as UTF-8."
        ) from None
    _check_depth(body, max_depth)
    try:
        value: JsonValue = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
            parse_float=_float,
            parse_int=_integer,
        )
    except json.JSONDecodeError as error:
        raise InvalidInputError(
            "not_json",
            f"The text is not JSON: {error.msg.lower()} at line {error.lineno}, column {error.colno}.",
            "Send one JSON value (RFC 8259).",
        ) from None
    if b"\\u0000" in body or _ESCAPED_SURROGATE.search(body):
        _check_characters(value)
    return value


def too_large(max_bytes: int) -> InvalidInputError:
    """The error for input longer than ``max_bytes``."""
    return InvalidInputError(
        "too_large",
        f"The body is longer than {max_bytes} bytes.",
        "Send less, keep large content elsewhere and refer to it, or have the operator raise the limit.",
    )


def _check_depth(body: bytes, max_depth: int) -> None:
    if body.count(b"[") + body.count(b"{") <= max_depth:
        return
    depth = 0
    for bracket in _STRING.sub(b"", body).translate(None, _NOT_A_BRACKET):
        if bracket in b"[{":
            depth += 1
            if depth > max_depth:
                raise InvalidInputError(
                    "too_deep", f"The JSON is nested deeper than {max_depth} levels.", "Send it flatter."
                )
        else:
            depth -= 1


def _object(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise InvalidInputError(
            "duplicate_key", "The JSON has an object with the same key twice.", "Send each key once."
        )
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidInputError("not_a_number", f"The JSON holds {name}, which JSON does not have.", "Send null.")


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _number_too_large()
    return number


def _integer(text: str) -> int:
    if len(text) > MAX_NUMBER_CHARACTERS:
        raise _number_too_large()
    return int(text)


def _number_too_large() -> InvalidInputError:
    return InvalidInputError(
        "number_too_large",
        "The JSON holds a number that is too large to read exactly.",
        "Send it as a string.",
    )


def _check_characters(value: JsonValue) -> None:
    waiting: list[JsonValue] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            _check_text(item)
        elif isinstance(item, dict):
            for key in item:
                _check_text(key)
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _check_text(text: str) -> None:
    if "\0" in text:
        raise InvalidInputError(
            "nul_character",
            "The JSON holds the character U+0000, which PostgreSQL's text cannot.",
            "Remove it, or send the content as base64.",
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidInputError(
            "lone_surrogate",
            "The JSON holds half of a surrogate pair, which is not a character.",
            "Send whole characters.",
        ) from None
