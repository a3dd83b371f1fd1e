"""Guards: a proposal fits its stage's schema exactly, and no answer of any model raises."""

from __future__ import annotations

import json

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.data_plane.agent_runs.proposals import MAX_CHARACTERS, Proposal, Rejection, read_answer
from app.kernel.proposal_schema import problems

SCHEMA = {
    "type": "object",
    "properties": {
        "severity": {"type": "string", "enum": ["low", "high"]},
        "why": {"type": "string", "minLength": 1, "maxLength": 40, "description": "one sentence"},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        "count": {"type": "integer", "minimum": 0},
        "risky": {"type": "boolean"},
        "labels": {"type": "array", "items": {"type": "string", "enum": ["bug", "docs"]}, "maxItems": 2},
    },
    "required": ["severity"],
    "additionalProperties": False,
}
JUDGE = jsonschema_rs.validator_for(SCHEMA)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50)
near_misses = st.fixed_dictionaries(
    {},
    optional={
        "severity": st.sampled_from(["low", "high", "medium", 1, None]),
        "why": st.text(max_size=50) | st.integers(),
        "confidence": st.floats(-0.5, 1.5) | st.sampled_from([0, 1, 2, True, "0.5", None]),
        "count": st.integers(-2, 2**64) | st.sampled_from([1.0, True]),
        "risky": st.sampled_from([True, False, 0, "true"]),
        "labels": st.lists(st.sampled_from(["bug", "docs", "new"]), max_size=3),
        "extra": scalars,
    },
)


def read(answer: object) -> Proposal | Rejection:
    return read_answer(json.dumps(answer), SCHEMA)


@given(st.text() | st.text(alphabet='{}[]",:\\0123456789.eE-truefalsn ').map(str) | st.binary().map(repr))
def test_no_text_raises(text: str) -> None:
    assert isinstance(read_answer(text, SCHEMA), Proposal | Rejection)


@given(near_misses)
def test_what_the_schema_refuses_is_never_a_proposal(answer: dict[str, object]) -> None:
    """The judge is another implementation of JSON Schema; we may refuse more than it does, never less."""
    found = read(answer)
    if isinstance(found, Proposal):
        assert JUDGE.is_valid(json.loads(found.body))
        assert found.value == answer or not JUDGE.is_valid(answer)


hits = st.fixed_dictionaries(
    {"severity": st.sampled_from(["low", "high"])},
    optional={
        "why": st.text(min_size=1, max_size=40),
        "confidence": st.floats(0, 1) | st.sampled_from([0, 1]),
        "count": st.integers(0, 2**64) | st.just(1.0),
        "risky": st.booleans(),
        "labels": st.lists(st.sampled_from(["bug", "docs"]), max_size=2),
    },
)


@given(hits)
def test_what_the_schema_allows_is_a_proposal(answer: dict[str, object]) -> None:
    """Except what cannot be stored or counted: NUL, and what exceeds 64 bits."""
    assert JUDGE.is_valid(answer)
    why, count = str(answer.get("why", "")), answer.get("count", 0)
    odd = "\x00" in why or (isinstance(count, int) and count >= 2**63)
    found = read(answer)
    assert isinstance(found, Rejection) if odd else isinstance(found, Proposal) and found.value == answer


@pytest.mark.parametrize(
    ("text", "path", "reason"),
    [
        ("", "", "empty"),
        ("Sure! {}", "severity", "missing"),
        ("[]", "", "an object"),
        ('{"severity": ', "severity", "missing"),
        ('{"severity": "low", "severity": "high"}', "", "same key twice"),
        ('{"severity": NaN}', "severity", "text"),
        ('{"severity": "medium"}', "severity", "'low' or 'high'"),
        ('{"severity": "low", "labels": ["bug", "new"]}', "labels.1", "'bug' or 'docs'"),
        ('{"severity": "low", "lables": ["bug"]}', "lables", "not permitted"),
        ('{"severity": "low", "why": "\\ud800"}', "why", "surrogate"),
        ('{"severity": "low", "why": "\\u0000"}', "why", "NUL"),
        ('{"severity": "low", "count": 9223372036854775808}', "count", "from -9223372036854775808"),
        ('{"severity": "low", "confidence": 1.5}', "confidence", "1 or less"),
        ('{"severity": "low", "confidence": "half"}', "confidence", "number"),
        ('{"severity": "low", "confidence": 1e999}', "confidence", "number"),
        ('{"severity": "low", "count": ' + "9" * 5000 + "}", "", "digits"),
        ('{"severity": ' + "[" * 100_000, "", "nested deeper"),
        (" " * (MAX_CHARACTERS + 1), "", "longer than"),
    ],
)
def test_a_rejection_says_where_and_why(text: str, path: str, reason: str) -> None:
    found = read_answer(text, SCHEMA)
    assert isinstance(found, Rejection)
    assert found.path == path
    assert reason in found.reason


