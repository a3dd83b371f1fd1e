"""A request's values as Cedar takes them, or that there is no such value.

Cedar has texts, whole numbers of 64 bits, decimals of four places, booleans, sets and records; null is an absent
member. A value that a policy reads and Cedar has no type for makes the request one that cannot be judged, and denied:
leaving it out would switch off every policy that asks ``has`` first. These are whole numbers beyond 64 bits, fractions
that four places cannot hold, what is nested too deep or is too large, and members named as Cedar's own marks
(``__entity``, ``__extn``, ``__expr``), with which an argument could pass for an entity.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

from interlock.canonical import JsonObject, JsonValue

MAX_DEPTH = 24
MAX_TEXT = 100_000
MAX_MEMBERS = 2_000
"""Members and items of one container."""

LOWEST, HIGHEST = -(2**63), 2**63 - 1
_MARKS = frozenset(("__entity", "__extn", "__expr"))
_PLACE = Decimal("0.0001")
_MOST = Decimal(HIGHEST) * _PLACE


class NotCedarError(ValueError):
    """A value that Cedar has no type for; says what kind it is, never the value."""


def as_cedar(value: JsonValue, decimals: bool = False, depth: int = 0) -> JsonValue:
    """``value`` in Cedar's JSON form.

    Args:
        decimals: a whole number becomes a decimal too, so that an argument always has one type.

    Raises:
        NotCedarError: Cedar has no such value.
    """
    if isinstance(value, str):
        if len(value) > MAX_TEXT:
            raise NotCedarError(f"a text of more than {MAX_TEXT} characters")
        return value
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and not decimals:
        if not LOWEST <= value <= HIGHEST:
            raise NotCedarError("a whole number beyond 64 bits")
        return value
    if isinstance(value, (int, float)):
        return _decimal(value)
    if value is None:
        raise NotCedarError("nothing where a value is needed")
    if depth >= MAX_DEPTH:
        raise NotCedarError("a value that is nested too deep")
    if len(value) > MAX_MEMBERS:
        raise NotCedarError(f"a list or an object of more than {MAX_MEMBERS} members")
    if not isinstance(value, Mapping):
        return [as_cedar(item, decimals, depth + 1) for item in value if item is not None]
    if not _MARKS.isdisjoint(value):
        raise NotCedarError("a member that is named as one of Cedar's own marks")
    return {name: as_cedar(item, decimals, depth + 1) for name, item in value.items() if item is not None}


def _decimal(value: float) -> JsonObject:
    try:
        exact = Decimal(repr(value))
        rounded = exact.quantize(_PLACE)
    except (InvalidOperation, ValueError) as error:
        raise NotCedarError("a number that a decimal of four places cannot hold") from error
    if rounded != exact or abs(rounded) > _MOST:
        raise NotCedarError("a number that a decimal of four places cannot hold")
    return {"__extn": {"fn": "decimal", "arg": f"{rounded:.4f}"}}
