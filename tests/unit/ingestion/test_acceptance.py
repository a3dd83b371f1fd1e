"""Nothing accepted is lost, and no event starts anything twice (promises 1 and 2, at the way in)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.data_plane.ingestion.accept import Accepted, Submission
from app.data_plane.ingestion.errors import (
    EventConflictError,
    RoutedElsewhereError,
    UnknownTypeError,
    UnknownWorkflowError,
)
from app.data_plane.ports import Queue
from app.kernel.errors import PermanentError, TransientError
from interlock.envelope import Envelope
from interlock.identity import event_key, orchestration_id
from tests.unit.ingestion.fakes import Ingestion, issue

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRIAGE = orchestration_id("demo", "/host", "1", "issue-triage")
AUDIT = orchestration_id("demo", "/host", "1", "audit")


def test_an_event_starts_each_subscribed_workflow_and_rings_after_the_commit() -> None:
    """The ids are the derived ones, so that the sender could know them before."""
    given = Ingestion()
    accepted = given.service.accept_one(Submission(replace(issue(), traceparent=TRACEPARENT)))
    assert accepted == Accepted("1", "accepted", (AUDIT, TRIAGE))
    assert given.carrier.rung == [Queue.ORCHESTRATION]
    (event,) = given.store.events.values()
    assert event.normaliser == "interlock/1"
    assert {route.channel for route in event.routes} == {"stable"}
    assert {route.traceparent for route in event.routes} == {TRACEPARENT}


def test_a_duplicate_returns_the_first_orchestrations_and_rings_nobody() -> None:
    """Its time may differ: libraries stamp it anew."""
    given = Ingestion()
    first = given.service.accept_one(Submission(issue()))
    again = given.service.accept_one(Submission(replace(issue(), time="2026-01-01T00:00:00Z")))
    assert again == Accepted("1", "duplicate", first.orchestration_ids)
    assert given.carrier.rung == [Queue.ORCHESTRATION]


@pytest.mark.parametrize(
    "other",
    [issue(title="Another"), replace(issue(), type="com.github.issues.opened", dataschema=None)],
    ids=["data", "type"],
)
def test_the_same_id_with_another_type_or_other_data_is_refused(other: Envelope) -> None:
    """Answering with the first orchestration would claim to have run what was never read."""
    given = Ingestion()
    given.service.accept_one(Submission(issue()))
    with pytest.raises(EventConflictError) as refused:
        given.service.accept_one(Submission(other))
    assert (refused.value.code, refused.value.http_status) == ("event_conflict", 409)


def test_another_tenant_may_use_the_same_source_and_id() -> None:
    """The tenant is a part of the event's identity."""
    given = Ingestion()
    first = given.service.accept_one(Submission(issue(tenant="demo")))
    other = given.service.accept_one(Submission(issue(tenant="other", title="Another")))
    assert other.state == "accepted"
    assert not set(first.orchestration_ids) & set(other.orchestration_ids)


def test_an_event_that_nobody_subscribes_to_is_recorded_as_unrouted() -> None:
    """It is in the store all the same: a later question about it has an answer."""
    given = Ingestion()
    star = Envelope(id="1", source="/gh", type="com.github.star.created", tenantid="demo", data={})
    assert given.service.accept_one(Submission(star)) == Accepted("1", "unrouted", ())
    assert len(given.store.events) == 1
    assert given.carrier.rung == []


def test_a_workflow_that_is_asked_for_runs_alone() -> None:
    """``enqueue`` promised that orchestration's id and no other."""
    given = Ingestion()
    assert given.service.accept_one(Submission(issue(), "audit")).orchestration_ids == (AUDIT,)


def test_asking_for_a_workflow_without_a_release_is_refused() -> None:
    """The id that the client derived would otherwise name nothing for ever."""
    with pytest.raises(UnknownWorkflowError):
        Ingestion().service.accept_one(Submission(issue(), "nobody"))


def test_asking_again_for_another_workflow_is_refused_and_not_swallowed() -> None:
    """The event is known, the promised orchestration is not: whoever asked must hear of it."""
    given = Ingestion()
    given.service.accept_one(Submission(issue(), "audit"))
    with pytest.raises(RoutedElsewhereError):
        given.service.accept_one(Submission(issue(), "issue-triage"))
    assert given.service.accept_one(Submission(issue(), "audit")).state == "duplicate"


def test_a_batch_is_one_commit_and_a_refused_event_keeps_no_other_out() -> None:
    """An answer for each event, in order."""
    given = Ingestion()
    unknown = Envelope(id="2", source="/host", type="com.example.order", tenantid="demo", data={})
    answers = given.service.accept(
        [Submission(event) for event in (issue("1"), unknown, issue("3"), issue("1"))]
    )
    states = [answer if isinstance(answer, PermanentError) else answer.state for answer in answers]
    assert isinstance(states.pop(1), UnknownTypeError)
    assert states == ["accepted", "accepted", "duplicate"]
    assert given.store.batches == [3]
    assert given.lock.taken == set()


def test_an_event_in_flight_elsewhere_is_answered_by_the_store_after_the_others() -> None:
    """The lock says only that somebody is at it: the truth answers, and the rest does not wait."""
    given = Ingestion()
    elsewhere = event_key("demo", "/host", "1")
    given.lock.taken.add(elsewhere)
    answers = given.service.accept([Submission(issue("1")), Submission(issue("2")), Submission(issue("3"))])
    assert [answer.event_id for answer in answers if isinstance(answer, Accepted)] == ["1", "2", "3"]
    assert given.store.batches == [2, 1]
    assert given.lock.taken == {elsewhere}


def test_without_redis_events_are_accepted_all_the_same() -> None:
    """Neither the lock nor the doorbell carries a promise."""
    given = Ingestion()
    given.lock.broken = given.carrier.broken = True
    assert given.service.accept_one(Submission(issue())).state == "accepted"


def test_without_the_store_nothing_is_accepted_and_nobody_is_rung() -> None:
    """And the lock is given back, so that the next try is not held up."""
    given = Ingestion()
    given.store.down = True
    with pytest.raises(TransientError):
        given.service.accept_one(Submission(issue()))
    assert given.carrier.rung == []
    assert given.lock.taken == set()


def test_data_that_is_not_json_is_refused_by_its_code() -> None:
    """A host's own code may hand over anything."""
    with pytest.raises(PermanentError) as refused:
        Ingestion().service.accept_one(Submission(replace(issue(), data={"title": float("nan")})))
    assert refused.value.code == "not_json_value"
