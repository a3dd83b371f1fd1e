"""Dead letters in every store: written with their facts or not at all, repeated in place when messages tell of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

import psycopg
import pytest

from app.adapters.memory.store import MemoryStore
from app.adapters.postgresql import dead_letters as adapter
from app.adapters.postgresql.database import Database
from app.adapters.postgresql.rebuild import rebuild_projections
from app.adapters.postgresql.store import PostgresqlStore
from app.data_plane.dead_letters.from_facts import Changes
from app.data_plane.dead_letters.letters import NO_TENANT, Cause, DeadLetterRow, dead_letter_id
from app.data_plane.ports import DeadLetters, Queue, StepOwner, Store, Verdict
from app.kernel.clock import SystemClock
from app.kernel.errors import Fate
from app.kernel.facts import (
    ActionSettled,
    AnyFact,
    DeliveryFailed,
    DeliveryInDoubt,
    OrchestrationClosed,
    OrchestrationResumed,
    RunFolded,
    StepGaveUp,
)
from interlock.identity import action_id, advance_id, run_id
from tests.accepted_events import accepted_event
from tests.contract.test_store import DEMO, accept, advance, append, change, verdict

RESUMED = OrchestrationResumed(replay_id="rpl_1", actor="ines", reason_digest="0" * 64)


class Stored(Store, DeadLetters, Protocol):
    """Both ports, which one adapter keeps."""


@pytest.fixture(params=["memory", "postgresql"])
def store(request: pytest.FixtureRequest) -> Iterator[Stored]:
    """One store of each kind, empty."""
    if request.param == "memory":
        yield MemoryStore()
        return
    database = Database(request.getfixturevalue("fresh_database"), "interlock_worker")
    yield PostgresqlStore(database, SystemClock())
    database.close()


def gave_up(orchestration: str) -> StepGaveUp:
    return StepGaveUp(step_id=advance_id(orchestration), queue="orchestration", code="defect", attempts=5)


def in_doubt(orchestration: str) -> DeliveryInDoubt:
    return DeliveryInDoubt(
        action_id=action_id(orchestration, "record", 0), attempt=1, reason="timed_out (status 0)"
    )


def folded(orchestration: str, failure: str) -> RunFolded:
    return RunFolded(
        stage="classify",
        agent="alpha",
        run_id=run_id(orchestration, "classify", "alpha"),
        proposal_digest=None,
        failure=failure,
        chain_length=1,
        chain_hash="ab",
    )


def record(store: Store, orchestration: str, *facts: AnyFact) -> None:
    """Append facts behind what is there."""
    head = store.histories(DEMO, [orchestration])[orchestration].head_seq
    one = change(orchestration, orchestration=append(orchestration, head, *facts))
    assert verdict(store, one) is Verdict.RECORDED


def of_message(subject: str, **more: object) -> DeadLetterRow:
    """The row of a message."""
    row = DeadLetterRow(
        dead_letter_id=dead_letter_id(subject, Cause.UNKNOWN_TASK),
        tenant_id=NO_TENANT,
        event_id="",
        orchestration_id="",
        run_id="",
        workflow="",
        step_id="",
        queue="ingestion",
        cause=Cause.UNKNOWN_TASK,
        code="unregistered_task",
        fate=Fate.PERMANENT,
        what="A message asks for something.",
        remedy="Mend it.",
        first_at="2026-01-01T00:00:00.000000Z",
        last_at="2026-01-01T00:00:00.000000Z",
        message_digest="ab" * 32,
    )
    return replace(row, **more)  # type: ignore[arg-type]


class TestFromFacts:
    """A dead letter is written in the commit of the fact that it follows from."""

    def test_it_is_there_with_its_fact_and_has_the_four_keys(self, store: Stored) -> None:
        (one,) = accept(store, accepted_event("7"))
        record(store, one, gave_up(one))
        (row,) = store.dead_letters(DEMO, [one])
        assert (row.tenant_id, row.event_id, row.orchestration_id) == ("demo", "7", one)
        assert (row.workflow, row.cause, row.step_id) == ("branching", Cause.FAILED_STEP, advance_id(one))
        fact = store.histories(DEMO, [one])[one].facts[-1]
        assert (row.first_at, row.last_at) == (fact.at, fact.at)

    def test_whoever_comes_late_leaves_no_dead_letter(self, store: Stored) -> None:
        """A fenced or moved change has no facts, and so nothing that follows from them."""
        (one,) = accept(store, accepted_event("1"))
        claim = advance(store, one)
        facts = append(one, 1, gave_up(one))
        late = replace(claim, fence=claim.fence - 1)
        assert verdict(store, change(one, claim=late, orchestration=facts)) is Verdict.FENCED
        assert verdict(store, change(one, orchestration=append(one, 9, gave_up(one)))) is Verdict.MOVED
        assert store.dead_letters(DEMO, [one]) == ()

    def test_a_batch_writes_those_of_all_its_orchestrations(self, store: Stored) -> None:
        ids = accept(store, *(accepted_event(str(number)) for number in range(3)))
        batch = [change(one, orchestration=append(one, 1, in_doubt(one), gave_up(one))) for one in ids]
        assert set(store.commit(batch).verdicts) == {Verdict.RECORDED}
        rows = store.dead_letters(DEMO, ids)
        assert sorted((row.orchestration_id, row.cause.value) for row in rows) == sorted(
            (one, cause) for one in ids for cause in ("failed_step", "in_doubt")
        )

    def test_a_run_past_its_limit_is_settled_when_its_orchestration_completes_without_it(
        self, store: Stored
    ) -> None:
        """And one that ended its workers stays open: somebody has to look for what ends them."""
        slow, deadly = accept(store, accepted_event("1"), accepted_event("2"))
        completed = OrchestrationClosed(status="completed", reason="decided")
        record(store, slow, folded(slow, "timed_out"))
        record(store, deadly, folded(deadly, "gave_up"))
        assert {row.state for row in store.dead_letters(DEMO, [slow, deadly])} == {"open"}
        record(store, slow, completed)
        record(store, deadly, completed)
        states = {row.cause: row.state for row in store.dead_letters(DEMO, [slow, deadly])}
        assert states == {Cause.TIME_LIMIT: "settled", Cause.LOST_WORKER: "open"}

    def test_giving_up_again_counts_and_opens_again(self, store: Stored) -> None:
        (one,) = accept(store, accepted_event("1"))
        record(store, one, gave_up(one))
        record(store, one, RESUMED)
        (closed,) = store.dead_letters(DEMO, [one])
        assert (closed.state, closed.times) == ("replayed", 1)
        record(store, one, gave_up(one))
        (row,) = store.dead_letters(DEMO, [one])
        assert (row.state, row.times, row.first_at) == ("open", 2, closed.first_at)
        assert row.last_at > row.first_at

    def test_facts_of_one_commit_count_in_their_order(self, store: Stored) -> None:
        (one,) = accept(store, accepted_event("1"))
        record(store, one, gave_up(one), RESUMED)
        assert [row.state for row in store.dead_letters(DEMO, [one])] == ["replayed"]
        record(store, one, RESUMED, gave_up(one))
        assert [(row.state, row.times) for row in store.dead_letters(DEMO, [one])] == [("open", 2)]

    def test_resuming_closes_all_but_what_is_in_doubt_and_nobody_elses(self, store: Stored) -> None:
        one, other = accept(store, accepted_event("1"), accepted_event("2"))
        record(store, one, in_doubt(one), gave_up(one))
        record(store, other, gave_up(other))
        store.report([of_message("m", tenant_id="demo", orchestration_id=one)])
        record(store, one, RESUMED)
        states = {row.cause.value: row.state for row in store.dead_letters(DEMO, [one])}
        assert states == {"failed_step": "replayed", "in_doubt": "open", "unknown_task": "replayed"}
        assert [row.state for row in store.dead_letters(DEMO, [other])] == ["open"]

    def test_settling_closes_that_actions_doubt_alone(self, store: Stored) -> None:
        (one,) = accept(store, accepted_event("1"))
        record(store, one, in_doubt(one), gave_up(one))
        action = in_doubt(one).action_id
        said = ActionSettled(action_id=action, attempt=1, applied=True, actor="ines", reason_digest="0" * 64)
        record(store, one, said)
        states = {row.cause.value: row.state for row in store.dead_letters(DEMO, [one])}
        assert states == {"failed_step": "open", "in_doubt": "settled"}

    def test_another_tenants_are_not_seen(self, store: Stored) -> None:
        (one,) = accept(store, accepted_event("1"))
        record(store, one, gave_up(one))
        assert store.dead_letters(("other",), [one]) == ()

    def test_a_batch_without_any_asks_the_database_nothing(self) -> None:
        """The usual commit pays nothing: there is no connection to ask here."""
        adapter.apply(None, Changes())  # type: ignore[arg-type]


class TestFromMessages:
    """Reports are upserted: one row for each cause and message."""

    def test_the_same_again_is_one_row_counted_on_and_opened_again(self, store: Stored) -> None:
        (one,) = accept(store, accepted_event("1"))
        row = of_message("m", tenant_id="demo", orchestration_id=one)
        store.report([row])
        record(store, one, RESUMED)
        store.report([replace(row, times=3, last_at="2026-01-02T00:00:00.000000Z", code="another_code")])
        (found,) = store.dead_letters(DEMO, [one])
        assert found == replace(
            row, times=4, last_at="2026-01-02T00:00:00.000000Z", code="another_code", state="open"
        )

    def test_whose_a_step_is_comes_from_the_work_index(self, store: Stored) -> None:
        one, other = accept(store, accepted_event("1"), accepted_event("2", tenant="other"))
        owners = store.owners({advance_id(one), other, "run_" + "0" * 32})
        assert owners == {
            advance_id(one): StepOwner("demo", one, "1", "branching", advance_id(one)),
            other: StepOwner("other", other, "2", "branching", ""),
        }
        assert store.owners(set()) == {}

    def test_rows_of_several_tenants_are_one_commit(self, store: Stored) -> None:
        one, other = accept(store, accepted_event("1"), accepted_event("2", tenant="other"))
        store.report(
            [
                of_message("a", tenant_id="demo", orchestration_id=one),
                of_message("b", tenant_id="other", orchestration_id=other),
                of_message("c"),
            ]
        )
        assert len(store.dead_letters(DEMO, [one, other])) == 1
        assert len(store.dead_letters(("demo", "other"), [one, other])) == 2


class TestRebuilding:
    """``projections rebuild``: rows that follow from journals are made again; those of messages stay as they are."""

    @pytest.fixture
    def stored(self, fresh_database: str) -> Iterator[Stored]:
        database = Database(fresh_database, "interlock_worker")
        with psycopg.connect(fresh_database) as connection:
            connection.execute(
                "INSERT INTO tenants (tenant_id, version, digest, document) VALUES ('demo', 1, '', '{}')"
            )
        yield PostgresqlStore(database, SystemClock())
        database.close()

    def test_dropped_and_edited_rows_come_back_identical(self, stored: Stored, fresh_database: str) -> None:
        one, other = accept(stored, accepted_event("1"), accepted_event("2"))
        failed = DeliveryFailed(
            action_id=action_id(other, "record", 0), attempt=2, reason="http_422 (status 422)"
        )
        record(stored, one, in_doubt(one), gave_up(one))
        record(stored, one, RESUMED)
        record(stored, one, gave_up(one))
        record(stored, other, failed)
        stored.report([of_message("m", tenant_id="demo", orchestration_id=one, times=5), of_message("n")])
        before = rows(fresh_database)
        assert len(before) == 5
        assert rebuild(fresh_database) == (0, 0, 0)

        run(fresh_database, "DELETE FROM dead_letters WHERE cause = 'in_doubt'")
        run(
            fresh_database, "UPDATE dead_letters SET times = 9, state = 'settled' WHERE cause = 'failed_step'"
        )
        run(
            fresh_database,
            "INSERT INTO dead_letters SELECT 'dlr_stray', tenant_id, event_id, 'orc_stray', run_id, workflow, step_id,"
            " queue, cause, code, fate, what, remedy, state, times, first_at, last_at FROM dead_letters"
            " WHERE cause = 'failed_delivery'",
        )
        assert rebuild(fresh_database) == (1, 1, 1)
        assert rows(fresh_database) == before

    def test_what_was_started_anew_stays_replayed(self, stored: Stored, fresh_database: str) -> None:
        """A rerun is no fact of the original's journal: the register of replays tells."""
        (one,) = accept(stored, accepted_event("1"))
        record(stored, one, in_doubt(one), gave_up(one))
        run(
            fresh_database,
            "INSERT INTO replays (replay_id, tenant_id, orchestration_id, dead_letter_id, mode, release, actor,"
            " reason_digest, plan_digest, state, new_orchestration_id, finished_at) VALUES ('rpl_1', 'demo',"
            f" '{one}', '', 'rerun', '', 'ines', '', '', 'done', 'orc_new', clock_timestamp())",
        )
        run(fresh_database, "UPDATE dead_letters SET state = 'replayed' WHERE cause = 'failed_step'")
        assert rebuild(fresh_database) == (0, 0, 0)


def rebuild(url: str) -> tuple[int, int, int]:
    """Rebuild, and count what was missing, differing and extra."""
    database = Database(url, "interlock_control")
    rebuilt = rebuild_projections(database, DEMO, dry_run=False)
    database.close()
    return len(rebuilt.missing), len(rebuilt.differing), len(rebuilt.extra)


def rows(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute("SELECT d::text FROM dead_letters d ORDER BY 1")]


def run(url: str, statement: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(statement)  # type: ignore[call-overload]


def test_queues_of_reports_are_the_real_ones() -> None:
    """The queue's name is part of messages in flight."""
    assert Queue.DEAD_LETTER.value == "dead_letter"
