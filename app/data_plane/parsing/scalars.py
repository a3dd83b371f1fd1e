"""Scalars as a schema wants them: what may be read as what, and no further.

Only the schema asks for a change: a text becomes a number where a number is wanted, never the other way round,
except that a whole number may be written as a text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from app.data_plane.parsing.names import choices_for
from app.data_plane.parsing.numbers import readings, truth
from app.kernel.proposal_schema import Node
from app.kernel.schema_check import misfit
from interlock.canonical import JsonValue

_NULLS = frozenset(("null", "none", "nil", "n/a", "undefined", "nan", ""))
_IN_DOUBT = "it may mean more than one thing"


@dataclass(frozen=True, slots=True)
class Changed:
    """A scalar as the schema wants it, and the code of the change."""

    value: JsonValue
    code: str


def as_type(node: Node, kind: str, value: JsonValue) -> Changed | str | None:
    """``value`` as this type of ``node``; a reason if it is in doubt, nothing if it is none."""
    if kind == "string":
        return Changed(str(value), "number_to_string") if _is_whole(value) else None
    if kind == "boolean":
        return _as_truth(value)
    if kind == "null":
        return Changed(None, "null_in_string") if isinstance(value, str) and is_null(value) else None
    if kind == "integer" and isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return Changed(int(value), "whole_number")
    if kind in ("integer", "number") and isinstance(value, str):
        return _as_number(node, kind, value)
    return None


def is_null(text: str) -> bool:
    """Whether a text says that there is nothing."""
    return text.strip(" .").casefold() in _NULLS


def as_choice(node: Node, value: JsonValue, context: str) -> Changed | str | None:
    """The allowed value that ``value`` names; ``context`` is the name of the property."""
    choices = node.choices or ()
    if isinstance(value, str):
        named = choices_for(value, choices, context)
        if len(named) > 1:
            return _IN_DOUBT
        if named:
            return Changed(named[0].value, "enum_name")
    plain = Node(types=("boolean", "integer", "number", "null"))
    found: list[Changed] = []
    for choice in choices:
        if not isinstance(choice.value, str) or _is_whole(value):
            found.extend(_same_choice(plain, choice.value, value))
    if len(found) > 1:
        return _IN_DOUBT
    return found[0] if found else None


def _same_choice(plain: Node, wanted: JsonValue, value: JsonValue) -> Iterator[Changed]:
    kind = "string" if isinstance(wanted, str) else "boolean" if isinstance(wanted, bool) else "number"
    changed = as_type(plain, "null" if wanted is None else kind, value)
    if isinstance(changed, Changed) and changed.value == wanted:
        yield Changed(wanted, changed.code)


def _is_whole(value: JsonValue) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _as_truth(value: JsonValue) -> Changed | None:
    if isinstance(value, str):
        found = truth(value)
        return None if found is None else Changed(found, "boolean_word")
    if isinstance(value, (int, float)) and value in (0, 1):
        return Changed(bool(value), "boolean_number")
    return None


def _as_number(node: Node, kind: str, value: str) -> Changed | str | None:
    found = readings(value)
    bounds = Node(
        types=(kind,),
        minimum=node.minimum,
        maximum=node.maximum,
        above=node.above,
        below=node.below,
        multiple=node.multiple,
    )
    fitting = [reading for reading in found if misfit(bounds, reading.value) is None]
    if not fitting:
        # Out of bounds is told by the bounds; what is no number at all by its type.
        return Changed(found[0].value, found[0].code) if len(found) == 1 else None
    if len({reading.value for reading in fitting}) == 1:
        return Changed(fitting[0].value, fitting[0].code)
    if fitting[0].code == "percent" and (node.maximum is None or node.maximum > 1):
        return Changed(fitting[0].value, "percent")
    return _IN_DOUBT
