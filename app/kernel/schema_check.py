"""The strict check of a value against a compiled schema: the last gate before a value is used."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from app.kernel.linear_pattern import MAX_CHARACTERS
from app.kernel.proposal_schema import HIGHEST, LOWEST, Node, is_storable
from interlock.canonical import JsonValue, NotCanonicalError, canonical_bytes

MAX_VALUE_DEPTH = 32
"""Objects and lists inside each other that a value with a schema may have."""
_NAMED_CHOICES = 12
_NOUNS = {
    "object": "an object",
    "array": "a list",
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}


@dataclass(frozen=True, slots=True)
class Misfit:
    """Where a value does not fit its schema, and why. It quotes the schema, never the value."""

    path: tuple[str | int, ...]
    reason: str

    def under(self, part: str | int) -> Misfit:
        """The same, seen from one container further out."""
        return Misfit((part, *self.path), self.reason)

    @property
    def field(self) -> str:
        """The field that it is about; empty for the value as a whole."""
        return str(self.path[0]) if self.path else ""

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.path))}: {self.reason}" if self.path else self.reason


def misfit(node: Node, value: JsonValue) -> Misfit | None:
    """Why ``value`` does not fit, or nothing if it does; it then is storable, too, and has 64-bit numbers."""
    return Check().of(node, value, 0)


def type_of(value: JsonValue) -> str:
    """The JSON type of a value, with ``integer`` for whole numbers written as such."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "object" if isinstance(value, Mapping) else "array"


def equal(left: JsonValue, right: JsonValue) -> bool:
    """Whether two values are the same JSON: ``1`` is ``1.0``, and is not ``true``."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, (Mapping, list, tuple)) and isinstance(right, (Mapping, list, tuple)):
        try:
            return canonical_bytes(left) == canonical_bytes(right)
        except NotCanonicalError:
            return False
    return left == right


def told_types(types: tuple[str, ...]) -> str:
    """The types as words of a sentence."""
    return " or ".join(_NOUNS[name] for name in types)


class Check:
    """One check; remembers containers and parts, so that unions inside unions stay linear."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], Misfit | None] = {}

    def of(self, node: Node, value: JsonValue, depth: int) -> Misfit | None:
        """Why ``value``, which stands ``depth`` containers deep, does not fit ``node``.

        All values that one check is asked about must live as long as it does.
        """
        if not isinstance(value, (dict, list)):
            return self._checked(node, value, depth)
        key = (id(node), id(value))
        if key not in self._known:
            if depth > MAX_VALUE_DEPTH:
                return Misfit((), f"it is nested deeper than {MAX_VALUE_DEPTH} levels")
            self._known[key] = self._checked(node, value, depth)
        return self._known[key]

    def _checked(self, node: Node, value: JsonValue, depth: int) -> Misfit | None:
        kind = type_of(value)
        if node.types and kind not in node.types and not (kind == "integer" and "number" in node.types):
            return Misfit((), f"it should be {told_types(node.types)}")
        if node.choices is not None and not any(equal(value, choice.value) for choice in node.choices):
            return Misfit((), _choices(node))
        if node.target is not None and (found := self.of(node.target, value, depth)):
            return found
        return next((found for found in self._parts(node, value, depth) if found is not None), None)

    def _parts(self, node: Node, value: JsonValue, depth: int) -> Iterator[Misfit | None]:
        if isinstance(value, str):
            yield _text(node, value)
        elif isinstance(value, Mapping):
            yield from self._object(node, value, depth)
        elif isinstance(value, (list, tuple)):
            yield from self._list(node, value, depth)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield _number(node, value)
        for part in node.all_of:
            yield self.of(part, value, depth)
        if node.any_of:
            found = [self.of(part, value, depth) for part in node.any_of]
            yield None if None in found else _nearest(found)
        if node.one_of:
            found = [self.of(part, value, depth) for part in node.one_of]
            if found.count(None) > 1:
                yield Misfit((), "it fits more than one of its alternatives")
            yield None if None in found else _nearest(found)

    def _object(self, node: Node, value: Mapping[str, JsonValue], depth: int) -> Iterator[Misfit | None]:
        for name in node.required:
            if name not in value:
                yield Misfit((name,), "it is missing")
        yield _bounded(len(value), node.min_properties, node.max_properties, "properties")
        for name, item in value.items():
            if not is_storable(name):
                yield Misfit((), "a name has a NUL or a lone surrogate")
            elif name in node.properties:
                yield _under(self.of(node.properties[name], item, depth + 1), name)
            elif isinstance(node.additional, Node):
                yield _under(self.of(node.additional, item, depth + 1), name)
            elif not node.additional:
                yield Misfit((name,), "this property is not permitted")
            else:
                yield _under(self.of(_ANYTHING, item, depth + 1), name)

    def _list(
        self, node: Node, value: list[JsonValue] | tuple[JsonValue, ...], depth: int
    ) -> Iterator[Misfit | None]:
        yield _bounded(len(value), node.min_items, node.max_items, "items")
        for position, item in enumerate(value):
            if position < len(node.prefix):
                yield _under(self.of(node.prefix[position], item, depth + 1), position)
            elif node.closed_items:
                yield Misfit((position,), "this item is not permitted")
            else:
                yield _under(self.of(node.items or _ANYTHING, item, depth + 1), position)
        if node.unique:
            yield _repeated(value)


