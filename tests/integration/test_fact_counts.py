"""Counting over a real database: each fact once, whoever was writing meanwhile, in whatever order they commit."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from types import ModuleType

import psycopg
import pytest

from app.adapters.postgresql import breaker_history, fact_counts
from app.adapters.postgresql.breaker_history import PostgresqlBreakerHistory
from app.adapters.postgresql.database import Database
from app.adapters.postgresql.fact_counts import FactCounts
from app.adapters.postgresql.rows import Link, insert_links
from app.adapters.postgresql.store import PostgresqlStore
from app.data_plane.ports import Append, Change
from app.kernel.clock import SystemClock
from app.kernel.facts import (
    BaseFact,
    ModelAnswered,
    ModelAsked,
    OrchestrationClosed,
    StepGaveUp,
    StepLapsed,
    encode,
)
from app.telemetry import metric_names as names
from tests.accepted_events import accepted_event, orchestration_of

AT = "2026-01-01T00:00:00.000000Z"
LAPSE = StepLapsed(step_id="step", queue="aggregation", lapses=1)


@pytest.fixture
def database(fresh_database: str) -> Iterator[Database]:
    with closing(Database(fresh_database, "interlock_metrics", size=2)) as found:
        yield found


@pytest.fixture
def counting(database: Database) -> FactCounts:
    return FactCounts(database)


def write(connection: psycopg.Connection[tuple[object, ...]], chain: str, seq: int, *facts: BaseFact) -> None:
    """Facts as rows of a journal, in whatever transaction that is."""
    links = [
        Link(chain, seq + n, "demo", encode(chain, seq + n, AT, fact), b"") for n, fact in enumerate(facts)
    ]
    insert_links(connection, links)


def lapses(counting: FactCounts) -> int:
    """How many facts are counted, when everything is."""
    assert counting.fold(60.0)
    return counting.sums().values.get(names.RETRIES, {}).get(("aggregation", "step_lapsed"), 0)


def test_a_fact_is_counted_once_though_its_transaction_was_open_while_others_were_counted(
    counting: FactCounts, fresh_database: str
) -> None:
    """The trap of every cursor over a growing table: who begins first may commit last."""
    with psycopg.connect(fresh_database) as slow, psycopg.connect(fresh_database) as quick:
        write(slow, "run_slow", 0, LAPSE)
        write(quick, "run_quick", 0, LAPSE)
        quick.commit()
        assert lapses(counting) == 1
        write(quick, "run_quick", 1, LAPSE)
        quick.commit()
        assert lapses(counting) == 2
        slow.commit()
        assert lapses(counting) == 3
        assert lapses(counting) == 3


def test_what_is_rolled_back_is_never_counted(counting: FactCounts, fresh_database: str) -> None:
    with psycopg.connect(fresh_database) as writer:
        write(writer, "run_1", 0, LAPSE)
        assert lapses(counting) == 0
        writer.rollback()
    assert lapses(counting) == 0


def race(fresh_database: str, counting: FactCounts) -> tuple[int, int]:
    """Writers commit out of order while the facts are counted: how many there are, and how many were counted."""
    writers, rounds = 4, 12
    over = threading.Event()

    def writing(number: int) -> None:
        draw = random.Random(number)
        with psycopg.connect(fresh_database) as one, psycopg.connect(fresh_database) as other:
            for turn in range(rounds):
                write(one, f"run_{number}_a{turn}", 0, *[LAPSE] * draw.randint(1, 5))
                write(other, f"run_{number}_b{turn}", 0, LAPSE)
                # Whoever began first ends last, or not at all.
                other.commit()
                if draw.random() < 0.8:
                    one.commit()
                else:
                    one.rollback()

    def folding() -> None:
        while not over.is_set():
            counting.fold(1.0)

    with ThreadPoolExecutor(writers + 1) as threads:
        folder = threads.submit(folding)
        tasks = [threads.submit(writing, number) for number in range(writers)]
        for task in tasks:
            task.result(timeout=60)
        over.set()
        folder.result(timeout=60)
    with psycopg.connect(fresh_database) as connection:
        row = connection.execute("SELECT count(*) FROM journal").fetchone()
    assert row is not None
    return int(row[0]), lapses(counting)


def test_writers_that_commit_out_of_order_are_each_counted_once(
    counting: FactCounts, fresh_database: str
) -> None:
    written, counted = race(fresh_database, counting)
    assert written > 48
    assert counted == written


FORGETFUL = ("ANY(%(running)s::bigint[])", "ANY(%(running)s::bigint[]) AND false")
"""Who was still running is not looked for again: what commits late is never counted."""
TWICE = ("written_in >= %(since)s", "written_in >= %(since)s - 20")
"""A margin for what commits late, as it is often done: what committed in time is counted again."""


@pytest.mark.parametrize(("planted", "too_many"), [(FORGETFUL, False), (TWICE, True)])
def test_the_race_finds_a_count_that_loses_or_doubles_facts(
    counting: FactCounts,
    fresh_database: str,
    monkeypatch: pytest.MonkeyPatch,
    planted: tuple[str, str],
    too_many: bool,
) -> None:
    """The check above can fail."""
    monkeypatch.setattr(fact_counts, "_NEW", fact_counts._NEW.replace(*planted))
    written, counted = race(fresh_database, counting)
    assert counted > written if too_many else counted < written


def test_two_who_count_at_once_count_each_fact_once(
    counting: FactCounts, database: Database, fresh_database: str
) -> None:
    with psycopg.connect(fresh_database) as writer:
        for number in range(50):
            write(writer, f"run_{number}", 0, LAPSE)
            writer.commit()
    other = FactCounts(database)
    with ThreadPoolExecutor(2) as threads:
        tasks = [threads.submit(one.fold, 10.0) for one in (counting, other) for _ in range(5)]
        for task in tasks:
            task.result(timeout=60)
    assert lapses(counting) == 50


@pytest.mark.parametrize("module", [fact_counts, breaker_history])
def test_whoever_counted_between_anothers_snapshot_and_its_lock_costs_that_one_no_scrape(
    counting: FactCounts,
    database: Database,
    fresh_database: str,
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType,
) -> None:
    """Two exporters that are asked at the same moment both answer."""
    honest = "_moment" if module is fact_counts else "_moves"
    look = getattr(module, honest)
    looks: list[int] = []

    def outrun(*given: object) -> object:
        seen = look(*given)
        if not looks:
            with psycopg.connect(fresh_database) as other:
                other.execute("UPDATE fact_counts_position SET upto = upto")
        looks.append(1)
        return seen

    monkeypatch.setattr(module, honest, outrun)
    assert counting.fold(10.0)
    assert PostgresqlBreakerHistory(database).read().open_seconds == {}
    with psycopg.connect(fresh_database) as writer:
        write(writer, "run_1", 0, LAPSE)
    assert lapses(counting) == 1


def test_a_long_journal_is_counted_in_pages_and_is_not_told_before_it_is_whole(
    counting: FactCounts, fresh_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the facts from before transactions were noted; a restart goes on where the last page ended."""
    with psycopg.connect(fresh_database) as writer:
        write(writer, "run_old", 0, LAPSE)
        writer.execute("ALTER TABLE journal DISABLE TRIGGER USER")
        writer.execute("UPDATE journal SET written_in = NULL")
        for number in range(40):
            write(writer, f"run_{number}", 0, LAPSE)
            writer.commit()
        row = writer.execute("SELECT min(written_in) FROM journal").fetchone()
        assert row is not None
    counting._width = row[0] + 5
    monkeypatch.setattr(fact_counts, "_FEW", 0)
    pages = 0
    while not counting.fold(0.0):
        counting._width = 5
        pages += 1
        assert not counting.sums().is_whole
    assert pages > 5
    assert counting.sums().is_whole
    assert lapses(counting) == 41


