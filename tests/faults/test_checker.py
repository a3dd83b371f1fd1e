"""What counts as a false doubt and as an effect without intent, to the word: what planted bugs cannot vary."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.faults.checker import false_in_doubt, judge
from tests.faults.known import Evidence, Window
from tests.faults.records import Action, Database, Moment, Orchestration, Request
from tests.faults.verdict import Figure

STARTED, DOUBTED = 100.0, 110.0


def evidence(
    moments: Sequence[Moment], requests: Sequence[Request], faults: Sequence[Window] = ()
) -> Evidence:
    """One orchestration with one action at the pager, which does not honour keys."""
    action = Action("act_1", "orc_1", "pager", "reference.record", "key_1", list(moments))
    orchestration = Orchestration(
        "orc_1",
        "north",
        "event-1",
        "three-sinks",
        "live",
        "dead_lettered",
        closed_at=DOUBTED,
        created_at=STARTED,
        actions={"act_1": action},
        has_decision=True,
        is_closed_in_journal=True,
    )
    database = Database(
        frozenset({("north", "event-1")}), {"orc_1": orchestration}, {"act_1": action.state}, 0
    )
    return Evidence({}, requests, database, {"pager": False}, faults)


def request(at: float, *, answered_at: float | None = None) -> Request:
    """One request that the pager applied."""
    return Request("pager", 1, "applied", "key_1", "orc_1", "reference.record", at, answered_at)


DOUBT = (Moment("delivery_started", 1, STARTED), Moment("delivery_in_doubt", 1, DOUBTED))


@pytest.mark.parametrize(
    ("requests", "faults", "is_false"),
    [
        pytest.param([request(101, answered_at=101.1)], [], True, id="answered-and-nothing-in-between"),
        pytest.param([request(101)], [], False, id="never-answered"),
        pytest.param([], [], False, id="never-received"),
        pytest.param(
            [request(101, answered_at=101.1)],
            [Window(101.0, 101.0, frozenset({"dispatch"}))],
            False,
            id="its-worker-was-hit",
        ),
        pytest.param(
            [request(101, answered_at=101.1)],
            [Window(90.0, 100.5, frozenset({"pager"}))],
            False,
            id="a-fault-of-its-sink-ended-after-the-start",
        ),
        pytest.param(
            [request(101, answered_at=101.1)],
            [Window(101.0, 105.0, frozenset({"siren", "redis", "agent_runs"}))],
            True,
            id="faults-that-do-not-touch-it",
        ),
        pytest.param(
            [request(101, answered_at=101.1)],
            [Window(90.0, 99.9, frozenset({"dispatch"}))],
            True,
            id="a-fault-that-was-over",
        ),
    ],
)
def test_a_doubt_is_false_when_the_answer_was_sent_and_no_fault_lay_in_between(
    requests: list[Request], faults: list[Window], is_false: bool
) -> None:
    """The share of false doubts is a promise of its own: at most 2 %."""
    assert bool(false_in_doubt(evidence(DOUBT, requests, faults))) is is_false


def test_a_request_before_its_attempt_is_recorded_is_an_effect_without_intent() -> None:
    kinds = judge(evidence(DOUBT, [request(99.9)])).kinds()
    assert kinds["effect_without_intent"] == 1
    assert not judge(evidence(DOUBT, [request(100.1)])).kinds()


def test_a_second_request_needs_a_second_attempt() -> None:
    twice = [request(101), request(102)]
    assert judge(evidence(DOUBT, twice)).kinds() == {"effect_without_intent": 1, "sent_twice": 1}


def test_what_was_applied_and_given_up_is_ambiguous_and_not_in_doubt() -> None:
    failed = (DOUBT[0], Moment("delivery_failed", 1, DOUBTED))
    assert judge(evidence(failed, [request(101)])).kinds() == {"ambiguous_not_in_doubt": 1}
    assert not judge(evidence(failed, [])).kinds(), "what reached nobody may fail"


def test_a_zero_shows_a_bound_by_the_rule_of_three() -> None:
    assert Figure("lost", 0, 2000).bound == pytest.approx(0.0015)
    assert Figure("lost", 0, 2).bound == 1.0
    assert Figure("lost", 0, 0).bound is None, "of nothing, nothing is shown"
    assert Figure("lost", 1, 2000).bound is None