_ANYTHING = Node()


def _under(found: Misfit | None, part: str | int) -> Misfit | None:
    return found.under(part) if found is not None else None


def _nearest(found: list[Misfit | None]) -> Misfit:
    """The misfit that lies deepest: the alternative that was most likely meant."""
    return max((one for one in found if one is not None), key=lambda one: len(one.path))


def _choices(node: Node) -> str:
    names = [repr(choice.value) for choice in node.choices or ()]
    told = " or ".join(names) if len(names) <= _NAMED_CHOICES else f"one of {len(names)} values"
    return f"it should be {told}"


def _bounded(size: int, low: int | None, high: int | None, what: str) -> Misfit | None:
    if low is not None and size < low:
        return Misfit((), f"it has fewer than {low} {what}")
    if high is not None and size > high:
        return Misfit((), f"it has more than {high} {what}")
    return None


def _text(node: Node, value: str) -> Misfit | None:
    if not is_storable(value):
        return Misfit((), "the text has a NUL or a lone surrogate")
    if found := _bounded(len(value), node.min_length, node.max_length, "characters"):
        return found
    if node.pattern is not None and (len(value) > MAX_CHARACTERS or not node.pattern.matches(value)):
        return Misfit((), "the text does not match its pattern")
    return None


def _number(node: Node, value: float) -> Misfit | None:
    if isinstance(value, int) and not LOWEST <= value <= HIGHEST:
        return Misfit((), f"it should be from {LOWEST} to {HIGHEST}")
    if not math.isfinite(value):
        return Misfit((), "it should be a finite number")
    if node.minimum is not None and value < node.minimum:
        return Misfit((), f"it should be {node.minimum} or more")
    if node.maximum is not None and value > node.maximum:
        return Misfit((), f"it should be {node.maximum} or less")
    if node.above is not None and value <= node.above:
        return Misfit((), f"it should be more than {node.above}")
    if node.below is not None and value >= node.below:
        return Misfit((), f"it should be less than {node.below}")
    if node.multiple is not None and value % node.multiple:
        return Misfit((), f"it should be a multiple of {node.multiple}")
    return None


def _repeated(value: list[JsonValue] | tuple[JsonValue, ...]) -> Misfit | None:
    seen: set[bytes] = set()
    for position, item in enumerate(value):
        try:
            # As in JSON Schema, 1 and 1.0 are the same.
            told = canonical_bytes(int(item) if isinstance(item, float) and item.is_integer() else item)
        except NotCanonicalError:
            continue
        if told in seen:
            return Misfit((position,), "it is there twice")
        seen.add(told)
    return None
