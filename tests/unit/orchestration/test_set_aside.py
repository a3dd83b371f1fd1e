"""One orchestration that cannot be carried on keeps none of its batch from it, and its wait ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from app.adapters.memory.store import MemoryStore
from app.data_plane.orchestration.recorder import MOST_LAPSES, Loaded, Plan, Recorder, Work
from app.data_plane.ports import Carrier, Change, Claim, Committed, Queue, Releases, Verdict
from app.kernel.errors import NotFoundError, PermanentError, TransientError
from app.kernel.facts import OrchestrationClosed, StepGaveUp, StepLapsed
from app.kernel.release import Release
from tests.accepted_events import accepted_event, orchestration_of
from tests.branching_workflow import branching_release

GOOD, BAD = (accepted_event(name, release=branching_release().digest) for name in ("good", "bad"))


class SomeReleases:
    """The branching workflow's, or none that can be loaded."""

    def __init__(self, *, available: bool = True) -> None:
        self.available = available

    def get(self, digest: str) -> Release:
        """See ``Releases.get``."""
        if not self.available:
            raise NotFoundError(f"no {digest}")
        return branching_release()


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def broken(_loaded: Loaded) -> Plan:
    raise ZeroDivisionError


def works(claims: list[Claim], plan: Callable[[Claim], Callable[[Loaded], Plan]]) -> list[Work]:
    return [Work(claim.tenant_id, claim.orchestration_id, claim, plan(claim)) for claim in claims]


def failing(error: Exception) -> Callable[[Loaded], Plan]:
    def plan(_loaded: Loaded) -> Plan:
        raise error

    return plan


