"""A proposal's schema in plain words, for a person who has to write one: its fields, and why a value does not fit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from app.kernel.proposal_schema import Node, compiled
from app.kernel.schema_check import Misfit, misfit
from interlock.canonical import JsonObject

_TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "object",
    "array": "list",
    "null": "nothing",
}


@dataclass(frozen=True, slots=True)
class FieldTold:
    """One field of a proposal in plain words."""

    name: str
    type: str
    allowed: str
    """Which values, as far as the schema says so; else empty."""
    required: bool
    description: str


def fields_of(schema: JsonObject) -> tuple[FieldTold, ...]:
    """What a proposal consists of: first what must be there. ``schema`` is a supported one."""
    node = compiled(schema)
    told = [
        FieldTold(name, *_words(part), name in node.required, part.description or part.title)
        for name, part in node.properties.items()
    ]
    return tuple(sorted(told, key=lambda one: not one.required))


def misfits(schema: JsonObject, value: JsonObject) -> tuple[Misfit, ...]:
    """Why ``value`` does not fit ``schema``, a supported one, for each field; empty when it does.

    The reasons are for people. What is recorded names the fields alone: words may change with the version.
    """
    node = compiled(schema)
    found = tuple(_by_field(node, value))
    whole = None if found else misfit(node, value)
    return found if whole is None else (whole,)


def _by_field(node: Node, value: JsonObject) -> Iterator[Misfit]:
    for name in node.required:
        if name not in value:
            yield Misfit((name,), "it is missing")
    for name, given in value.items():
        part = node.properties.get(name)
        if part is None and node.additional is False:
            yield Misfit((name,), "there is no such field")
        elif part is not None and (wrong := misfit(part, given)) is not None:
            yield wrong.under(name)


def _words(node: Node) -> tuple[str, str]:
    """A part's type, and which values it allows."""
    if node.target is not None:
        return _words(node.target)
    if node.choices is not None:
        return "one of", ", ".join(json.dumps(choice.value, ensure_ascii=False) for choice in node.choices)
    if alternatives := (*node.any_of, *node.one_of):
        told = [_words(part) for part in alternatives]
        return " or ".join(name for name, _ in told), "; ".join(allowed for _, allowed in told if allowed)
    name = " or ".join(_TYPES[one] for one in node.types) or "any value"
    if node.items is not None:
        kind, allowed = _words(node.items)
        bounds = (_between(node.min_items, node.max_items, " items"), allowed)
        return f"{name}, each {kind}", "; ".join(bound for bound in bounds if bound)
    if node.properties:
        return name, ", ".join(f"{field} ({_words(part)[0]})" for field, part in node.properties.items())
    return name, _between(node.min_length, node.max_length, " characters") or _between(
        node.minimum, node.maximum
    )


def _between(low: float | None, high: float | None, unit: str = "") -> str:
    if low is not None and high is not None:
        return f"{low} to {high}{unit}"
    if low is not None:
        return f"{low}{unit} or more"
    return f"at most {high}{unit}" if high is not None else ""
