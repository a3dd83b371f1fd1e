"""Waiting for a person, in every store: shown, due when it expires, and over when anything ends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from app.adapters.memory.store import MemoryStore
from app.adapters.postgresql.database import Database
from app.adapters.postgresql.store import PostgresqlStore
from app.data_plane.dead_letters.letters import Cause
from app.data_plane.orchestration.recorder import Loaded, Plan, Work
from app.data_plane.orchestration.reviews import ReviewExpiredError, resolve
from app.data_plane.orchestration.state import evolve
from app.data_plane.orchestration.steps import to_go_on
from app.data_plane.ports import Claim, Queue, Verdict
from app.kernel.clock import SystemClock
from app.kernel.facts import CancelRequested, OrchestrationResumed, StepGaveUp
from tests.contract.test_dead_letters import Stored
from tests.contract.test_store import append, change, verdict
from tests.eventually import assert_eventually
from tests.reviewing_workflow import InReview, silent_release

Shown = Callable[[str], str]
SOON = 0.2
CANCEL = CancelRequested(actor="ines", reason_digest="0" * 64)
GAVE_UP = StepGaveUp(step_id="run_1", queue="agent_runs", code="defect", attempts=5)
RESUMED = OrchestrationResumed(replay_id="rpl_1", actor="ines", reason_digest="0" * 64)


@pytest.fixture(params=["memory", "postgresql"])
def store(request: pytest.FixtureRequest) -> Iterator[Stored]:
    """One store of each kind, empty."""
    if request.param == "memory":
        yield MemoryStore()
        return
    database = Database(request.getfixturevalue("fresh_database"), "interlock_worker")
    yield PostgresqlStore(database, SystemClock())
    database.close()


@pytest.fixture
def shown(store: Stored, request: pytest.FixtureRequest) -> Shown:
    """What an orchestration is shown as."""
    if isinstance(store, MemoryStore):
        return lambda key: store._orchestrations[key].status
    url = request.getfixturevalue("fresh_database")

    def read(key: str) -> str:
        with psycopg.connect(url) as connection:
            found = connection.execute(
                "SELECT status FROM orchestrations WHERE orchestration_id = %s", [key]
            ).fetchone()
        assert found is not None
        return str(found[0])

    return read


def claim(one: InReview) -> list[Claim]:
    """The step that ends the wait, if it is due."""
    return one.store.claim(Queue.ORCHESTRATION, limit=1, worker="w", step_ids=[one.step])


def claim_when_due(one: InReview) -> Claim:
    claimed: list[Claim] = []
    assert_eventually(lambda: bool(claimed.extend(claim(one)) or claimed), what="the review expires")
    return claimed[0]


def test_an_orchestration_is_shown_in_review_until_a_person_completes_it(store: Stored, shown: Shown) -> None:
    one = InReview(store)
    assert shown(one.id) == "in_review"
    assert one.resolve().orchestration_status == "running"
    assert shown(one.id) == "running"


def test_the_wait_is_a_step_that_is_not_due_before_it_expires(store: Stored) -> None:
    """It holds no worker meanwhile."""
    assert claim(InReview(store)) == []
    soon = claim_when_due(InReview(store, silent_release(SOON), "2"))
    assert (soon.stage, soon.queue) == ("classify", Queue.ORCHESTRATION)


def test_a_review_that_expires_fails_the_orchestration_and_is_a_dead_letter(
    store: Stored, shown: Shown
) -> None:
    """Promise 1: every wait ends, and nobody has to notice by themselves that one has."""
    one = InReview(store, silent_release(SOON))
    assert_eventually(lambda: one.advancer.advance("w", [one.step]).steps == 1, what="the review expires")
    assert shown(one.id) == "failed"
    (letter,) = store.dead_letters(["demo"], [one.id])
    assert (letter.cause, letter.code, letter.state) == (Cause.NO_DECISION, "review_expired", "open")
    with pytest.raises(ReviewExpiredError):
        one.resolve()


def test_who_answers_before_the_expiry_is_recorded_was_faster(store: Stored, shown: Shown) -> None:
    """A worker that holds the step already finds that it is over."""
    one = InReview(store, silent_release(SOON))
    late = claim_when_due(one)
    # As the person's clock says it, the moment before.
    in_time = datetime.now(UTC) - timedelta(seconds=SOON)
    resolve(one.recorder, one.resolution(), in_time)
    expiry = change(one.id, claim=late, orchestration=append(one.id, one.loaded.history.head_seq))
    assert verdict(store, expiry) is Verdict.FENCED
    assert one.advancer.advance("w", [one.step]).steps == 0
    assert shown(one.id) == "running"


@pytest.mark.parametrize(("end", "status"), [(CANCEL, "cancelled"), (GAVE_UP, "dead_lettered")])
def test_whatever_ends_the_orchestration_ends_the_wait(
    store: Stored, shown: Shown, end: CancelRequested | StepGaveUp, status: str
) -> None:
    one = InReview(store, silent_release(SOON))
    one.happen(end)
    assert shown(one.id) == status
    claim_when_due(InReview(store, silent_release(SOON), "2"))
    assert claim(one) == [], "nothing is due of what ended, though it would have expired before the other"


def test_resumed_it_is_in_review_again_and_waits_for_as_long_again(store: Stored, shown: Shown) -> None:
    one = InReview(store)
    one.happen(GAVE_UP)

    def resume(loaded: Loaded) -> Plan:
        return Plan((RESUMED,), reopen=to_go_on(evolve(loaded.state, RESUMED)))

    one.recorder.record([Work("demo", one.id, None, resume)])
    assert shown(one.id) == "in_review"
    assert [step.step_id for step in to_go_on(one.loaded.state)] == [one.step]
    assert claim(one) == []
    assert one.resolve().orchestration_status == "running"
