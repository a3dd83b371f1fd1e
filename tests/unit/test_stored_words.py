"""Guards: what may quote somebody's content is redacted before it is a fact, and half of a secret counts as one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.data_plane.agent_runs.proposals import Rejection, read_answer
from app.data_plane.agent_runs.run import refusal_told
from app.data_plane.expressions import ExpressionError, Scope
from app.data_plane.ingestion.accept import Submission
from app.data_plane.parsing.outcome import path_of
from tests.unit.ingestion.fakes import Ingestion, issue

TOKEN = "ghp_" + "a1B2" * 9
SCHEMA = {
    "type": "object",
    "properties": {"severity": {"type": "string"}},
    "required": ["severity"],
    "additionalProperties": False,
}
ORIGIN_CA = f"v1.0-{'0a1b2c3d' * 3}-{'4e5f6a7b' * 18}cd"
"""Longer than a name may be in a place: cut short, it would not be known for what it is."""


def is_left(secret: str, text: str) -> bool:
    return any(secret[at : at + 8] in text for at in range(len(secret) - 7))


@pytest.mark.parametrize("secret", [TOKEN, ORIGIN_CA])
def test_a_member_that_a_model_made_up_is_no_place_in_a_fact(secret: str) -> None:
    rejected = read_answer(f'{{"{secret}": 1}}', SCHEMA)
    assert isinstance(rejected, Rejection)
    path, reason = refusal_told(rejected)
    assert not is_left(secret, path + reason + str(rejected))


def test_the_place_that_such_a_member_makes_is_redacted_before_it_is_cut() -> None:
    assert not is_left(ORIGIN_CA, path_of(["labels", ORIGIN_CA, 2]))


def test_a_refusals_words_are_redacted_before_they_are_cut() -> None:
    path, reason = refusal_told(Rejection(f"a.{TOKEN}", "x" * 480 + f" {TOKEN}"))
    assert not is_left(TOKEN, path + reason)


@pytest.mark.parametrize("expression", ["int(event.note)", "event[event.note]", "timestamp(event.note)"])
def test_an_expression_that_fails_says_nothing_of_the_value(expression: str) -> None:
    told = Scope({"event": {"note": TOKEN}}).evaluate(expression)
    assert isinstance(told, ExpressionError)
    assert not is_left(TOKEN, told.reason)


def test_an_events_type_is_a_column_without_secrets() -> None:
    """And a duplicate is one all the same."""
    given = Ingestion()
    event = replace(issue(), type=f"com.github.issues.{TOKEN}", dataschema=None)
    given.service.accept_one(Submission(event))
    assert given.service.accept_one(Submission(event)).state == "duplicate"
    (stored,) = given.store.events.values()
    assert not is_left(TOKEN, stored.type)
