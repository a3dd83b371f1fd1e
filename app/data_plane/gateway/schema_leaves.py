"""A value's leaves beside what its schema says of them: structured text, a choice among named values, or free text.

What a schema leaves open counts as free text. Where alternatives fit (``anyOf``), a leaf is what all of them say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from app.data_plane.gateway.schema_views import SchemaViews, View, Views, members
from interlock.canonical import JsonObject, JsonValue

MAX_DEPTH = 32
"""Containers inside containers; what lies deeper is told as one leaf that equals nothing."""
MAX_WALKERS = 1_000
"""Schemas that are remembered in their resolved form."""

_QUOTED = re.compile(r"([\"'`])([A-Za-z_][A-Za-z0-9_-]{0,40})\1")
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")


class Leaf(NamedTuple):
    """One text, number, boolean or null of a value, or a member's name that its schema does not declare."""

    path: str
    value: JsonValue
    views: Sequence[View] = ()
    """The ways to read it."""
    is_name: bool = False
    beyond: bool = False
    """In place of all that lies too deep to be looked at."""

    @property
    def structured(self) -> bool:
        """No outsider writes prose here: a number, an enum, a known format, or marked so."""
        if self.is_name:
            return bool(self.views) and all(view.is_structured_name(str(self.value)) for view in self.views)
        return bool(self.views) and all(view.is_structured(self.value) for view in self.views)

    @property
    def choice(self) -> bool:
        """One of a few values that the schema names: an enum, a constant, a boolean."""
        return (
            bool(self.views) and not self.is_name and all(view.is_choice(self.value) for view in self.views)
        )


class SchemaLeaves:
    """Walks values of one schema, which must not change."""

    def __init__(self, schema: JsonObject) -> None:
        self._schema = schema
        self._views = SchemaViews(schema)
        self._words: dict[str, frozenset[str]] = {}

    def of(self, value: JsonValue, path: str) -> Iterator[Leaf]:
        """The leaves of ``value``, which stands at ``path``."""
        return self._walk(value, path, self._views.root, 0)

    def of_member(self, name: str, value: JsonValue) -> Iterator[Leaf]:
        """The leaves of one member of an object of this schema."""
        return self._walk(value, name, self._views.member(self._views.root, name), 1)

    def words(self, name: str) -> frozenset[str]:
        """The words that the description of a member puts in quotes, such as values and names that it may have."""
        if name not in self._words:
            part = members(self._schema).get(name)
            told = part.get("description") if isinstance(part, Mapping) else None
            found = _QUOTED.findall(told) if isinstance(told, str) else []
            self._words[name] = frozenset(word for _, word in found)
        return self._words[name]

    def _walk(self, value: JsonValue, path: str, views: Views, depth: int) -> Iterator[Leaf]:
        fitting = [view for view in views if view.fits(value)]
        if not isinstance(value, (Mapping, list, tuple)):
            yield Leaf(path, value, fitting)
        elif depth >= MAX_DEPTH:
            yield Leaf(path, None, beyond=True)
        elif isinstance(value, Mapping):
            yield from self._object(value, path, tuple(fitting), depth)
        else:
            items = self._views.items(tuple(fitting))
            for item in value:
                yield from self._walk(item, f"{path}[]", items, depth + 1)

    def _object(self, value: JsonObject, path: str, views: Views, depth: int) -> Iterator[Leaf]:
        for name, item in value.items():
            if not any(name in view.properties for view in views):
                yield Leaf(f"{path}.*", name, views, is_name=True)
            yield from self._walk(item, f"{path}.{plain(name)}", self._views.member(views, name), depth + 1)


_WALKERS: dict[int, SchemaLeaves] = {}


def leaves_of(schema: JsonObject) -> SchemaLeaves:
    """The walker of a schema, made once for each of the last ones that were asked for."""
    walker = _WALKERS.get(id(schema))
    if walker is None:
        if len(_WALKERS) >= MAX_WALKERS:
            _WALKERS.clear()
        # It holds the schema, so that no other one can take its id.
        walker = _WALKERS[id(schema)] = SchemaLeaves(schema)
    return walker


def plain(name: str) -> str:
    """A member's name as a part of a path, which is shown to people: ``*`` when it is not a plain word."""
    return name if _PLAIN_NAME.fullmatch(name) else "*"
