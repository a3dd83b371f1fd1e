"""Approval races with kills and changes: exactly the approved effect, at most once, or none.

Every race is run for an action of the decision and for a call of a run, at a target that honours keys and at one that
does not, many times with timings that a seed draws. People answer from processes of their own, workers are killed.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import psycopg
import pytest

from app.kernel.facts import (
    ActionAuthorised,
    ActionDenied,
    ApprovalDenied,
    ApprovalExpired,
    ApprovalRequested,
    ApprovalSuperseded,
    CancelRequested,
    DeliveryStarted,
    StepGaveUp,
)
from app.kernel.fault_points import REGISTERED, FaultPoint
from tests.acceptance.approving import ACTION, CALL, Became, Place, Waiting, place_for_races, racing_release
from tests.acceptance.two_sinks import FORGETFUL, HONOURING

ROUNDS = int(os.environ.get("RACE_ROUNDS", "2"))
"""Of each race, for each of the four kinds of effect; `make races` asks for more."""
KINDS = tuple(itertools.product((ACTION, CALL), (HONOURING, FORGETFUL)))
LEAD_SECONDS = 0.03
"""How long before they answer people are told to: by then all of them have read it."""
SOON_SECONDS = 1.5
"""When an approval expires, in the race with its expiry."""
LATE = frozenset({"not_awaiting_approval", "not_an_approver"})
UNHEARD_OF = (FaultPoint.BEFORE_EFFECT, FaultPoint.AFTER_EFFECT_BEFORE_RECORD)
"""Whoever dies there leaves an attempt that nobody knows of."""
OF_A_CONSENT = (FaultPoint.BEFORE_COMMIT, FaultPoint.AFTER_RECORD, FaultPoint.AFTER_PUBLISH)
OF_A_RUN_THAT_GOES_ON = (
    FaultPoint.AFTER_CLAIM,
    FaultPoint.AFTER_TOLD,
    FaultPoint.BEFORE_EFFECT,
    FaultPoint.BEFORE_COMMIT,
    FaultPoint.AFTER_RECORD,
)


@pytest.fixture(scope="module")
def place(module_database: str, module_home: Path) -> Iterator[Place]:
    """The system that all races share."""
    with place_for_races(module_database, module_home) as running:
        yield running


def titles(race: str, risk: str, rounds: int = ROUNDS) -> list[str]:
    """One event for each kind of effect and each round."""
    return [f"{who} {target} {risk} {race} {number}" for number in range(rounds) for who, target in KINDS]


def at_once(draw: random.Random, people: int, spread: float = 0.02) -> list[float]:
    """The moments at which so many people answer."""
    now = time.time() + LEAD_SECONDS
    return [now + draw.uniform(0.0, spread) for _ in range(people)]


def race(place: Place, one: Waiting, draw: random.Random, *answers: tuple[str, str]) -> list[str]:
    """These people (what they say, and who says it) answer at once; what came of each answer."""
    moments = at_once(draw, len(answers))
    orders = [one.order(verb, who, at) for (verb, who), at in zip(answers, moments, strict=True)]
    return place.answer(*orders)


def tell(what: str, became: Sequence[Became], came: Counter[str] | None = None) -> None:
    """The figures of a race."""
    applied = Counter(one.applied for one in became)
    print(f"\n{what}: {len(became)} rounds, effects {dict(applied)}, answers {dict(came or {})}")


def assert_done(became: Sequence[Became]) -> None:
    """Each effect happened, and what called for it went on."""
    for one in became:
        assert (one.applied, one.status) == (1, "completed"), one.waiting.title
        one.assert_the_run_went_on()


@pytest.mark.parametrize(("risk", "persons"), [("risky", 1), ("grave", 2)])
def test_of_people_who_approve_at_once_as_many_count_as_are_needed(
    place: Place, risk: str, persons: int
) -> None:
    draw = random.Random(f"at once {risk}")
    waiting = place.waiting_for(titles("at once", risk))
    came: Counter[str] = Counter()
    for asked in waiting:
        told = race(place, asked, draw, ("approve", "ann"), ("approve", "bob"), ("approve", "eve"))
        assert told.count("given") == persons, (asked.title, told)
        assert set(told) <= {"given", *LATE}, (asked.title, told)
        came.update(told)
    became = place.ends_of(waiting)
    assert_done(became)
    assert all(len(one.granted_by) == persons for one in became)
    tell(f"three approve at once, {persons} must", became, came)


def test_one_person_who_approves_twice_at_once_is_one_person(place: Place) -> None:
    """The same name from two processes: with four eyes it counts once, whatever its case and spaces."""
    draw = random.Random("twice")
    waiting = place.waiting_for(titles("twice", "grave"))
    for asked in waiting:
        told = race(place, asked, draw, ("approve", "ann"), ("approve", " Ann "))
        assert sorted(told) == ["given", "not_an_approver"], (asked.title, told)
    for one in place.became_of(waiting):
        assert (len(one.granted_by), one.of(ActionAuthorised), one.requests) == (1, [], ())
    for asked in waiting:
        assert place.answer(asked.order("approve", "bob")) == ["given"], asked.title
    became = place.ends_of(waiting)
    assert_done(became)
    assert {one.granted_by[1] for one in became} == {"bob"}
    tell("one approves twice, then another", became)


def test_approving_races_with_expiry(place: Place) -> None:
    """One effect or none, and the facts say which."""
    draw = random.Random("expiry")
    place.system.publish_one(racing_release(expires_seconds=SOON_SECONDS))
    came: Counter[str] = Counter()
    every: list[Became] = []
    for number in range(ROUNDS):
        waiting = place.waiting_for([f"{who} {target} risky expiry {number}" for who, target in KINDS])
        moment = _expires_at(place, waiting)
        orders = [one.order("approve", "ann", moment + draw.uniform(-0.15, 0.3)) for one in waiting]
        for order in sorted(orders, key=lambda order: order.at):
            (told,) = place.answer(order)
            # Whether or not anybody has recorded yet that it expired.
            assert told in ({"approval_expired"} if order.at >= moment else {"given", "approval_expired"})
            came[told] += 1
        every += place.ends_of(waiting)
    place.system.publish_one(racing_release())
    for one in every:
        expired = bool(one.of(ApprovalExpired))
        assert (one.applied, bool(one.granted_by), expired) in {(1, True, False), (0, False, True)}
        assert one.status == "completed"
        one.assert_the_run_went_on()
    assert came["given"] == sum(one.applied for one in every)
    tell("approve and expire", every, came)


def _expires_at(place: Place, waiting: Sequence[Waiting]) -> float:
    """When the last of them expires."""
    histories = place.system.services.store.histories(["demo"], [one.orchestration_id for one in waiting])
    asked = [
        datetime.fromisoformat(recorded.at).timestamp()
        for history in histories.values()
        for recorded in history.facts
        if isinstance(recorded.fact, ApprovalRequested)
    ]
    return max(asked) + SOON_SECONDS


def test_what_is_changed_after_the_approval_is_not_sent(place: Place) -> None:
    """The database's owner writes other arguments over the approved ones before the dispatcher reads them."""
    waiting = place.waiting_for(titles("changed", "risky", 3))
    for worker in place.dispatchers:
        worker.send_signal(signal.SIGSTOP)
    try:
        for asked in waiting:
            assert place.answer(asked.order("approve", "ann")) == ["given"]
            change_arguments(place, asked)
    finally:
        for worker in place.dispatchers:
            worker.send_signal(signal.SIGCONT)
    became = place.ends_of(waiting, verifies=False)
    for one in became:
        assert (one.requests, one.status) == ((), "dead_lettered"), one.waiting.title
        assert [fact.code for fact in one.facts if isinstance(fact, StepGaveUp)] == ["content_changed"]
    assert set(place.system.verify_all()) == {one.orchestration_id for one in waiting}
    tell("approve, then change the argument", became)
    for asked in waiting:
        change_arguments(place, asked)
    assert place.system.verify_all() == {}, "with the approved bytes back the record is whole"


