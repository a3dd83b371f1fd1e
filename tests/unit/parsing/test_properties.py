"""Guards: laws that hold for every text and every schema, tried on what hypothesis makes up.

``jsonschema_rs`` is the judge of what fits a schema: another implementation, which shares nothing with ours.
"""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from app.data_plane.parsing.answer import Parsed, Rejection, read, read_as
from app.kernel.proposal_schema import compiled
from app.kernel.schema_check import misfit
from tests.unit.parsing.scoring import equal

SYNTAX = "{}[]()\",:\\'`/*#+-.0123456789eE \n\ttruefalsnN_=<>|\u201c\u201d\u2026"
FRAGMENTS = (
    "```json\n", "```", "Here you are: ", '{"severity": "high"', '"why": "because "x" is"', "}", "]", "[", ", ", ": ",
    "'", "// no\n", "/* no */", "<think>", "</think>", "**Severity**: low\n", "None", "True", "1,234", "85%", "\\u12",
    "...",     "answer(", ");", '{"a": [1, 2', "NaN", "\ud800", "\x00", "\\", '\\"',
)  # fmt: skip
texts = (
    st.text()
    | st.text(alphabet=SYNTAX)
    | st.lists(st.sampled_from(FRAGMENTS) | st.text(SYNTAX, max_size=3)).map("".join)
)

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)

names = st.sampled_from(["severity", "why", "needs_answer", "count", "labels", "a"])
words = st.sampled_from(["low", "high", "needs_person", "p1", "none", "yes", "1", "1.5"])


def _objects(parts: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda properties, required, closed: {
            "type": "object",
            "properties": properties,
            "required": [name for name in properties if name in required],
            **closed,
        },
        st.dictionaries(names, parts, min_size=1, max_size=4),
        st.sets(names),
        st.sampled_from([{}, {"additionalProperties": False}, {"additionalProperties": {"type": "integer"}}]),
    )


leaves = st.one_of(
    st.sampled_from(
        [{"type": "string"}, {"type": "integer"}, {"type": "number"}, {"type": "boolean"}, {"type": "null"}]
    ),
    st.builds(
        lambda of: {"type": "string", "enum": of}, st.lists(words, min_size=1, max_size=4, unique=True)
    ),
    st.builds(lambda one: {"const": one}, scalars),
    st.builds(lambda low: {"type": "string", "minLength": low, "maxLength": low + 5}, st.integers(0, 3)),
    st.builds(
        lambda low: {"type": "integer", "minimum": low, "exclusiveMaximum": low + 9}, st.integers(-3, 3)
    ),
    st.just({"type": ["number", "null"], "maximum": 1}),
    st.just({"type": "string", "pattern": r"^[a-z]+(?:_[a-z0-9]+)*$"}),
    st.just({}),
)
schemas = st.recursive(
    leaves,
    lambda parts: st.one_of(
        _objects(parts),
        st.builds(
            lambda items, unique: {"type": "array", "items": items, "uniqueItems": unique},
            parts,
            st.booleans(),
        ),
        st.builds(
            lambda items: {"type": "array", "prefixItems": items, "maxItems": 3},
            st.lists(parts, min_size=1, max_size=2),
        ),
        st.builds(lambda members: {"anyOf": members}, st.lists(parts, min_size=1, max_size=3)),
        st.builds(lambda members: {"oneOf": members}, st.lists(parts, min_size=1, max_size=3)),
    ),
    max_leaves=6,
)


def spelt(value: Any) -> Any:
    """The same, as a careless model spells it: names in capitals, scalars as texts."""
    if isinstance(value, dict):
        return {key.upper().replace("_", " "): spelt(item) for key, item in value.items()}
    if isinstance(value, list):
        return [spelt(item) for item in value]
    return str(value)


@given(texts)
@settings(deadline=None)
def test_no_text_raises(text: str) -> None:
    assert isinstance(read(text), Parsed | Rejection)


@given(texts, schemas)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_text_raises_and_none_gives_what_its_schema_refuses(text: str, schema: dict[str, Any]) -> None:
    found = read_as(text, schema)
    if isinstance(found, Parsed):
        assert jsonschema_rs.validator_for(schema).is_valid(found.value)


