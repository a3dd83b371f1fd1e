"""All providers fail, and a person or a rule answers, over a real database: with workers, an expiry, and two people."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from app.adapters.postgresql.reading import Reading
from app.adapters.postgresql.reading_reviews import ReviewReading
from app.data_plane.orchestration.cancel import Cancellation, cancel
from app.data_plane.orchestration.reviews import (
    AlreadyResolvedError,
    NotInReviewError,
    Resolution,
    Resolved,
    ReviewExpiredError,
    resolve,
)
from app.data_plane.ports import Queue
from app.data_plane.replay.explain import explain
from app.data_plane.replay.explain_review import explain_review
from app.data_plane.replay.record import Record
from app.data_plane.replay.request import Subject
from app.data_plane.replay.verify import verify
from interlock.canonical import digest_bytes
from interlock.identity import review_id
from tests.accepted_events import accepted_event
from tests.repairing import Workshop, workshop
from tests.reviewing_workflow import silent_release

RELEASE = silent_release()


@pytest.fixture
def place(fresh_database: str) -> Iterator[Workshop]:
    """A database with the release whose providers have no answer."""
    with workshop(fresh_database, RELEASE) as one:
        one.publish(RELEASE)
        yield one


@pytest.fixture
def subject(place: Workshop) -> Subject:
    """An orchestration that the workers have brought as far as they can."""
    one = place.accept("1")
    place.carry_on()
    return one


def status_of(place: Workshop, subject: Subject) -> str:
    ((status,),) = place.sql(
        "SELECT status FROM orchestrations WHERE orchestration_id = %s", subject.orchestration_id
    )
    return str(status)


def open_steps(place: Workshop, subject: Subject) -> tuple[str, ...]:
    return Reading(place.database).open_steps(subject.orchestration_id)


def answer(
    place: Workshop, subject: Subject, level: str = "high", *, stage: str = "classify", actor: str = "ines"
) -> Resolved:
    resolution = Resolution("demo", subject.orchestration_id, {"level": level}, actor, "read it", stage)
    return resolve(place.recorder, resolution, datetime.now(UTC))


def record_of(place: Workshop, subject: Subject) -> Record:
    """As it is kept, but for the raw event: it is made up by the tests, and no CloudEvent."""
    view = Reading(place.database).views([subject.orchestration_id])[subject.orchestration_id]
    raw = digest_bytes(accepted_event("1", title="high").raw)
    contents = {digest: body for digest, body in view.record.contents.items() if digest != raw}
    return replace(view.record, contents=contents)


def letters(place: Workshop, subject: Subject) -> list[tuple[object, ...]]:
    return place.sql(
        "SELECT cause, code, state FROM dead_letters WHERE orchestration_id = %s", subject.orchestration_id
    )


def test_all_providers_fail_and_people_complete_it(place: Workshop, subject: Subject) -> None:
    """Promise 3: what people said is recorded, and the record decides the same again, offline."""
    assert status_of(place, subject) == "in_review"
    assert open_steps(place, subject) == (review_id(subject.orchestration_id, "classify"),)
    assert not place.targets.sent

    place.carrier.rung.clear()
    answer(place, subject)
    place.carry_on()

    assert status_of(place, subject) == "in_review", "the rule answered for the second, the last waits again"
    told = answer(place, subject, "high", stage="settle")
    assert Queue.DISPATCH in place.carrier.rung, "the next queue is told at once"
    place.carry_on()

    assert status_of(place, subject) == "completed"
    assert set(place.targets.sent.values()) == {1}
    assert len(place.targets.sent) == 2
    assert open_steps(place, subject) == ()
    assert place.sql("SELECT degraded FROM decisions") == [(True,)]
    assert told.decision == {"level": "high"}
    record = record_of(place, subject)
    verification = verify(record, RELEASE)
    assert verification.difference is None
    assert verification.decision_recomputed == verification.decision_recorded
    stages = {stage.name: stage for stage in explain(record, RELEASE).stages}
    assert stages["classify"].answered == "ines completed it"
    assert stages["deep"].answered == "the fallback's rule answered"


def test_an_edited_answer_of_a_person_is_found(place: Workshop, subject: Subject) -> None:
    """The outcome's bytes are what the fact's digest says, or the record does not verify."""
    answer(place, subject)
    record = record_of(place, subject)
    (fact,) = [one for one in place.facts(subject.orchestration_id) if one.kind == "review_resolved"]
    digest = getattr(fact, "outcome_digest", "")
    changed = replace(record, contents={**record.contents, digest: b'{"level":"low"}'})
    found = verify(changed, RELEASE)
    assert found.difference is not None
    assert digest[:12] in found.difference.place


def test_a_review_that_nobody_completes_fails_and_is_a_dead_letter(place: Workshop, subject: Subject) -> None:
    place.end_leases()
    place.carry_on()
    assert status_of(place, subject) == "failed"
    assert letters(place, subject) == [("no_decision", "review_expired", "open")]
    assert open_steps(place, subject) == ()
    with pytest.raises(ReviewExpiredError):
        answer(place, subject)
    assert verify(record_of(place, subject), RELEASE).difference is None


def test_of_two_people_at_once_one_wins_and_the_other_is_told(
    place: Workshop, subject: Subject, fresh_database: str
) -> None:
    """Each has connections of their own, as two commands have."""

    def one_of_them(level: str, actor: str) -> str:
        with workshop(fresh_database, RELEASE) as own:
            try:
                return answer(own, subject, level, actor=actor).stage
            except AlreadyResolvedError as error:
                return error.what

    with ThreadPoolExecutor(2) as people:
        told = sorted(people.map(one_of_them, ("high", "low"), ("ines", "otto")), key=len)
    assert told[0] == "classify"
    assert "has completed classify" in told[1]
    kinds = [fact.kind for fact in place.facts(subject.orchestration_id)]
    assert kinds.count("review_resolved") == kinds.count("stage_decided") == 1


def test_cancelled_in_review_nobody_is_asked_any_more(place: Workshop, subject: Subject) -> None:
    steps = open_steps(place, subject)
    cancel(place.recorder, Cancellation("demo", subject.orchestration_id, "otto", "no need", steps))
    assert status_of(place, subject) == "cancelled"
    assert open_steps(place, subject) == ()
    assert ReviewReading(place.database, ["demo"]).oldest(9) == ()
    with pytest.raises(NotInReviewError):
        answer(place, subject)


def test_what_waits_is_listed_from_the_oldest_and_no_other_tenants(place: Workshop, subject: Subject) -> None:
    second = place.accept("2")
    place.carry_on()
    listed = ReviewReading(place.database, ["demo"]).oldest(9)
    assert [row.orchestration_id for row in listed] == [subject.orchestration_id, second.orchestration_id]
    assert [row.stage for row in listed] == ["classify", "classify"]
    assert all(row.expires > row.since for row in listed)
    assert ReviewReading(place.database, ["other"]).oldest(9) == ()
    assert len(ReviewReading(place.database, ["demo"]).oldest(1)) == 1


def test_the_story_has_all_that_a_person_needs(place: Workshop, subject: Subject) -> None:
    story = explain_review(record_of(place, subject), RELEASE, "", datetime.now(UTC))
    assert (story.stage, story.state) == ("classify", "waiting")
    assert {voice.failure.partition(":")[0] for voice in story.agents} == {"provider_unavailable"}
    assert story.event == {"type": "dev.interlock.issue", "issue": {"title": "high"}}
    (field,) = story.fields
    assert (field.name, field.type, field.allowed, field.required) == (
        "level",
        "one of",
        '"high", "low"',
        True,
    )
