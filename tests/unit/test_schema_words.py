"""What a person is told of a proposal's schema, and of a value that does not fit it."""

from __future__ import annotations

import pytest

from app.kernel.schema_words import FieldTold, fields_of, misfits
from interlock.canonical import JsonObject, JsonValue

SCHEMA: JsonObject = {
    "type": "object",
    "properties": {
        "level": {"type": "string", "enum": ["high", "not, really"], "description": "How bad it is."},
        "note": {"type": "string", "minLength": 1, "maxLength": 20},
        "score": {"type": "number", "minimum": 0},
        "count": {"type": "integer", "minimum": 1, "maximum": 5},
        "open": {"type": "boolean"},
        "labels": {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}, "maxItems": 2},
    },
    "required": ["level", "open"],
    "additionalProperties": False,
}


def test_each_field_is_told_in_plain_words_and_first_what_must_be_there() -> None:
    assert fields_of(SCHEMA) == (
        FieldTold("level", "one of", '"high", "not, really"', True, "How bad it is."),
        FieldTold("open", "true or false", "", True, ""),
        FieldTold("count", "whole number", "1 to 5", False, ""),
        FieldTold("labels", "list, each one of", 'at most 2 items; "a", "b"', False, ""),
        FieldTold("note", "text", "1 to 20 characters", False, ""),
        FieldTold("score", "number", "0 or more", False, ""),
    )


@pytest.mark.parametrize(
    ("given", "path", "reason"),
    [
        ({"level": "low"}, "level", "'high'"),
        ({"open": "yes"}, "open", "true or false"),
        ({"score": -1}, "score", "0"),
        ({"score": "much"}, "score", "a number"),
        ({"count": True}, "count", "a whole number"),
        ({"labels": ["a", "c"]}, "labels.1", "'a' or 'b'"),
        ({"labels": ["a", "a", "a"]}, "labels", "2"),
        ({"note": None}, "note", "a text"),
        ({"colour": "red"}, "colour", "no such field"),
    ],
)
def test_what_does_not_fit_is_told_by_field(given: dict[str, JsonValue], path: str, reason: str) -> None:
    """A person corrects what they wrote without reading the schema's own words."""
    (found,) = misfits(SCHEMA, {"level": "high", "open": True, **given})
    assert ".".join(map(str, found.path)) == path
    assert found.field == path.split(".")[0]
    assert reason in found.reason


def test_every_field_that_is_missing_is_told() -> None:
    assert [found.path for found in misfits(SCHEMA, {})] == [("level",), ("open",)]
    assert misfits(SCHEMA, {"level": "high", "open": False}) == ()
