"""One value has one sequence of bytes: ids, digests and signatures rest on it."""

from __future__ import annotations

import json
import math

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from interlock import canonical
from interlock.canonical import MAX_DEPTH, NotCanonicalError, canonical_bytes, digest

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SAFE_INTEGERS = st.integers(-(2**53) + 1, 2**53 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def _values(numbers: st.SearchStrategy[int | float]) -> st.SearchStrategy[object]:
    scalars = st.none() | st.booleans() | numbers | TEXT
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
        max_leaves=20,
    )


@given(_values(SAFE_INTEGERS | FLOATS))
@example({"\ue000": 1, "\U00010000": 2})
@example([1e21, 1e-7, -0.0, 5e-324, 1.0, 123456789012345680000.0])
def test_it_writes_what_rfc_8785_says(value: object) -> None:
    """Within the RFC's domain the independent library is the judge."""
    assert canonical_bytes(value) == rfc8785.dumps(value)  # type: ignore[arg-type]


@given(_values(st.integers() | FLOATS))
@example([float("1e22"), 2**64, -(2**63)])
@example({"\uffff": [], "\U0001f600": {}, "a": "\u2028\x7f\x1f"})
def test_the_fast_path_writes_the_same_bytes_as_the_slow_one(value: object) -> None:
    """Otherwise a digest would depend on whether orjson is installed."""
    assert canonical_bytes(value) == canonical._encode(value, 0).encode()  # type: ignore[arg-type]


@given(_values(st.integers()))
def test_what_it_writes_reads_back_as_the_same_value(value: object) -> None:
    """Integers of any size are exact."""
    assert json.loads(canonical_bytes(value)) == value  # type: ignore[arg-type]


@given(_values(st.integers() | FLOATS))
@example(7.127787957075491e16)
def test_reading_and_writing_again_changes_no_byte(value: object) -> None:
    """A whole float comes back as an integer (RFC 8785 writes no point), and that has the same bytes."""
    once = canonical_bytes(value)  # type: ignore[arg-type]
    assert canonical_bytes(json.loads(once)) == once


@given(_values(st.integers() | FLOATS))
def test_the_order_of_keys_changes_no_digest(value: object) -> None:
    """Two hosts that build an object differently mean the same."""

    def reversed_keys(item: object) -> object:
        if isinstance(item, dict):
            return {key: reversed_keys(item[key]) for key in reversed(item)}
        return [reversed_keys(inner) for inner in item] if isinstance(item, list) else item

    assert digest(value) == digest(reversed_keys(value))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        [math.nan],
        {"a": [math.inf]},
        "\ud800",
        {"\udfff": 1},
        {1: 2},
        {"a": {1, 2}},
        [b"bytes"],
        pytest.param(object(), id="an object"),
    ],
    ids=repr,
)
def test_what_is_not_json_is_refused_and_never_rewritten(value: object) -> None:
    """orjson would write NaN as null: two values would share a digest."""
    with pytest.raises(NotCanonicalError):
        canonical_bytes(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["arrays", "objects"])
def test_depth_is_limited_at_the_same_level_for_both_paths(kind: str) -> None:
    """A deep value must neither crash the process nor be judged by which path it takes."""

    def nested(depth: int) -> object:
        value: object = []
        for _ in range(depth - 1):
            value = [value] if kind == "arrays" else {"a": value}
        return value

    for depth, accepted in ((MAX_DEPTH, True), (MAX_DEPTH + 2, False), (50_000, False)):
        for encode in (canonical_bytes, lambda value: canonical._encode(value, 0)):
            if accepted:
                encode(nested(depth))  # type: ignore[arg-type]
            else:
                with pytest.raises(NotCanonicalError):
                    encode(nested(depth))  # type: ignore[arg-type]
