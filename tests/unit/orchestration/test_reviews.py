"""A person completes a stage: once, in time, with a name and a reason, and with an outcome that is a valid proposal."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.adapters.memory.store import MemoryStore
from app.data_plane.orchestration.reviews import (
    AlreadyResolvedError,
    InvalidOutcomeError,
    NotInReviewError,
    Resolution,
    ReviewExpiredError,
    UnansweredForError,
    UnknownStageError,
    foresee,
    resolve,
    waiting,
)
from app.kernel.facts import CancelRequested, OrchestrationResumed, ReviewResolved, StepGaveUp
from interlock.canonical import canonical_bytes
from tests.reviewing_workflow import HOUR, InReview, silent_release

NOW = datetime.now(UTC)


def test_the_orchestration_goes_on_with_what_the_person_said_and_says_with_what() -> None:
    one = InReview(MemoryStore())
    told = one.resolve("high")
    assert (told.stage, told.orchestration_status, told.starts) == ("classify", "running", ("deep",))
    assert one.loaded.contents.object(told.outcome_digest) == {"level": "high"}


def test_the_last_review_makes_the_decision_and_its_actions() -> None:
    one = InReview(MemoryStore())
    one.resolve("high")
    one.fail("deep")
    one.fail("settle")
    told = one.resolve("low", stage="settle")
    assert told.decision == {"level": "low"}
    assert told.actions == ("record at tracker", "notify at pager", "forbidden at tracker (denied)")


def test_what_would_follow_is_foreseen_and_nothing_is_recorded() -> None:
    one = InReview(MemoryStore())
    before = one.loaded
    told = foresee(before, one.resolution(), NOW)
    assert one.loaded.history == before.history
    assert told == one.resolve()


def test_who_and_why_are_kept_as_content_and_the_fact_has_their_digest() -> None:
    one = InReview(MemoryStore())
    one.resolve(actor=" ines ")
    (fact,) = [item.fact for item in one.loaded.history.facts if isinstance(item.fact, ReviewResolved)]
    assert fact.actor == "ines"
    (body,) = one.store.contents(["demo"], [fact.reason_digest]).values()
    assert body == canonical_bytes({"actor": "ines", "reason": "read it"})


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ({"level": "huge"}, "level: it should be 'high' or 'low'"),
        ({}, "level: it is missing"),
        ({"level": "high", "colour": "red"}, "colour: there is no such field"),
        ({"level": 2**80}, "level: "),
    ],
)
def test_an_outcome_that_is_no_valid_proposal_is_refused_by_field(
    outcome: dict[str, str | int], words: str
) -> None:
    """Promise 4: also a person decides only what the release allows."""
    one = InReview(MemoryStore())
    with pytest.raises(InvalidOutcomeError) as refused:
        resolve(one.recorder, replace(one.resolution(), outcome=outcome), NOW)
    assert words in refused.value.what
    assert "reviews show" in refused.value.remedy
    assert one.loaded.state.stages["classify"].awaits_a_person


@pytest.mark.parametrize("missing", [{"actor": " "}, {"reason": ""}])
def test_who_and_why_must_be_said(missing: dict[str, str]) -> None:
    one = InReview(MemoryStore())
    with pytest.raises(UnansweredForError):
        resolve(one.recorder, replace(one.resolution(), **missing), NOW)  # type: ignore[arg-type]
    assert one.loaded.state.status == "in_review"


def test_the_second_person_is_told_who_was_first() -> None:
    one = InReview(MemoryStore())
    one.resolve("high", "ines")
    with pytest.raises(AlreadyResolvedError, match="ines has completed classify"):
        one.resolve("low", "otto")


def test_of_two_at_once_one_wins_and_the_other_is_told() -> None:
    def answer(one: InReview, both: threading.Barrier, level: str, actor: str) -> str:
        both.wait()
        try:
            return one.resolve(level, actor).stage
        except AlreadyResolvedError as error:
            return error.code

    with ThreadPoolExecutor(2) as people:
        for _ in range(10):
            one, both = InReview(MemoryStore()), threading.Barrier(2)
            told = [people.submit(answer, one, both, *said) for said in (("high", "ines"), ("low", "otto"))]
            assert sorted(future.result() for future in told) == ["already_resolved", "classify"]
            kinds = [item.fact.kind for item in one.loaded.history.facts]
            assert kinds.count("review_resolved") == 1


def test_after_its_time_it_is_refused_though_no_worker_has_noticed_yet() -> None:
    """A wait that has ended does not last longer because the service was down."""
    one = InReview(MemoryStore())
    (wait,) = waiting(one.loaded.history.facts).values()
    assert wait.until - wait.since == timedelta(seconds=HOUR)
    resolution = one.resolution()
    with pytest.raises(ReviewExpiredError) as refused:
        resolve(one.recorder, resolution, wait.until)
    assert "--mode rerun" in refused.value.remedy
    assert foresee(one.loaded, resolution, wait.until - timedelta(seconds=1)).starts == ("deep",)


def test_a_stage_that_nobody_was_asked_about_is_refused_with_what_it_is() -> None:
    one = InReview(MemoryStore())
    with pytest.raises(NotInReviewError, match="is pending: nobody is asked"):
        one.resolve(stage="deep")
    with pytest.raises(UnknownStageError) as refused:
        one.resolve(stage="nowhere")
    assert "classify" in refused.value.remedy


def test_an_orchestration_that_has_ended_takes_no_answer() -> None:
    one = InReview(MemoryStore())
    one.happen(CancelRequested(actor="otto", reason_digest="0" * 64))
    with pytest.raises(NotInReviewError, match="has ended already: cancelled"):
        one.resolve()


def test_when_a_second_stage_was_asked_about_the_stage_must_be_named() -> None:
    """Who has read of the first stage, and is slower than another person, must not complete the second by that."""
    one = InReview(MemoryStore())
    one.resolve("high")
    one.fail("deep")
    one.fail("settle")
    with pytest.raises(NotInReviewError, match="about 2 stages"):
        one.resolve("low")
    with pytest.raises(AlreadyResolvedError):
        one.resolve("low", stage="classify")
    assert one.resolve("low", stage="settle").decision == {"level": "low"}


def test_resuming_asks_anew_and_the_time_counts_from_there() -> None:
    one = InReview(MemoryStore(), silent_release(60))
    one.happen(StepGaveUp(step_id="run_1", queue="agent_runs", code="defect", attempts=5))
    assert waiting(one.loaded.history.facts) == {}
    one.happen(OrchestrationResumed(replay_id="rpl_1", actor="otto", reason_digest="0" * 64))
    facts = one.loaded.history.facts
    (wait,) = waiting(facts).values()
    assert wait.since == datetime.fromisoformat(facts[-1].at)


def test_a_resolution_names_no_more_than_it_needs() -> None:
    """Without a stage the only one that was asked about is meant."""
    one = InReview(MemoryStore())
    resolution = Resolution("demo", one.id, {"level": "low"}, "ines", "read it")
    assert foresee(one.loaded, resolution, NOW).stage == "classify"
