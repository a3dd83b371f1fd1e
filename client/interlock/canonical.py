"""Canonical JSON (RFC 8785) and digests over it.

One value has one sequence of bytes, so that ids and digests can be derived instead of drawn.
Two departures from RFC 8785, both stricter: integers of any size are written exactly (the RFC would
round them to IEEE 754 doubles), and what is not JSON (NaN, lone surrogates, keys that are not strings) is
refused.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

try:
    import orjson
except ImportError:  # the client's wheel does not require it; the slow path gives the same bytes
    orjson = None  # type: ignore[assignment]

JsonValue: TypeAlias = "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"
JsonObject: TypeAlias = Mapping[str, JsonValue]

MAX_DEPTH = 200
"""Containers inside containers that a value may have."""

# Where sorted orjson may differ from RFC 8785: numbers written as 1.0, -0.0 or with an exponent,
# and characters from U+E000 up, whose UTF-16 order is not their code point order.
_WHOLE_FLOAT = re.compile(rb"\.0[,}\]]")
_EXPONENT = re.compile(rb"[0-9]e[+-][0-9]")
_HIGH_CHARACTER = re.compile(rb"[\xee-\xf4]")


_OPTIONS = (
    orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS
    if orjson is not None
    else 0
)


class NotCanonicalError(ValueError):
    """The value is not JSON, so it has no canonical form. Remedy: send plain JSON values."""


def canonical_bytes(value: JsonValue) -> bytes:
    """The canonical UTF-8 bytes of ``value``.

    Raises:
        NotCanonicalError: for NaN, infinities, lone surrogates, keys that are not strings, any other type,
            and values nested deeper than ``MAX_DEPTH``.
    """
    if orjson is not None and isinstance(value, (dict, list)):
        try:
            fast: bytes = orjson.dumps(value, option=_OPTIONS)
        except TypeError:
            return _encode(value, 0).encode("utf-8")
        if _is_canonical(fast, value):
            return fast
    return _encode(value, 0).encode("utf-8")


def _is_canonical(fast: bytes, value: JsonValue) -> bool:
    # Plain substrings first: they are found ten times faster than the patterns.
    if b".0" in fast and _WHOLE_FLOAT.search(fast):
        return False
    if (b"e+" in fast or b"e-" in fast) and _EXPONENT.search(fast):
        return False
    if not fast.isascii() and _HIGH_CHARACTER.search(fast):
        return False
    if len(fast) > MAX_DEPTH and fast.count(b"[") + fast.count(b"{") > MAX_DEPTH and _is_deep(value):
        return False
    # orjson writes NaN as null, which reads back as another value.
    return b"null" not in fast or bool(orjson.loads(fast) == value)


def digest_bytes(body: bytes) -> str:
    """SHA-256 of ``body`` as 64 lower-case hexadecimal characters."""
    return hashlib.sha256(body).hexdigest()


def digest(value: JsonValue) -> str:
    """SHA-256 over the canonical bytes of ``value``, as 64 lower-case hexadecimal characters."""
    return digest_bytes(canonical_bytes(value))


def _is_deep(value: JsonValue) -> bool:
    level: list[JsonValue] = [value]
    for _ in range(MAX_DEPTH + 1):
        below: list[JsonValue] = []
        for item in level:
            if isinstance(item, Mapping):
                below.extend(item.values())
            elif isinstance(item, (list, tuple)):
                below.extend(item)
        if not below:
            return False
        level = below
    return True


def _encode(value: object, depth: int) -> str:
    if depth > MAX_DEPTH:
        raise NotCanonicalError(f"the value is nested deeper than {MAX_DEPTH} levels")
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _encode_text(value)
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return _encode_float(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(_encode_members(value, depth)) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(_encode(item, depth + 1) for item in value) + "]"
    raise NotCanonicalError(f"a {type(value).__name__} is not a JSON value")


def _encode_members(value: Mapping[object, object], depth: int) -> list[str]:
    members: dict[str, object] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise NotCanonicalError(f"an object's keys are strings, not {type(key).__name__}")
        members[key] = item
    return [
        f"{_encode_text(key)}:{_encode(members[key], depth + 1)}"
        for key in sorted(members, key=lambda text: text.encode("utf-16-be", "surrogatepass"))
    ]


def _encode_text(text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise NotCanonicalError(f"the text has a lone surrogate at character {error.start}") from None
    return json.dumps(str(text), ensure_ascii=False)


def _encode_float(number: float) -> str:
    """``number`` as ECMAScript's Number::toString writes it (ECMA-262, 6.1.6.1.20)."""
    if not math.isfinite(number):
        raise NotCanonicalError(f"{number} is not a JSON number")
    if number == 0:
        return "0"
    sign = "-" if number < 0 else ""
    mantissa, _, exponent = f"{abs(number)!r}e0".partition("e")
    whole, _, fraction = mantissa.partition(".")
    power = int(exponent.partition("e")[0] or 0) + len(whole)
    digits = whole + fraction
    stripped = digits.lstrip("0")
    power -= len(digits) - len(stripped)
    digits = stripped.rstrip("0")
    if len(digits) <= power <= 21:
        return sign + digits + "0" * (power - len(digits))
    if 0 < power <= 21:
        return sign + digits[:power] + "." + digits[power:]
    if -6 < power <= 0:
        return sign + "0." + "0" * -power + digits
    point = f"{digits[0]}.{digits[1:]}" if len(digits) > 1 else digits
    return f"{sign}{point}e{'+' if power > 0 else '-'}{abs(power - 1)}"