def test_what_is_changed_while_it_is_approved_is_sent_as_it_was_approved_or_not_at_all(place: Place) -> None:
    draw = random.Random("changing")
    waiting = place.waiting_for(titles("changing", "risky"))
    for asked in waiting:
        (moment,) = at_once(draw, 1)
        place.begin(asked.order("approve", "ann", moment))
        _spin_until(moment + draw.uniform(-0.01, 0.06))
        change_arguments(place, asked)
        assert place.answer_of(0) == "given"
    became = place.ends_of(waiting, verifies=False)
    for one in became:
        codes = tuple(fact.code for fact in one.facts if isinstance(fact, StepGaveUp))
        assert (one.applied, one.status, codes) in {
            (1, "completed", ()),
            (0, "dead_lettered", ("content_changed",)),
        }, one.waiting.title
        change_arguments(place, one.waiting)
    assert place.system.verify_all() == {}
    tell("change the argument while it is approved", became)


def test_a_policy_that_changes_before_the_approval_supersedes_it(place: Place) -> None:
    waiting = place.waiting_for(titles("policy before", "risky", 2))
    place.system.publish_one(racing_release(policy_version=2))
    for asked in waiting:
        assert place.answer(asked.order("approve", "ann")) == ["approval_superseded"], asked.title
        assert place.answer(asked.order("approve", "bob")) == ["approval_superseded"], asked.title
    place.system.publish_one(racing_release())
    became = place.ends_of(waiting)
    for one in became:
        assert (one.requests, len(one.of(ApprovalSuperseded))) == ((), 1)
        assert [denied.was_asked for denied in one.of(ActionDenied)] == [True]
        one.assert_the_run_went_on()
    tell("change the policy, then approve", became)


