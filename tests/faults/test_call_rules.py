"""What the checker holds against effects that runs call for, to the word: what planted bugs cannot vary."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.faults.checker import judge
from tests.faults.known import Evidence
from tests.faults.records import Action, Database, Moment, Orchestration, Request
from tests.faults.runs import Called, Proposed, Run, Told

STARTED, ENDED, TOLD = 100.0, 101.0, 102.0


def evidence(
    moments: Sequence[Moment],
    *,
    told: Told | None = None,
    digest: str = "arguments",
    waiting: bool = False,
    is_in_the_run: bool = True,
    answered: Sequence[str] = ("first", "second"),
) -> Evidence:
    """One orchestration, whose one run has called for one effect at the ledger; it was received once."""
    action = Action(
        "act_1", "orc_1", "ledger", "tracker.add_note", "key_1", list(moments), "arguments", "run_1"
    )
    run = Run("run_1", has_proposal=not waiting, answered=list(answered))
    if is_in_the_run:
        run.called[0, 0] = Called("handed_over", "act_1", "arguments")
    if told is not None:
        run.told[0, 0] = told
    orchestration = Orchestration(
        "orc_1",
        "north",
        "event-1",
        "three-sinks",
        "live",
        "running" if waiting else "completed",
        closed_at=None if waiting else 110.0,
        created_at=STARTED,
        actions={"act_1": action},
        calls={"act_1": Proposed("act_1", "run_1", "tracker.add_note", "ledger", "arguments")},
        has_decision=True,
        is_closed_in_journal=not waiting,
    )
    request = Request(
        "ledger", 1, "applied", "key_1", "orc_1", "tracker.add_note", STARTED + 0.5, ENDED, body_digest=digest
    )
    database = Database(
        frozenset({("north", "event-1")}),
        {"orc_1": orchestration},
        {"act_1": action.state},
        0,
        {"run_1": run},
        {"run_1": "orc_1"} if waiting else {},
    )
    return Evidence({}, [request], database, {"ledger": True}, [])


CONFIRMED = (Moment("delivery_started", 1, STARTED), Moment("delivery_confirmed", 1, ENDED))
RESULT = Told("", TOLD)


def test_a_call_that_was_made_as_permitted_and_told_is_right() -> None:
    assert not judge(evidence(CONFIRMED, told=RESULT)).kinds()


def test_other_arguments_than_the_permitted_ones_are_seen() -> None:
    assert judge(evidence(CONFIRMED, told=RESULT, digest="others")).kinds() == {"not_as_permitted": 1}


def test_a_run_that_ends_without_being_told_is_seen() -> None:
    assert judge(evidence(CONFIRMED)).kinds() == {"not_told": 1}


@pytest.mark.parametrize(
    "told",
    [
        pytest.param(Told("", ENDED - 0.5), id="a-result-before-there-was-one"),
        pytest.param(Told("outcome_unknown", TOLD), id="unknown-though-confirmed"),
        pytest.param(Told("not_delivered", TOLD), id="not-delivered-though-confirmed"),
        pytest.param(Told("denied", TOLD), id="denied-though-confirmed"),
    ],
)
def test_a_run_that_is_told_something_else_is_seen(told: Told) -> None:
    assert judge(evidence(CONFIRMED, told=told)).kinds() == {"told_otherwise": 1}


def test_a_call_that_its_own_run_knows_nothing_of_is_seen() -> None:
    assert judge(evidence(CONFIRMED, is_in_the_run=False)).kinds() == {"not_as_called": 1}


def test_a_question_that_is_answered_twice_is_seen() -> None:
    assert judge(evidence(CONFIRMED, told=RESULT, answered=("first", "first"))).kinds() == {"asked_again": 1}


def test_a_run_that_waits_although_its_call_is_settled_waits_for_ever() -> None:
    assert judge(evidence(CONFIRMED, waiting=True)).kinds() == {"waits_for_ever": 1}
    assert not judge(evidence(CONFIRMED[:1], waiting=True)).kinds(), "its call is on the way"