class TellingStore(MemoryStore):
    """A store that tells how long the steps wait that are to be tried again."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        super().__init__(seconds=seconds)
        self.waits: list[float] = []

    def commit(self, changes: Sequence[Change]) -> Committed:
        self.waits += [change.retry_in_seconds for change in changes if change.settle == "retry"]
        return super().commit(changes)


def plan_of(claim: Claim) -> Callable[[Loaded], Plan]:
    bad = claim.orchestration_id == orchestration_of(BAD)
    return broken if bad else lambda _loaded: Plan()


def test_the_others_of_a_batch_are_recorded_and_the_bad_one_is_tried_again_later() -> None:
    """Promise 1: a defect in one orchestration is not the end of 63 others."""
    clock = Clock()
    store = MemoryStore(seconds=clock)
    store.accept([GOOD, BAD])
    recorder = Recorder(store, cast(Releases, SomeReleases()), cast(Carrier, None), shortcut=False)
    claims = store.claim(Queue.ORCHESTRATION, limit=8, worker="w")
    answers = recorder.record(works(claims, plan_of))
    assert [answer.verdict for answer in answers] == [Verdict.RECORDED, Verdict.RECORDED]
    assert store.claim(Queue.ORCHESTRATION, limit=8, worker="w") == []
    clock.seconds += 60
    (again,) = store.claim(Queue.ORCHESTRATION, limit=8, worker="w")
    assert (again.orchestration_id, again.attempt) == (orchestration_of(BAD), 2)


def test_a_step_that_was_tried_often_enough_gives_up_and_its_orchestration_is_a_dead_letter() -> None:
    """Promise 1: every accepted event reaches a terminal state."""
    clock = Clock()
    store = MemoryStore(seconds=clock)
    store.accept([BAD])
    recorder = Recorder(store, cast(Releases, SomeReleases()), cast(Carrier, None), shortcut=False)
    facts = ()
    for _ in range(MOST_LAPSES):
        claims = store.claim(Queue.ORCHESTRATION, limit=8, worker="w")
        facts = recorder.record(works(claims, plan_of))[0].facts
        clock.seconds += 3600
    assert [type(fact) for fact in facts] == [StepLapsed, StepGaveUp, OrchestrationClosed]
    assert isinstance(facts[2], OrchestrationClosed)
    assert (facts[2].status, "defect" in facts[2].reason) == ("dead_lettered", True)
    assert store.claim(Queue.ORCHESTRATION, limit=8, worker="w") == []


def test_what_will_fail_again_in_the_same_way_gives_up_at_once() -> None:
    """Permanent means dead letter now: trying it again only keeps a person from hearing of it."""
    store = MemoryStore(seconds=Clock())
    store.accept([GOOD, BAD])
    recorder = Recorder(store, cast(Releases, SomeReleases()), cast(Carrier, None), shortcut=False)
    claims = store.claim(Queue.ORCHESTRATION, limit=8, worker="w")
    refused = failing(PermanentError("no such key"))
    bad = orchestration_of(BAD)
    answers = recorder.record(
        works(claims, lambda claim: refused if claim.orchestration_id == bad else plan_of(claim))
    )
    (gave_up, closed), nothing = sorted((answer.facts for answer in answers), key=len, reverse=True)
    assert isinstance(gave_up, StepGaveUp)
    assert (gave_up.code, gave_up.attempts) == ("invalid", 1)
    assert isinstance(closed, OrchestrationClosed)
    assert closed.status == "dead_lettered"
    assert "after 1 attempt: invalid" in closed.reason
    assert nothing == (), "the other one of the batch goes on"


def test_what_may_work_later_waits_ever_longer_and_no_two_steps_march_in_step() -> None:
    """Whatever made a whole batch fail would otherwise meet the whole batch again at one moment."""
    clock = Clock()
    store = TellingStore(seconds=clock)
    store.accept([GOOD, BAD])
    recorder = Recorder(store, cast(Releases, SomeReleases()), cast(Carrier, None), shortcut=False)
    for lapses in range(1, MOST_LAPSES):
        store.waits.clear()
        while claims := store.claim(Queue.ORCHESTRATION, limit=8, worker="w"):
            recorder.record(works(claims, lambda _claim: failing(TransientError("a server is down"))))
        one, other = store.waits
        assert one != other
        assert all(2.0**lapses / 2 <= wait <= 2.0**lapses for wait in (one, other))
        clock.seconds += 3600


def test_what_says_when_it_may_work_again_is_not_tried_before() -> None:
    clock = Clock()
    store = MemoryStore(seconds=clock)
    store.accept([GOOD])
    recorder = Recorder(store, cast(Releases, SomeReleases()), cast(Carrier, None), shortcut=False)
    claims = store.claim(Queue.ORCHESTRATION, limit=8, worker="w")
    busy = TransientError("a limit is met", retry_after_seconds=90.0)
    recorder.record(works(claims, lambda _claim: failing(busy)))
    clock.seconds += 89
    assert store.claim(Queue.ORCHESTRATION, limit=8, worker="w") == []
    clock.seconds += 2
    assert len(store.claim(Queue.ORCHESTRATION, limit=8, worker="w")) == 1


def test_a_step_whose_workers_died_again_and_again_is_not_tried_once_more() -> None:
    """Promise 1: what ends every worker that begins it ends as a dead letter, without being begun again."""
    clock = Clock()
    store = MemoryStore(seconds=clock)
    store.accept([GOOD])
    recorder = Recorder(store, cast(Releases, SomeReleases()), cast(Carrier, None), shortcut=False)
    for _ in range(MOST_LAPSES):
        assert store.claim(Queue.ORCHESTRATION, limit=8, worker="one that dies")
        clock.seconds += 3600
    (claim,) = store.claim(Queue.ORCHESTRATION, limit=8, worker="w")
    assert claim.lapses == MOST_LAPSES
    (answer,) = recorder.record(works([claim], lambda _claim: broken))
    assert [type(fact) for fact in answer.facts] == [StepLapsed, StepGaveUp, OrchestrationClosed]
    gave_up = answer.facts[1]
    assert isinstance(gave_up, StepGaveUp)
    assert gave_up.code == "lost_worker", "the plan was never made"


def test_an_orchestration_whose_release_cannot_be_loaded_waits_for_a_worker_that_can() -> None:
    """A worker that cannot load exactly that release leaves the step; nothing is recorded of it."""
    clock = Clock()
    store = MemoryStore(seconds=clock)
    store.accept([GOOD])
    releases = SomeReleases(available=False)
    recorder = Recorder(store, cast(Releases, releases), cast(Carrier, None), shortcut=False)
    claims = store.claim(Queue.ORCHESTRATION, limit=8, worker="old")
    (answer,) = recorder.record(works(claims, plan_of))
    assert (answer.after, answer.facts) == (None, ())
    clock.seconds += 60
    releases.available = True
    (claim,) = store.claim(Queue.ORCHESTRATION, limit=8, worker="new")
    assert claim.orchestration_id == orchestration_of(GOOD)
    assert claim.attempt == 1, "waiting for a release is no attempt at the step"
