"""Guards: what models write is recovered, and hardly ever as another value than was meant."""

from __future__ import annotations

import json

import jsonschema_rs
import pytest

from app.data_plane.parsing.answer import Parsed, Rejection, read, read_as
from app.kernel.proposal_schema import compiled
from tests.unit.parsing.scoring import REJECTED, Case, development_set, equal, score, typed_set, untyped_set


def test_plain_json_of_the_development_set_is_read_without_exception() -> None:
    plain = [case for case in development_set() if case.is_plain]
    counted = score(plain)
    assert counted.recovered == counted.total > 100, counted
    assert all(read(case.text) == Parsed(json.loads(case.text)) for case in plain)


def test_the_rest_of_the_development_set_is_recovered_and_hardly_ever_wrong() -> None:
    """The thresholds are those of the task; what is asserted beyond them keeps what was reached."""
    counted = score(case for case in development_set() if not case.is_plain)
    assert counted.recovered >= 0.97 * counted.total, counted.rejected
    assert len(counted.wrong) <= 0.01 * counted.total, counted.wrong


def test_our_own_set_is_large_enough_and_has_what_must_be_rejected() -> None:
    cases = typed_set()
    assert len(cases) >= 150
    assert sum(case.expected is REJECTED for case in cases) >= 50
    assert len({case.id for case in cases}) == len(cases)


@pytest.mark.parametrize("case", untyped_set(), ids=lambda case: case.id)
def test_an_answer_without_schema_gives_what_it_plainly_means_or_nothing(case: Case) -> None:
    found = read(case.text)
    if case.expected is REJECTED:
        assert isinstance(found, Rejection), found
    else:
        assert isinstance(found, Parsed), found
        assert equal(found.value, case.expected), found.value


@pytest.mark.parametrize("case", typed_set(), ids=lambda case: case.id)
def test_a_typed_answer_gives_the_value_that_is_meant_or_a_rejection_with_its_path(case: Case) -> None:
    assert case.schema is not None
    found = read_as(case.text, case.schema)
    if case.expected is REJECTED:
        assert isinstance(found, Rejection), found
        assert found.path == case.path
    else:
        assert isinstance(found, Parsed), found
        assert equal(found.value, case.expected), found.value
        assert jsonschema_rs.validator_for(case.schema).is_valid(found.value)
        assert all(len(repair.code) < 25 for repair in found.repairs)


def test_the_schemas_of_our_own_set_are_all_supported() -> None:
    for case in typed_set():
        assert case.schema is not None
        compiled(case.schema)