def test_brackets_inside_strings_are_no_depth() -> None:
    assert isinstance(read({"severity": "low", "why": "[" * 40}), Proposal)


def test_a_rejection_does_not_quote_the_answers_values() -> None:
    """Answers may hold what must not be logged; a reason is logged."""
    assert "hunter2" not in str(read({"severity": "hunter2"}))


def test_a_whole_number_above_2_to_the_53_is_not_rounded() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "number"}}, "additionalProperties": False}
    found = read_answer('{"n": 9007199254740993}', schema)
    assert isinstance(found, Proposal)
    assert found.body == b'{"n":9007199254740993}'


def test_properties_may_have_names_that_pydantic_uses() -> None:
    names = ["schema", "copy", "model_config", "json"]
    schema = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in names},
        "required": names,
        "additionalProperties": False,
    }
    found = read_answer(json.dumps(dict.fromkeys(names, "x")), schema)
    assert isinstance(found, Proposal)
    assert found.value == dict.fromkeys(names, "x")


def test_an_unsupported_schema_rejects_instead_of_raising() -> None:
    found = read_answer("{}", {"type": "object", "properties": {"a": {"$ref": "#"}}})
    assert isinstance(found, Rejection)
    assert "not supported" in found.reason


def with_property(**body: object) -> dict[str, object]:
    return {"type": "object", "properties": {"a": body}, "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ([], "schema"),
        ({**SCHEMA, "additionalProperties": True}, "additionalProperties"),
        ({key: SCHEMA[key] for key in ("type", "properties")}, "additionalProperties"),
        ({**SCHEMA, "patternProperties": {}}, "patternProperties"),
        ({**SCHEMA, "required": ["nobody"]}, "'nobody', which is no property"),
        ({**SCHEMA, "properties": {}}, "properties"),
        ({**SCHEMA, "properties": {"a b": {"type": "string"}}}, "a b"),
        (with_property(type="string", pattern="(?=x)"), "pattern"),
        (with_property(type="string", pattern="(a)\\1"), "pattern"),
        (with_property(type="string", enum=[]), "enum"),
        (with_property(type="string", format="email", minLenght=3), "minLenght"),
        (with_property(**{"x-aliases": {"a": ["b"]}}), "x-aliases"),
        (with_property(enum=["a"], **{"x-aliases": {"b": ["c"]}}), "no value of the enum"),
        (with_property(type="string", minLength=3, maxLength=2), "above"),
        (with_property(type="integer", minimum=3, maximum=2), "above"),
        (with_property(type="integer", minimum="1"), "minimum"),
        (with_property(type="number", maximum=float("nan")), "nan"),
        (with_property(type="array", items={"type": "text"}), "no type"),
        (with_property(type="object", required=["b"]), "'b', which is no property"),
        (with_property(anyOf=[]), "anyOf"),
        (with_property(**{"not": {"type": "string"}}), "not"),
        (with_property(**{"$ref": "#/$defs/Absent"}), "no definition"),
        (with_property(**{"$ref": "https://example.org/schema"}), "$ref"),
        (
            {**with_property(**{"$ref": "#/$defs/A"}), "$defs": {"A": {"anyOf": [{"$ref": "#/$defs/A"}]}}},
            "itself",
        ),
    ],
)
def test_publishing_is_told_what_a_schema_says_beyond_the_subset(schema: object, says: str) -> None:
    assert says in "; ".join(problems(schema))  # type: ignore[arg-type]


def test_the_supported_schema_has_no_problems() -> None:
    assert problems(SCHEMA) == []
