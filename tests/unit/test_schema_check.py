"""Guards: the subset of JSON Schema means what it means elsewhere, and a misfit says where and why."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest
from pydantic import BaseModel

from app.kernel.proposal_schema import UnsupportedSchemaError, compiled
from app.kernel.schema_check import misfit


def told(schema: dict[str, Any], value: Any) -> str:
    found = misfit(compiled(schema), value)
    assert (found is None) <= jsonschema_rs.validator_for(schema).is_valid(value)
    return str(found or "")


@pytest.mark.parametrize(
    ("schema", "value", "says"),
    [
        ({"type": "integer"}, True, "whole number"),
        ({"type": ["integer", "null"]}, "1", "a whole number or null"),
        ({"const": 1}, True, "it should be 1"),
        ({"const": 1}, 1.0, ""),
        ({"enum": [[1, 2]]}, [1, 2], ""),
        ({"enum": ["a"]}, "b", "'a'"),
        ({"type": "number", "exclusiveMinimum": 0}, 0, "more than 0"),
        ({"type": "number", "exclusiveMaximum": 1}, 1, "less than 1"),
        ({"type": "integer", "multipleOf": 5}, 7, "multiple of 5"),
        ({"type": "integer"}, 2**63, "from"),
        ({"minLength": 2}, "a", "fewer than 2 characters"),
        ({"minLength": 2}, 1, ""),
        ({"maxItems": 1}, [1, 2], "more than 1 items"),
        ({"uniqueItems": True}, [1, {"a": 1}, {"a": 1}], "2: it is there twice"),
        ({"uniqueItems": True}, [1, True], ""),
        (
            {"prefixItems": [{"type": "string"}], "items": {"type": "integer"}},
            ["a", "b"],
            "1: it should be a whole",
        ),
        ({"prefixItems": [{}], "items": False}, [1, 2], "1: this item is not permitted"),
        ({"properties": {"a": {}}, "required": ["a"]}, {}, "a: it is missing"),
        (
            {"properties": {"a": {}}, "additionalProperties": False},
            {"b": 1},
            "b: this property is not permitted",
        ),
        ({"additionalProperties": {"type": "string"}}, {"b": 1}, "b: it should be a text"),
        ({"minProperties": 1}, {}, "fewer than 1 properties"),
        (
            {"anyOf": [{"type": "null"}, {"properties": {"a": {"type": "string"}}}]},
            {"a": 1},
            "a: it should be a text",
        ),
        ({"oneOf": [{"type": "integer"}, {"minimum": 0}]}, 1, "more than one"),
        ({"allOf": [{"type": "string"}, {"maxLength": 1}]}, "ab", "more than 1 characters"),
        ({"pattern": "^a+$"}, "ab", "pattern"),
        ({"format": "email", "title": "T", "examples": [1], "default": 2}, "x", ""),
        ({}, "\ud800", "surrogate"),
        ({}, {"a": ["\x00"]}, "a.0: the text has a NUL"),
    ],
)
def test_a_value_fits_or_is_told_where_it_does_not(schema: dict[str, Any], value: Any, says: str) -> None:
    found = told(schema, value) if says != "surrogate" else str(misfit(compiled(schema), value))
    assert says in found
    assert bool(found) == bool(says)


class _Step(BaseModel):
    """A schema of pydantic's own making."""

    title: str
    days: int | None = None
    after: list[_Step] = []


def test_what_pydantic_makes_of_a_model_is_supported() -> None:
    schema = _Step.model_json_schema()
    assert told(schema, {"title": "a", "after": [{"title": "b", "days": 1}]}) == ""
    assert told(schema, {"title": "a", "after": [{"days": 1}]}) == "after.0.title: it is missing"


def test_a_schema_without_end_is_refused_instead_of_followed() -> None:
    with pytest.raises(UnsupportedSchemaError, match="refers to itself"):
        compiled({"$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}}, "$ref": "#/$defs/A"})
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"items": deep}
    with pytest.raises(UnsupportedSchemaError, match="too deep"):
        compiled(deep)
