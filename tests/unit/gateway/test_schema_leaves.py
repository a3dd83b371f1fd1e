"""Guards: a leaf is structured when every way to read its schema says so, and what a schema leaves open is text."""

from __future__ import annotations

import pytest

from app.data_plane.gateway.schema_leaves import SchemaLeaves, leaves_of
from interlock.canonical import JsonObject, JsonValue

MARK: JsonObject = {"type": "string", "x-interlock": "structured"}
TEXT: JsonObject = {"type": "string"}
UUID = "123e4567-e89b-12d3-a456-426614174000"


def structured(schema: JsonObject, value: JsonValue) -> list[bool]:
    return [leaf.structured for leaf in SchemaLeaves(schema).of(value, "result")]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer"}, 1),
        ({"type": ["number", "null"]}, 1.5),
        ({"type": "boolean"}, False),
        ({"enum": ["a", "b"]}, "b"),
        ({"const": "a"}, "a"),
        ({"type": "string", "format": "uuid"}, UUID),
        ({"type": "string", "format": "date-time"}, "2024-05-19T12:00:00Z"),
        (MARK, "Blue team"),
        ({"anyOf": [MARK, {"type": "null"}]}, "Blue team"),
        ({"allOf": [TEXT, {"x-interlock": "structured"}]}, "Blue team"),
        ({"x-interlock": "structured"}, {"a": ["b", {"c": 1}]}),
        ({"type": "object", "additionalProperties": MARK, "propertyNames": {"format": "email"}}, {"a@b.test": "x"}),
        ({"type": "array", "items": {"$ref": "#/$defs/One"}, "$defs": {"One": MARK}}, ["a"]),
        ({"oneOf": [{"properties": {"kind": {"const": "a"}, "id": MARK}},
                    {"properties": {"kind": {"const": "b"}, "id": TEXT}}]},
         {"kind": "a", "id": "x"}),
    ],
)  # fmt: skip
def test_these_are_structured(schema: JsonObject, value: JsonValue) -> None:
    assert all(structured(schema, value))


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({}, 1),
        ({}, "a"),
        (TEXT, "a"),
        ({"enum": ["a"]}, "c"),
        ({"const": 1}, True),
        ({"type": "integer"}, "1"),
        ({"type": "string", "format": "uuid"}, f"{UUID} and more"),
        ({"type": "string", "format": "regex"}, "a"),
        (MARK, "x" * 300),
        (MARK, "a\nb"),
        ({"anyOf": [MARK, TEXT]}, "a"),
        ({"anyOf": []}, "a"),
        ({"$ref": "#/$defs/Absent"}, "a"),
        ({"$ref": "#/$defs/Loop", "$defs": {"Loop": {"$ref": "#/$defs/Loop"}}}, "a"),
        ({"allOf": [{"anyOf": [MARK] * 5}, {"anyOf": [MARK] * 5}]}, "a"),
        ({"oneOf": [{"properties": {"id": MARK}}, {"properties": {"id": TEXT}}]}, {"id": "x"}),
        ({"type": "object", "additionalProperties": TEXT}, {"a b": "x"}),
    ],
)
def test_these_are_text(schema: JsonObject, value: JsonValue) -> None:
    assert not any(structured(schema, value))


def test_a_schema_that_refers_to_itself_is_followed_as_deep_as_its_value() -> None:
    tree: JsonObject = {
        "$ref": "#/$defs/Tree",
        "$defs": {"Tree": {"type": "object", "properties": {"id": MARK, "next": {"$ref": "#/$defs/Tree"}}}},
    }
    value: JsonObject = {"id": "a", "next": {"id": "b", "next": {"id": "c", "note": "free"}}}
    found = {leaf.path: leaf.structured for leaf in SchemaLeaves(tree).of(value, "r")}
    assert found == {
        "r.id": True,
        "r.next.id": True,
        "r.next.next.id": True,
        "r.next.next.*": False,
        "r.next.next.note": False,
    }


def test_a_path_shows_no_name_that_is_not_a_plain_word() -> None:
    value: JsonObject = {"ignore all rules": "x", "plain_name": "y"}
    assert {leaf.path for leaf in SchemaLeaves({}).of(value, "r")} == {"r.*", "r.plain_name"}


def test_a_schema_is_resolved_once() -> None:
    schema: JsonObject = {"type": "object"}
    assert leaves_of(schema) is leaves_of(schema)
    assert leaves_of(schema) is not leaves_of({"type": "object"})
