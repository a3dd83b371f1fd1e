"""The exporter beside real servers: it tells what it can, quickly, whatever is away, and never goes back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from prometheus_client import CollectorRegistry, generate_latest

from app.adapters.postgresql import fact_counts
from app.adapters.postgresql.breaker_history import PostgresqlBreakerHistory
from app.adapters.postgresql.database import Database
from app.adapters.postgresql.rows import Link, insert_links
from app.adapters.prometheus import durable
from app.bootstrap import durable_facts
from app.data_plane import breaker_time
from app.data_plane.breaker_time import Move, open_seconds
from app.data_plane.breakers import BreakerName, BreakerReading, BreakerState
from app.kernel.facts import StepLapsed, encode
from app.supervisor.embedded import EmbeddedServers
from app.telemetry import metric_names as names
from config.settings import Settings
from tests import metrics_truth
from tests.metrics_truth import Page, values
from tests.unit.telemetry.test_metric_names import NAMES
from tests.unit.telemetry.test_metrics import MEASURED

NAME = BreakerName("acme", "large")
CHANGE = (
    "INSERT INTO breaker_changes (change_id, provider, model, from_state, to_state, reason, at)"
    " VALUES (%s, 'acme', 'large', %s, %s, '', %s)"
)
NOWHERE = "postgresql://nobody@127.0.0.1:9/nothing"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ROUND = ("open", "half-open", "open", "half-open", "closed")
"""How a breaker goes when its first probe fails: open for 10 s and for 10 s, of 45 s in all."""


@pytest.fixture(scope="module")
def redis_url(module_home: Path) -> Iterator[str]:
    with EmbeddedServers(module_home, postgresql=False, durable=False) as servers:
        yield servers.redis_url


def scraped(tmp_path: Path, database_url: str, redis_url: str) -> Page:
    """What an exporter that was just started tells."""
    settings = Settings(home=tmp_path, database_url=database_url, redis_url=redis_url)
    with durable_facts(settings) as facts:
        registry = CollectorRegistry()
        registry.register(facts)
        return metrics_truth.parsed(generate_latest(registry).decode())


def move(database_url: str, states: tuple[str, ...], since: datetime, seconds: float) -> None:
    """The breaker moves through these states, so many seconds apart."""
    with psycopg.connect(database_url) as connection:
        for number, (before, after) in enumerate(zip(("closed", *states), states, strict=False)):
            at = since + timedelta(seconds=number * seconds)
            connection.execute(CHANGE, [f"{at.timestamp()}", before, after, at])


def total(database_url: str, *readings: BreakerReading) -> float:
    """How long the breaker was open in all, as an exporter that was just started says."""
    with closing(Database(database_url, "interlock_metrics")) as database:
        return (
            PostgresqlBreakerHistory(database)
            .read(dict(zip([NAME], readings, strict=False)))
            .open_seconds[NAME]
        )


def reading(state: BreakerState, since: datetime | None) -> BreakerReading:
    """What Redis says an hour after noon."""
    return BreakerReading(state, "turn", 0, since, NOON + timedelta(hours=1), probing=False)


def test_whatever_is_away_is_told_and_the_rest_is_there(
    tmp_path: Path, fresh_database: str, redis_url: str
) -> None:
    """A scrape that fails as a whole would leave operators blind when they need to see."""
    up = values(scraped(tmp_path, fresh_database, redis_url), names.EXPORTER_UP, "source")
    assert up == {("postgresql",): 1.0, ("redis",): 1.0}

    page = scraped(tmp_path, NOWHERE, redis_url)
    assert values(page, names.EXPORTER_UP, "source") == {("redis",): 1.0}
    assert names.QUEUE_LENGTH in page
    assert names.FACTS not in page

    page = scraped(tmp_path, fresh_database, "redis://127.0.0.1:9/0")
    assert values(page, names.EXPORTER_UP, "source") == {("postgresql",): 1.0}
    assert names.QUEUE_DEPTH in page
    assert names.QUEUE_LENGTH not in page


def test_every_metric_of_the_exporter_is_there(tmp_path: Path, fresh_database: str, redis_url: str) -> None:
    """A panel over a name that nothing feeds would stay empty for ever."""
    (tmp_path / "anchors").mkdir()
    (tmp_path / "anchors" / "000001.jsonl").write_text("")
    settings = Settings(home=tmp_path, database_url=fresh_database, redis_url=redis_url)
    with durable_facts(settings) as facts:
        told = {metric.name + ("_total" if metric.type == "counter" else "") for metric in facts.collect()}
    assert told == NAMES - MEASURED


def test_two_who_scrape_read_once(
    tmp_path: Path, fresh_database: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0
    read = durable.DurableFacts._read

    def counted(self: durable.DurableFacts) -> Any:
        nonlocal reads
        reads += 1
        return read(self)

    monkeypatch.setattr(durable.DurableFacts, "_read", counted)
    monkeypatch.setattr(durable, "FRESH_SECONDS", 600.0)
    settings = Settings(home=tmp_path, database_url=fresh_database, redis_url=redis_url)
    with durable_facts(settings) as facts:
        pages = [len(list(facts.collect())) for _ in range(3)]
    assert reads == 1
    assert len(set(pages)) == 1


def test_a_breakers_open_time_is_that_of_its_moves_however_often_it_is_asked_for(fresh_database: str) -> None:
    """What is settled is added once, across restarts; half-open is not open."""
    move(fresh_database, ROUND, NOON, 10.0)
    assert [total(fresh_database) for _ in range(3)] == [20.0] * 3


def test_open_seconds_are_not_told_before_they_are_settled_so_that_no_restart_tells_less(
    fresh_database: str,
) -> None:
    """A decrease is a reset to Prometheus, which adds all of the counter once more: CircuitOpen for nothing."""
    now = datetime.now(UTC)
    move(fresh_database, ("open",), now - timedelta(hours=1), 1.0)
    told = total(fresh_database)
    # That it had ended comes to be known after it was told of.
    move(fresh_database, ("half-open", "closed"), now - timedelta(seconds=1), 0.5)
    assert 3500.0 < told <= total(fresh_database)


def test_a_window_of_the_counter_is_the_share_of_time_that_the_breaker_was_open(fresh_database: str) -> None:
    """The circuit-open ratio: the counter's increase over the window, for any window of the history."""
    move(fresh_database, ROUND, NOON, 10.0)
    moves = [Move(to, NOON + timedelta(seconds=10 * n)) for n, to in enumerate(ROUND)]  # type: ignore[arg-type]
    for begin, end in ((0, 10), (5, 35), (-20, 100), (12, 19), (29, 31)):
        since, until = NOON + timedelta(seconds=begin), NOON + timedelta(seconds=end)
        true = metrics_truth.open_seconds(fresh_database, until, since)["acme", "large"]
        known = [*(one for one in moves if one.at <= since)][-1:] + [one for one in moves if one.at > since]
        assert open_seconds(known, since, until) == true


