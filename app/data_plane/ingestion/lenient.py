"""Reading a payload that may lack anything: what is absent or of another type is empty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from interlock.canonical import JsonObject, JsonValue

_NOTHING: JsonObject = {}


def section(value: JsonValue, *path: str) -> JsonObject:
    """The object at ``path``, or an empty one."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else _NOTHING


def text(value: JsonObject, *keys: str) -> str:
    """The first non-empty string among ``keys``, or ""."""
    for key in keys:
        item = value.get(key)
        if isinstance(item, str) and item:
            return item
    return ""


def integer(value: JsonObject, key: str) -> int:
    """The integer under ``key``, or 0; exact, and 0 as well where it does not fit 64 bits."""
    item = value.get(key)
    if isinstance(item, int) and not isinstance(item, bool) and -(2**63) <= item < 2**63:
        return item
    return 0


def flag(value: JsonObject, key: str) -> bool:
    """Whether ``key`` holds true."""
    return value.get(key) is True


def items(value: JsonObject, key: str) -> Sequence[JsonValue]:
    """The array under ``key``, or an empty one."""
    item = value.get(key)
    return item if isinstance(item, (list, tuple)) else ()


def first(value: JsonObject, key: str) -> JsonObject:
    """The first object of the array under ``key``, or an empty one."""
    return next((item for item in items(value, key) if isinstance(item, Mapping)), _NOTHING)