def test_a_page_with_too_many_facts_is_begun_anew_with_fewer(
    counting: FactCounts, fresh_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a day without an exporter a scrape must not count for a minute."""
    monkeypatch.setattr(fact_counts, "MOST_FACTS", 10)
    monkeypatch.setattr(fact_counts, "CHUNK", 3)
    monkeypatch.setattr(fact_counts, "_LEAST_WIDTH", 1)
    with psycopg.connect(fresh_database) as writer:
        for number in range(40):
            write(writer, f"run_{number}", 0, LAPSE, LAPSE)
            writer.commit()
    assert lapses(counting) == 80
    assert counting._width < fact_counts.FIRST_WIDTH * 4


def test_a_database_that_was_restored_elsewhere_is_counted_anew(
    counting: FactCounts, fresh_database: str
) -> None:
    """Another server's transaction numbers say nothing; counting on by them would lose or double facts."""
    with psycopg.connect(fresh_database) as writer:
        write(writer, "run_1", 0, LAPSE)
        writer.commit()
        assert lapses(counting) == 1
        writer.execute("UPDATE fact_counts_position SET server = 'another', upto = 1000000000")
        writer.commit()
        write(writer, "run_2", 0, LAPSE)
        writer.commit()
    assert lapses(counting) == 2


def test_facts_are_counted_with_what_they_do_not_say_themselves(
    counting: FactCounts, fresh_database: str
) -> None:
    """Workflows, targets and models are looked up; a question that an earlier page held is found, too."""
    with closing(Database(fresh_database, "interlock_worker")) as worker:
        store = PostgresqlStore(worker, SystemClock())
        event = accepted_event("1")
        store.accept([event])
        one = orchestration_of(event)
        gave_up = StepGaveUp(step_id="agg_1", queue="aggregation", code="defect", attempts=5)
        closed = OrchestrationClosed(status="dead_lettered", reason="")
        store.commit([Change("demo", one, orchestration=Append(one, 1, (gave_up, closed)))])
    asked = ModelAsked(position=0, provider="acme", model="large", prompt_digest="")
    answered = ModelAnswered(
        position=0,
        provider="acme",
        model="large-2026-01-01",
        answer_digest="",
        input_tokens=70,
        output_tokens=5,
        started_at=AT,
        duration_ms=1,
    )
    with psycopg.connect(fresh_database) as writer:
        write(writer, "run_1", 0, asked)
        writer.commit()
        assert counting.fold(60.0)
        write(writer, "run_1", 1, answered)
        writer.commit()
        assert counting.fold(60.0)
    values = counting.sums().values
    workflow = event.routes[0].workflow
    assert values[names.ORCHESTRATIONS_CLOSED] == {(workflow, "dead_lettered"): 1}
    assert values[names.DEAD_LETTERS] == {("aggregation", "failed_step"): 1}
    assert values[names.MODEL_TOKENS] == {("large", "input"): 70, ("large", "output"): 5}
    kinds = Counter({labels[0]: count for labels, count in values[names.FACTS].items()})
    assert kinds == {
        "orchestration_started": 1,
        "step_gave_up": 1,
        "orchestration_closed": 1,
        "model_asked": 1,
        "model_answered": 1,
    }


def test_a_fact_of_a_newer_version_is_counted_as_unknown_and_stops_nothing(
    counting: FactCounts, fresh_database: str
) -> None:
    with psycopg.connect(fresh_database) as writer:
        body = b'{"at":"","chain":"run_1","fact":{"kind":"yet_to_come"},"seq":0}'
        insert_links(writer, [Link("run_1", 0, "demo", body, b"")])
        write(writer, "run_1", 1, LAPSE)
        writer.commit()
    assert lapses(counting) == 1
    assert counting.sums().values[names.FACTS] == {("unknown",): 1, ("step_lapsed",): 1}


def test_labels_beyond_the_cap_are_counted_as_other(
    counting: FactCounts, fresh_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a release's names come to in the end, the page stays readable."""
    monkeypatch.setattr(fact_counts, "MOST_SETS", 3)
    with psycopg.connect(fresh_database) as writer:
        for number in range(6):
            lapse = StepLapsed(step_id="s", queue=f"queue_{number}", lapses=1)
            write(writer, f"run_{number}", 0, lapse)
        writer.commit()
    assert counting.fold(60.0)
    found = counting.sums().values[names.RETRIES]
    assert len(found) == 4
    assert found["other", "other"] == 3


@pytest.mark.parametrize("query", [*fact_counts._ROWS.values(), breaker_history._CHANGES])
def test_rows_are_counted_without_reading_their_tables(fresh_database: str, query: str) -> None:
    """At every scrape: at a million rows a table is read in seconds, and an index of what is counted at once."""
    options = "-c role=interlock_metrics -c enable_seqscan=off -c enable_bitmapscan=off"
    with psycopg.connect(fresh_database, options=options) as connection:
        plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN {query}"))
    assert "Index Only Scan using" in plan


@pytest.mark.parametrize("table", ["payloads", "events", "reference_entries", "tenants", "reservations"])
def test_whoever_counts_sees_no_content(fresh_database: str, table: str) -> None:
    with (
        psycopg.connect(fresh_database, options="-c role=interlock_metrics") as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(f"SELECT * FROM {table}")


@pytest.mark.parametrize(
    "table", ["journal", "orchestrations", "work_index", "dead_letters", "breaker_changes"]
)
def test_whoever_counts_writes_nothing_but_the_counts(fresh_database: str, table: str) -> None:
    with (
        psycopg.connect(fresh_database, options="-c role=interlock_metrics") as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(f"DELETE FROM {table}")