@given(values)
@settings(deadline=None)
def test_valid_json_gives_what_the_standard_parser_gives(value: Any) -> None:
    for text in (
        json.dumps(value),
        json.dumps(value, ensure_ascii=False, indent=2),
        f"\n{json.dumps(value)} ",
    ):
        found = read(text)
        assert isinstance(found, Parsed)
        assert found.repairs == ()
        assert equal(found.value, json.loads(text))


@given(values, schemas)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_value_that_fits_is_taken_as_it_stands_and_no_other_passes(
    value: Any, schema: dict[str, Any]
) -> None:
    """Our strict check may refuse more than the judge (NUL, lone surrogates), never less."""
    valid = jsonschema_rs.validator_for(schema).is_valid(value)
    strict = misfit(compiled(schema), value)
    assert valid or strict is not None
    for told in (value, spelt(value), [value], {"result": value}):
        found = read_as(json.dumps(told), schema)
        if isinstance(found, Parsed):
            assert jsonschema_rs.validator_for(schema).is_valid(found.value)
            assert misfit(compiled(schema), found.value) is None
    if strict is None:
        assert read_as(json.dumps(value), schema) == Parsed(value)


@given(schemas, st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
def test_a_fence_or_a_sentence_around_an_object_changes_nothing(
    schema: dict[str, Any], data: st.DataObject
) -> None:
    value = data.draw(st.dictionaries(names, scalars, min_size=1, max_size=4))
    plain = read_as(json.dumps(value), schema)
    assume(isinstance(plain, Parsed))
    assert isinstance(plain, Parsed)
    for text in (f"```json\n{json.dumps(value)}\n```", f"```\n{json.dumps(value, indent=2)}\n```\n"):
        found = read_as(text, schema)
        assert isinstance(found, Parsed)
        assert equal(found.value, plain.value)


plain_texts = st.text(alphabet="abcdefghij klmnop", min_size=1).map(str.strip).filter(bool)
flat = st.dictionaries(
    st.sampled_from(["one", "two", "three"]),
    st.integers(0, 99) | st.booleans() | plain_texts | st.lists(plain_texts, max_size=3),
    min_size=1,
)


def _breakages(value: dict[str, Any]) -> list[str]:
    text = json.dumps(value)
    return [
        text[:-1],
        text[:-1] + ",}",
        text + "}",
        text.replace('", "', '" "').replace('], "', '] "'),
        repr(value),
        json.dumps(value, indent=1).replace('"one"', "one").replace('"two"', "two"),
        "/* so */ " + text + " // so",
        f"Here it is: {text}\n\nThat is all.",
        json.dumps(text)[1:-1],
        f"answer({text});",
    ]


@given(flat)
@settings(deadline=None)
def test_one_breakage_of_a_plain_object_gives_the_object_or_nothing(value: dict[str, Any]) -> None:
    """A wrong value is worse than a rejection; these are told apart from the whole so easily that none is rejected."""
    for text in _breakages(value):
        found = read(text)
        assert isinstance(found, Parsed), text
        assert equal(found.value, value), text


@given(flat, st.integers(1, 30))
@settings(deadline=None)
def test_a_cut_off_object_never_has_more_than_the_whole(value: dict[str, Any], cut: int) -> None:
    """With a schema, what is cut off is left out; a text that is cut off begins as the whole one does."""
    schema = {"type": "object", "properties": {name: {} for name in ("one", "two", "three")}}
    text = json.dumps(value)
    found = read_as(text[:-cut], schema)
    if isinstance(found, Parsed):
        assert isinstance(found.value, dict)
        for name, item in found.value.items():
            whole = value[name]
            if isinstance(whole, str):
                assert isinstance(item, str)
                assert whole.startswith(item)
            elif isinstance(whole, list):
                assert isinstance(item, list)
                assert all(one.startswith(other) for one, other in zip(whole, item, strict=False))
            else:
                assert equal(item, whole)
