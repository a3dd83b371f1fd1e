"""A tool's models as JSON Schema, without what a rewording would change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import BaseModel

from interlock.canonical import JsonObject, JsonValue

MARK = "x-interlock"
"""The keyword that says what the gateway has to know of a part."""

_NAMED = frozenset({"properties", "$defs"})
"""Keywords whose members go by names of the tool's own: one may be called ``title``."""
_VALUES = frozenset({"default", "const", "enum", "examples"})
"""Keywords that hold values, and no schemas."""


def schema_of(model: type[BaseModel], mode: Literal["validation", "serialization"]) -> JsonObject:
    """The schema of a model: rewording a class's docstring or renaming it must not make another release.

    What a field's own ``description`` says stays: a model reads it.
    """
    schema = _without_titles(model.model_json_schema(mode=mode))
    assert isinstance(schema, dict)
    for part in (schema, *schema.get("$defs", {}).values()):
        part.pop("description", None)
    return schema


def open_objects(schema: JsonObject) -> Iterator[str]:
    """The arguments and definitions of which a part takes members that it does not know, and drops them."""
    for keyword in ("properties", "$defs"):
        parts = schema.get(keyword, {})
        assert isinstance(parts, Mapping)
        for name, part in parts.items():
            if _is_open(part):
                yield name


def _is_open(part: JsonValue) -> bool:
    if isinstance(part, Mapping):
        if "properties" in part and part.get("additionalProperties") is not False:
            return True
        return any(_is_open(item) for item in part.values())
    return isinstance(part, (list, tuple)) and any(_is_open(item) for item in part)


def _without_titles(value: JsonValue, *, named: bool = False) -> JsonValue:
    """Drops the titles that pydantic derives from names: its next version may derive others."""
    if isinstance(value, Mapping):
        return {
            key: item
            if key in _VALUES and not named
            else _without_titles(item, named=key in _NAMED and not named)
            for key, item in value.items()
            if named or key != "title"
        }
    if isinstance(value, (list, tuple)):
        return [_without_titles(item) for item in value]
    return value