def test_a_policy_that_changes_at_the_approval_or_after_it_changes_nothing_of_what_was_approved(
    place: Place,
) -> None:
    draw = random.Random("policy")
    waiting = place.waiting_for(titles("policy", "risky"))
    came: Counter[str] = Counter()
    for number, asked in enumerate(waiting):
        (moment,) = at_once(draw, 1)
        place.begin(asked.order("approve", "ann", moment))
        _spin_until(moment + draw.uniform(-0.03, 0.02))
        place.system.publish_one(racing_release(policy_version=2 + number % 2))
        came[told := place.answer_of(0)] += 1
        assert told in {"given", "approval_superseded"}
        place.system.publish_one(racing_release())
    became = place.ends_of(waiting)
    for one in became:
        superseded = bool(one.of(ApprovalSuperseded))
        assert (one.applied, len(one.granted_by), superseded) in {(1, 1, False), (0, 0, True)}
        assert one.status == "completed"
        one.assert_the_run_went_on()
    tell("approve and change the policy", became, came)


@pytest.mark.parametrize("other", ["deny", "cancel"])
def test_approving_races_with_a_no(place: Place, other: str) -> None:
    """Whoever is first counts, and the other is told so; nothing is sent after a no."""
    draw = random.Random(other)
    waiting = place.waiting_for(titles(other, "risky"))
    came: Counter[str] = Counter()
    for asked in waiting:
        told = race(place, asked, draw, ("approve", "ann"), (other, "bob"))
        allowed = {"given", "not_awaiting_approval", "not_cancellable"}
        assert set(told) <= allowed, (asked.title, told)
        assert "given" in told, asked.title
        if other == "deny":
            assert told.count("given") == 1, (asked.title, told)
        came.update([f"{'both' if told.count('given') == 2 else ('approve', other)[told.index('given')]}"])
    became = place.ends_of(waiting)
    for one in became:
        if not one.granted_by:
            assert not one.requests, one.waiting.title
        if one.of(ApprovalDenied):
            assert (one.requests, one.granted_by) == ((), ())
        if other == "deny":
            assert one.applied == len(one.granted_by)
            one.assert_the_run_went_on()
        elif one.status == "completed":
            assert one.applied == 1, one.waiting.title
            assert not one.of(CancelRequested)
        else:
            assert one.status == "cancelled"
            assert one.applied == 0 or one.of(DeliveryStarted)
    tell(f"approve and {other}", became, came)


@pytest.mark.parametrize("target", [HONOURING, FORGETFUL])
@pytest.mark.parametrize("point", REGISTERED["dispatch"])
def test_a_dispatcher_that_dies_between_consent_and_record_sends_the_approved_effect_once(
    place: Place, point: FaultPoint, target: str
) -> None:
    """At a target that does not honour keys an attempt that nobody heard of is in doubt, and not repeated."""
    waiting = place.waiting_for([f"{who} {target} risky {point.value}" for who in (ACTION, CALL)])

    def approve() -> None:
        for asked in waiting:
            assert place.answer(asked.order("approve", "ann")) == ["given"]

    place.crash_at(point, "dispatch", approve)
    became = place.ends_of(waiting)
    assert_once_or_in_doubt(became, f"killed at dispatch.{point.value}, {target}")
    if target == FORGETFUL and point in UNHEARD_OF:
        assert any(one.in_doubt for one in became), "nobody died over an attempt"


