"""Guards: a long answer gives the same value as a short one, and is not read again from each of its brackets."""

from __future__ import annotations

import pytest

from app.data_plane.parsing.answer import MAX_CHARACTERS, Parsed, Rejection, read, read_as
from tests.unit.parsing.long_answers import SCHEMA, SIZES, LongAnswer, long_answers


@pytest.mark.parametrize(
    "answer", [one for size in SIZES for one in long_answers(size)], ids=lambda one: one.name
)
def test_a_long_answer_gives_its_value_however_it_is_written(answer: LongAnswer) -> None:
    found = read(answer.text)
    assert isinstance(found, Parsed), found
    assert found.value == answer.value
    typed = read_as(answer.text, SCHEMA)
    assert isinstance(typed, Parsed), typed
    assert typed.value == answer.value
    assert bool(found.repairs) == (answer.name not in ("plain", "indented"))


def test_what_is_longer_than_any_answer_is_rejected_before_it_is_read() -> None:
    found = read("[" + " " * MAX_CHARACTERS + "]")
    assert isinstance(found, Rejection)
    assert "longer than" in found.reason
