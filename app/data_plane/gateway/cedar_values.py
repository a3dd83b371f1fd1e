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

from app.data_plane.gateway.slices import Wanted
from interlock.canonical import JsonObject, JsonValue

MAX_DEPTH = 24
MAX_TEXT = 100_000
MAX_MEMBERS = 2_000
"""Members and items of one container."""

LOWEST, HIGHEST = -(2**63), 2**63 - 1
_MARKS = frozenset(("__entity", "__extn", "__expr"))
_ALL = Wanted(whole=True)
_PLACE = Decimal("0.0001")
_MOST = Decimal(HIGHEST) * _PLACE


class NotCedarError(ValueError):
    """A value that Cedar has no type for; says what kind it is, never the value."""


def as_cedar(value: JsonValue, wanted: Wanted, decimals: bool = False, depth: int = 0) -> JsonValue:
    """``value`` as far as it is wanted, in Cedar's JSON form.

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
    if isinstance(value, Mapping):
        return _record(value, wanted, decimals, depth)
    if wanted.whole or wanted.texts is None:
        return [as_cedar(item, _ALL, decimals, depth + 1) for item in value if item is not None]
    return [item for item in value if isinstance(item, str) and item in wanted.texts]


def _record(value: JsonObject, wanted: Wanted, decimals: bool, depth: int) -> JsonObject:
    if not _MARKS.isdisjoint(value):
        raise NotCedarError("a member that is named as one of Cedar's own marks")
    if wanted.whole or wanted.texts is not None:
        return {
            name: as_cedar(item, _ALL, decimals, depth + 1)
            for name, item in value.items()
            if item is not None
        }
    found: dict[str, JsonValue] = {}
    for name, part in wanted.members.items():
        item = value.get(name)
        if item is not None:
            found[name] = as_cedar(item, part, decimals, depth + 1) if part.is_read else True
    return found


def _decimal(value: float) -> JsonObject:
    try:
        exact = Decimal(repr(value))
        rounded = exact.quantize(_PLACE)
    except (InvalidOperation, ValueError) as error:
        raise NotCedarError("a number that a decimal of four places cannot hold") from error
    if rounded != exact or abs(rounded) > _MOST:
        raise NotCedarError("a number that a decimal of four places cannot hold")
    return {"__extn": {"fn": "decimal", "arg": f"{rounded:.4f}"}}