@pytest.mark.parametrize("point", OF_A_RUN_THAT_GOES_ON)
def test_a_worker_that_dies_when_the_run_goes_on_calls_nothing_again(place: Place, point: FaultPoint) -> None:
    waiting = place.waiting_for([f"{CALL} {target} risky on {point.value}" for _, target in KINDS[:2]])

    def approve() -> None:
        for asked in waiting:
            assert place.answer(asked.order("approve", "ann")) == ["given"]

    place.crash_at(point, "agent_runs", approve)
    became = place.ends_of(waiting)
    assert_done(became)
    tell(f"killed at agent_runs.{point.value}", became)


@pytest.mark.parametrize("point", OF_A_CONSENT)
def test_a_consent_whose_process_dies_counts_once_or_not_at_all(place: Place, point: FaultPoint) -> None:
    """Whoever approves is killed in the middle of it, and another person approves as well."""
    waiting = place.waiting_for([f"{who} {target} risky consent {point.value}" for who, target in KINDS])
    for asked in waiting:
        # A consent is nobody's queue.
        place.arming.arm(point, "")
        seen = len(place.arming.strikes())
        assert place.answer(asked.order("approve", "ann")) == [""]
        assert len(place.arming.strikes()) == seen + 1
        place.approvers.pop(0).wait()
        place.add_approver()
        expected = "given" if point is FaultPoint.BEFORE_COMMIT else "not_awaiting_approval"
        assert place.answer(asked.order("approve", "bob")) == [expected], asked.title
    became = place.ends_of(waiting)
    assert_done(became)
    tell(f"an approver dies at {point.value}", became)


def test_a_dispatcher_that_is_killed_at_any_moment_after_consent(place: Place) -> None:
    """``kill -9`` by its process id, a drawn moment after people began to approve."""
    draw = random.Random("any moment")
    every: list[Became] = []
    for number in range(ROUNDS):
        waiting = place.waiting_for(
            [f"{who} {target} {risk} moment {number}" for who, target in KINDS for risk in ("risky", "grave")]
        )
        people = list(enumerate(("ann", "bob")))
        for number_of, who in people:
            for asked in waiting:
                place.begin(asked.order("approve", who), number_of)
        _spin_until(time.time() + draw.uniform(0.0, 0.25))
        victim = draw.choice(place.dispatchers)
        victim.kill()
        victim.wait()
        place.replace_the_dead()
        told = [place.answer_of(number_of) for number_of, _ in people for _ in waiting]
        assert set(told) <= {"given", "not_awaiting_approval"}, told
        every += place.ends_of(waiting)
    assert_once_or_in_doubt(every, "killed at any moment")


def assert_once_or_in_doubt(became: Sequence[Became], what: str) -> None:
    """Exactly once where keys are honoured; elsewhere once, or in doubt and at most once."""
    for one in became:
        if HONOURING in one.waiting.title:
            assert (one.applied, one.status) == (1, "completed"), one.waiting.title
        else:
            assert len(one.requests) <= 1, one.waiting.title
            assert one.status == ("completed" if one.applied and not one.in_doubt else "dead_lettered")
        one.assert_the_run_went_on()
    in_doubt = sum(one.in_doubt for one in became)
    tell(f"{what}, {in_doubt} in doubt", became)


def change_arguments(place: Place, one: Waiting) -> None:
    """What stands for the arguments in the payload store is changed by its owner; a second time, changed back."""
    with psycopg.connect(place.system.database_url) as connection:
        done = connection.execute(
            "UPDATE payloads SET body = CASE WHEN position(%(new)s IN body) > 0"
            " THEN decode(replace(encode(body, 'hex'), encode(%(new)s, 'hex'), encode(%(old)s, 'hex')), 'hex')"
            " ELSE decode(replace(encode(body, 'hex'), encode(%(old)s, 'hex'), encode(%(new)s, 'hex')), 'hex') END"
            " WHERE tenant_id = 'demo' AND digest = %(digest)s",
            {
                "old": b"risky",
                "new": b"wrong",
                "digest": bytes.fromhex(one.asked.arguments_digest),
            },
        )
        assert done.rowcount == 1


def _spin_until(moment: float) -> None:
    while time.time() < moment:
        continue
