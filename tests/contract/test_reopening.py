"""The rest of the ``Store`` port's contract: what repairing needs. A step is done again as if it were new, an
orchestration is started besides another, and what is closed is opened only by being resumed."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from app.adapters.memory.store import MemoryStore
from app.adapters.postgresql.database import Database
from app.adapters.postgresql.store import PostgresqlStore
from app.data_plane.ports import NewStep, Queue, Store, Verdict
from app.data_plane.replay.register import Beginning
from app.kernel.clock import SystemClock
from app.kernel.facts import (
    ActionAuthorised,
    DeliveryFailed,
    DeliveryProbed,
    OrchestrationClosed,
    OrchestrationResumed,
    OrchestrationStarted,
)
from interlock.identity import advance_id
from tests.accepted_events import accepted_event
from tests.contract.test_store import (
    DEMO,
    SNAPSHOT,
    accept,
    add_steps,
    advance,
    append,
    change,
    claim_run,
    facts,
    run,
    verdict,
)

RESUMED = OrchestrationResumed(replay_id="rpl_1", actor="alice", reason_digest="0" * 64)
GAVE_UP = OrchestrationClosed(status="dead_lettered", reason="no")


@pytest.fixture(params=["memory", "postgresql"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """One store of each kind, empty."""
    if request.param == "memory":
        yield MemoryStore()
        return
    database = Database(request.getfixturevalue("fresh_database"), "interlock_worker")
    yield PostgresqlStore(database, SystemClock())
    database.close()


class TestReopening:
    """Whatever became of a step, it is due once more, and nobody holds it."""

    def test_a_finished_step_is_done_again_as_if_it_were_new(self, store: Store) -> None:
        (orchestration,) = accept(store, accepted_event("1"))
        claim = advance(store, orchestration)
        store.commit([change(orchestration, claim=claim)])
        step = NewStep(claim.step_id, "demo", orchestration, Queue.ORCHESTRATION)
        assert verdict(store, change(orchestration, reopen=(step,))) is Verdict.RECORDED
        again = advance(store, orchestration)
        assert (again.attempt, again.lapses) == (1, 0)
        assert again.fence > claim.fence
        assert verdict(store, change(orchestration, claim=again)) is Verdict.RECORDED

    def test_who_holds_a_step_that_is_reopened_has_lost_it(self, store: Store) -> None:
        (orchestration,) = accept(store, accepted_event("1"))
        add_steps(store, orchestration, run(orchestration))
        (held,) = claim_run(store)
        store.commit([change(orchestration, reopen=(run(orchestration),))])
        assert verdict(store, change(orchestration, claim=held)) is Verdict.FENCED
        (claim,) = claim_run(store, worker="other")
        assert verdict(store, change(orchestration, claim=claim)) is Verdict.RECORDED

    def test_a_reopened_parent_waits_for_its_reopened_members(self, store: Store) -> None:
        (orchestration,) = accept(store, accepted_event("1"))
        parent = NewStep("agg_1", "demo", orchestration, Queue.AGGREGATION, open_members=1)
        member = run(orchestration, parent_id="agg_1")
        add_steps(store, orchestration, parent, member)
        store.commit([change(orchestration, claim=claim_run(store)[0])])
        (claim,) = store.claim(Queue.AGGREGATION, limit=1, worker="w")
        store.commit([change(orchestration, claim=claim)])

        store.commit([change(orchestration, reopen=(parent, member))])

        assert store.claim(Queue.AGGREGATION, limit=1, worker="w") == []
        ready = store.commit([change(orchestration, claim=claim_run(store)[0])]).ready
        assert ready == (("agg_1", Queue.AGGREGATION),)
        assert len(store.claim(Queue.AGGREGATION, limit=1, worker="w")) == 1

    def test_a_step_that_never_was_is_made(self, store: Store) -> None:
        (orchestration,) = accept(store, accepted_event("1"))
        store.commit([change(orchestration, reopen=(run(orchestration),))])
        assert len(claim_run(store)) == 1

    def test_a_step_that_is_due_later_is_not_claimed_before(self, store: Store) -> None:
        (orchestration,) = accept(store, accepted_event("1"))
        add_steps(
            store, orchestration, run(orchestration, due_in_seconds=60.0), run(orchestration, "run_now")
        )
        claimed = store.claim(Queue.AGENT_RUNS, limit=9, worker="w")
        assert [claim.step_id for claim in claimed] == ["run_now"]

    def test_an_orchestration_is_started_besides_with_its_first_fact_and_its_first_step(
        self, store: Store
    ) -> None:
        (original,) = accept(store, accepted_event("1"))
        (first,) = facts(store, original)
        assert isinstance(first, OrchestrationStarted)
        started = first.model_copy(
            update={"lane": "rerun", "ordinal": 1, "release": "ab" * 32, "replay_of": original}
        )
        step = NewStep(advance_id("orc_again"), "demo", "orc_again", Queue.ORCHESTRATION)
        one = change(
            original,
            claim=advance(store, original),
            begins=Beginning("orc_again", started, f"00-{'1' * 32}-{'1' * 16}-01"),
            new_steps=(step,),
        )
        assert verdict(store, one) is Verdict.RECORDED
        history = store.histories(DEMO, ["orc_again"])["orc_again"]
        assert (history.release, history.head_seq) == ("ab" * 32, 1)
        assert history.traceparent == f"00-{'1' * 32}-{'1' * 16}-01"
        assert facts(store, "orc_again") == [started]
        assert advance(store, "orc_again").orchestration_id == "orc_again"
        assert facts(store, original) == [first]

    def test_what_a_loser_wanted_reopened_and_begun_is_not(self, store: Store) -> None:
        (orchestration,) = accept(store, accepted_event("1"))
        (first,) = facts(store, orchestration)
        assert isinstance(first, OrchestrationStarted)
        claim = advance(store, orchestration)
        store.commit([change(orchestration, claim=claim)])
        lost = change(
            orchestration,
            claim=claim,
            reopen=(run(orchestration),),
            begins=Beginning("orc_again", first, None),
        )
        assert verdict(store, lost) is Verdict.FENCED
        assert claim_run(store) == []
        assert store.histories(DEMO, ["orc_again"]) == {}


class TestInPostgresql:
    """What only the tables can show."""

    @pytest.fixture
    def stored(self, fresh_database: str) -> Iterator[Store]:
        database = Database(fresh_database, "interlock_worker")
        yield PostgresqlStore(database, SystemClock())
        database.close()

    def test_a_closed_row_is_opened_by_being_resumed_and_by_nothing_else(
        self, stored: Store, fresh_database: str
    ) -> None:
        (orchestration,) = accept(stored, accepted_event("1"))
        row = "SELECT status, closed_at IS NULL FROM orchestrations"
        probed = DeliveryProbed(
            action_id="act_1", attempt=1, probe=1, answer="unknown", reason="", receipt_digest=""
        )
        with psycopg.connect(fresh_database, autocommit=True) as connection:
            stored.commit([change(orchestration, orchestration=append(orchestration, 1, SNAPSHOT, GAVE_UP))])
            assert connection.execute(row).fetchone() == ("dead_lettered", False)
            stored.commit([change(orchestration, orchestration=append(orchestration, 3))])
            stored.commit([change(orchestration, orchestration=append(orchestration, 3, probed))])
            assert connection.execute(row).fetchone() == ("dead_lettered", False)
            stored.commit([change(orchestration, orchestration=append(orchestration, 4, RESUMED))])
            assert connection.execute(row).fetchone() == ("running", True)
            stored.commit([change(orchestration, orchestration=append(orchestration, 5, GAVE_UP))])
            assert connection.execute(row).fetchone() == ("dead_lettered", False)
            again = (RESUMED, OrchestrationClosed(status="completed", reason="yes"))
            stored.commit([change(orchestration, orchestration=append(orchestration, 6, *again))])
            assert connection.execute(row).fetchone() == ("completed", False)

    def test_an_action_that_gave_up_is_permitted_again_in_the_read_model(
        self, stored: Store, fresh_database: str
    ) -> None:
        (orchestration,) = accept(stored, accepted_event("1"))
        action = ActionAuthorised(
            action_id="act_1",
            name="record",
            position=0,
            tool="reference.record",
            target="tracker",
            arguments_digest="0" * 64,
            idempotency_key="key_1",
            policies=(),
        )
        failed = DeliveryFailed(action_id="act_1", attempt=1, reason="refused (status 400)")
        stored.commit([change(orchestration, orchestration=append(orchestration, 1, action))])
        stored.commit([change(orchestration, orchestration=append(orchestration, 2, failed, GAVE_UP))])
        stored.commit([change(orchestration, orchestration=append(orchestration, 4, RESUMED))])
        with psycopg.connect(fresh_database) as connection:
            assert connection.execute("SELECT state FROM actions").fetchall() == [("authorised",)]