def test_the_comparison_finds_a_count_that_takes_half_open_for_open(
    fresh_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one above can fail."""
    move(fresh_database, ROUND, NOON, 10.0)
    true = metrics_truth.open_seconds(fresh_database, NOON + timedelta(hours=1))["acme", "large"]
    honest = breaker_time.open_seconds

    def generous(moves: list[Move], since: datetime | None, until: datetime) -> float:
        return honest(
            [Move("open" if one.to_state != "closed" else "closed", one.at) for one in moves], since, until
        )

    monkeypatch.setattr("app.adapters.postgresql.breaker_history.open_seconds", generous)
    assert total(fresh_database) > true == 20.0


def test_the_comparison_with_the_record_finds_a_lapse_that_was_not_counted(
    tmp_path: Path, fresh_database: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fault runs compare would see it."""
    lapse = StepLapsed(step_id="step", queue="aggregation", lapses=1)
    body = encode("run_1", 0, "2026-01-01T00:00:00.000000Z", lapse)
    with (
        closing(Database(fresh_database, "interlock_worker")) as database,
        database.transaction(["demo"]) as at,
    ):
        insert_links(at, [Link("run_1", 0, "demo", body, b"")])
    assert metrics_truth.differences(scraped(tmp_path, fresh_database, redis_url), fresh_database) == []

    honest = fact_counts.counts
    monkeypatch.setattr(
        fact_counts,
        "counts",
        lambda recorded, known: (one for one in honest(recorded, known) if one.metric != names.RETRIES),
    )
    with psycopg.connect(fresh_database) as connection:
        connection.execute("DELETE FROM fact_counts")
        connection.execute("UPDATE fact_counts_position SET upto = 0, running = '{}'")
    (found,) = metrics_truth.differences(scraped(tmp_path, fresh_database, redis_url), fresh_database)
    assert found.startswith(names.RETRIES)


@pytest.mark.parametrize("state", ["half-open", "closed"])
def test_a_breaker_was_open_until_redis_says_though_that_move_is_not_written_yet(
    fresh_database: str, state: BreakerState
) -> None:
    """What is settled is never taken back: it must not be settled as less, nor counted twice when it is written."""
    move(fresh_database, ("open",), NOON, 1.0)
    moved = NOON + timedelta(seconds=15)
    assert total(fresh_database, reading(state, moved)) == 15.0
    with psycopg.connect(fresh_database) as connection:
        connection.execute(CHANGE, ["late", "open", state, moved])
    assert total(fresh_database, reading(state, moved)) == 15.0


def test_a_breaker_opened_when_redis_says_though_that_move_is_not_written_yet(fresh_database: str) -> None:
    move(fresh_database, ("open", "half-open"), NOON, 10.0)
    opened = datetime.now(UTC) - timedelta(seconds=100)
    assert total(fresh_database, reading("open", opened)) >= 10.0 + 90.0


@pytest.mark.parametrize(
    ("field", "value"), [("state", "ajar"), ("since", "yesterday"), ("since", "9" * 30), ("failures", "many")]
)
def test_what_is_no_breakers_state_costs_that_breaker_and_no_more(
    tmp_path: Path, fresh_database: str, redis_url: str, field: str, value: str
) -> None:
    """Whoever can write to Redis must not be able to blind operators."""
    move(fresh_database, ("open",), NOON, 1.0)
    with closing(redis.Redis.from_url(redis_url)) as client:
        key = "interlock:breaker:state:acme:large"
        client.hset(key, field, value)
        client.zadd("interlock:workers:seen", {b"\xff": 1e12})
        page = scraped(tmp_path, fresh_database, redis_url)
        client.delete(key, "interlock:workers:seen")
    assert values(page, names.EXPORTER_UP, "source") == {("postgresql",): 1.0, ("redis",): 1.0}
    assert values(page, names.CIRCUIT_STATE, "provider", "state") == {("acme", "open"): 1.0}


def test_a_breaker_that_redis_forgot_is_not_open_for_ever(
    tmp_path: Path, fresh_database: str, redis_url: str
) -> None:
    """Redis may forget; its last move would else count as open until somebody asks that model again."""
    with psycopg.connect(fresh_database) as connection:
        row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    move(fresh_database, ("open",), row[0] - timedelta(days=1), 1.0)
    page = scraped(tmp_path, fresh_database, redis_url)
    assert values(page, names.CIRCUIT_STATE, "provider", "state") == {("acme", "closed"): 1.0}
    assert values(page, names.CIRCUIT_OPEN_SECONDS, "provider") == {}
