"""Circuit breakers over a real Redis and PostgreSQL: what they cost, what an outage does to them, and who may order."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from prometheus_client import CollectorRegistry

from app.adapters import breaker_book
from app.adapters.breaker_book import BreakerBook
from app.adapters.postgresql.breakers import PostgresqlBreakers
from app.adapters.postgresql.database import Database
from app.adapters.redis.breakers import SOCKET_SECONDS, THREADS, RedisBreakers
from app.adapters.redis.connection import connect
from app.data_plane.breakers import BreakerChange, BreakerName, BreakerOrder, BreakerRecord, NewOrder
from app.data_plane.models import Admission, Told
from app.kernel.errors import TransientError
from app.kernel.release import RemoteProvider
from app.supervisor.embedded import EmbeddedServers
from app.telemetry import metric_names, metrics
from tests.breakers import MemoryRecord, remote
from tests.eventually import assert_eventually

NAME = BreakerName("acme", "large")
PROVIDER = remote(failures=3, open_seconds=60.0)
Make = Callable[..., RedisBreakers]


@pytest.fixture
def servers(home: Path) -> Iterator[EmbeddedServers]:
    with EmbeddedServers(home, postgresql=False) as started:
        yield started


@pytest.fixture
def make(servers: EmbeddedServers) -> Iterator[Make]:
    """Makes breakers as one process has them, over the test's Redis or another's address."""
    made: list[RedisBreakers] = []

    def one(record: BreakerRecord | None = None, url: str = servers.redis_url) -> RedisBreakers:
        client = connect(url, most_connections=THREADS, socket_seconds=SOCKET_SECONDS)
        made.append(RedisBreakers(client, BreakerBook(record or MemoryRecord())))
        return made[-1]

    yield one
    for breakers in made:
        breakers.close()


@pytest.fixture
def worker(fresh_database: str) -> Iterator[PostgresqlBreakers]:
    """The record as workers have it."""
    with closing(Database(fresh_database, "interlock_worker")) as database:
        yield PostgresqlBreakers(database)


@pytest.fixture
def operator(fresh_database: str) -> Iterator[PostgresqlBreakers]:
    """The record as operators' commands have it."""
    with closing(Database(fresh_database, "interlock_api")) as database:
        yield PostgresqlBreakers(database)


def admit(breakers: RedisBreakers) -> Admission:
    return asyncio.run(breakers.admit(PROVIDER))


async def ask(breakers: RedisBreakers, told: Told, provider: RemoteProvider = PROVIDER) -> Admission:
    admission = await breakers.admit(provider)
    await breakers.tell(provider, admission, told)
    return admission


def open_it(breakers: RedisBreakers) -> None:
    for _ in range(3):
        assert asyncio.run(ask(breakers, "failed")).admitted
    assert admit(breakers).reason == "open"


def test_questions_through_one_breaker_do_not_wait_for_each_other(make: Make) -> None:
    """pybreaker alone holds its lock while the model is asked: all of these are under way at once."""
    breakers = make()
    under_way, most = 0, 0

    async def question(all_asked: asyncio.Event) -> None:
        nonlocal under_way, most
        admission = await breakers.admit(PROVIDER)
        under_way += 1
        most = max(most, under_way)
        if under_way == 200:
            all_asked.set()
        await asyncio.wait_for(all_asked.wait(), 30)
        await breakers.tell(PROVIDER, admission, "answered")

    async def all_questions() -> None:
        all_asked = asyncio.Event()
        await asyncio.gather(*(question(all_asked) for _ in range(200)))

    asyncio.run(all_questions())
    assert most == 200


def test_a_question_costs_one_round_trip_to_be_admitted_and_one_to_be_told(
    make: Make, servers: EmbeddedServers
) -> None:
    """Two where the breaker moves or is probed."""
    breakers = make()
    # Whatever a script costs the first time that Redis sees it, this other breaker has paid.
    other = remote("other", failures=1)
    asyncio.run(ask(breakers, "failed", other))
    with closing(connect(servers.redis_url)) as client:

        def trips(told: Told) -> int:
            client.config_resetstat()
            asyncio.run(ask(breakers, told))
            return sum(
                found["calls"]
                for name, found in client.info("commandstats").items()
                if name.startswith("cmdstat_evalsha")
            )

        assert [trips("answered"), trips("neither"), trips("failed"), trips("failed")] == [2, 1, 2, 2]
        assert trips("failed") == 3, "this one opened it"
        assert trips("failed") == 1, "this one was refused"


def test_a_redis_that_never_answers_is_waited_for_by_a_few_and_warned_of_once(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Promise: Redis down means closed breakers and a warning; a dead one does not cost each question its time-out."""
    connections = 0
    with socket.create_server(("127.0.0.1", 0), backlog=512) as silent:

        def count() -> None:
            nonlocal connections
            held = []
            while True:
                try:
                    held.append(silent.accept())
                except OSError:
                    return
                connections += 1

        threading.Thread(target=count, daemon=True).start()
        breakers = make(url=f"redis://127.0.0.1:{silent.getsockname()[1]}/0")

        async def many() -> list[Admission]:
            return await asyncio.gather(*(ask(breakers, "failed") for _ in range(300)))

        with caplog.at_level(logging.INFO):
            admissions = asyncio.run(many())
        breakers.close()
        silent.shutdown(socket.SHUT_RDWR)
    assert {(one.admitted, one.probe) for one in admissions} == {(True, False)}
    assert 1 <= connections <= 2 * THREADS, "600 commands, and only the first ones waited"
    warned = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [(record.name, record.exc_info) for record in warned] == [("app.adapters.outage", None)]


def test_no_redis_at_all_is_closed_breakers_and_they_count_when_it_comes(
    make: Make, servers: EmbeddedServers
) -> None:
    assert servers.redis is not None
    servers.redis.stop()
    breakers = make()
    assert all(asyncio.run(ask(breakers, "failed")).admitted for _ in range(10))
    servers.redis.start()
    assert_eventually(lambda: not asyncio.run(ask(breakers, "failed")).admitted, what="an open breaker")


def test_what_is_in_redis_and_no_state_of_a_breaker_is_taken_for_a_closed_one(
    make: Make, servers: EmbeddedServers
) -> None:
    with closing(connect(servers.redis_url)) as client:
        client.hset("interlock:breaker:state:acme:large", "state", "ajar")
        assert admit(make()).admitted
        client.set("interlock:breaker:state:acme:large", "not a hash")
        assert admit(make()).admitted


def test_two_processes_share_a_breaker_and_its_opening_is_written_once(
    make: Make, worker: PostgresqlBreakers, operator: PostgresqlBreakers
) -> None:
    """By the one that made it, at Redis's time; the other one only notices."""
    first, second = make(worker), make(worker)

    async def together() -> None:
        admissions = [await breakers.admit(PROVIDER) for breakers in (first, second) * 6]
        await asyncio.gather(
            *(
                breakers.tell(PROVIDER, admission, "failed")
                for breakers, admission in zip((first, second) * 6, admissions, strict=True)
            )
        )

    asyncio.run(together())
    assert not admit(first).admitted
    assert not admit(second).admitted
    assert_eventually(lambda: bool(operator.history("acme", 10)))
    first.close()
    second.close()
    (change,) = operator.history("acme", 10)
    assert isinstance(change, BreakerChange)
    assert (change.breaker, change.from_state, change.to_state) == (NAME, "closed", "open")
    assert change.reason.endswith(" failures in a row")


def test_refusals_are_counted(make: Make) -> None:
    registry = CollectorRegistry()
    metrics.install(registry)
    open_it(make())
    metrics.uninstall()
    refused = {"provider": "acme", "model": "large", "reason": "open"}
    assert registry.get_sample_value(metric_names.BREAKER_REFUSALS, refused) == 1.0


def test_an_order_holds_when_redis_forgets_everything_and_for_processes_that_begin_after_it(
    make: Make, servers: EmbeddedServers, worker: PostgresqlBreakers, operator: PostgresqlBreakers
) -> None:
    """Promise: the operator's word is in the truth. A new process obeys from its first question on."""
    breakers = make(worker)
    assert admit(breakers).admitted
    operator.order(NewOrder(NAME, "forced_open", "alice", "they told us so"))
    assert_eventually(lambda: admit(breakers).reason == "forced_open", within=10.0)
    with closing(connect(servers.redis_url)) as client:
        client.flushall()
    assert admit(breakers).reason == "forced_open"
    assert admit(make(worker)).reason == "forced_open"
    operator.order(NewOrder(NAME, "released", "bob", "they are back"))
    assert_eventually(lambda: admit(breakers).admitted, within=10.0)


class Failing(MemoryRecord):
    """A database that can be taken away, and that can hang."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.hangs = threading.Event()
        self.hangs.set()
        self.tries = 0

    def orders(self) -> Mapping[BreakerName, BreakerOrder]:
        self.tries += 1
        self.hangs.wait()
        if self.away:
            raise TransientError("away")
        return super().orders()

    def write(self, changes: Sequence[BreakerChange]) -> None:
        if self.away:
            raise TransientError("away")
        super().write(changes)


def test_without_the_database_what_was_ordered_holds_and_changes_are_written_later(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is known goes on being obeyed, however old it gets."""
    monkeypatch.setattr(breaker_book, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(breaker_book, "STALE_SECONDS", 0.0)
    record = Failing()
    record.order(BreakerName("other", "large"), "forced_open")
    breakers = make(record)
    forced = remote("other", failures=3)
    assert asyncio.run(breakers.admit(forced)).reason == "forced_open"
    record.away = True
    open_it(breakers)
    tries = record.tries
    assert_eventually(lambda: record.tries > tries + 1, what="trying again")
    assert asyncio.run(breakers.admit(forced)).reason == "forced_open"
    assert record.changes == []
    record.away = False
    assert_eventually(lambda: [change.to_state for change in record.changes] == ["open"])


def test_a_database_that_hangs_holds_up_questions_once_and_not_one_after_the_other(make: Make) -> None:
    """The first questions wait a moment together; those after them do not."""
    record = Failing()
    record.hangs.clear()
    breakers = make(record)

    async def many() -> list[Admission]:
        return await asyncio.gather(*(breakers.admit(PROVIDER) for _ in range(50)))

    began = time.monotonic()
    for _ in range(40):
        assert all(one.admitted for one in asyncio.run(many()))
    assert time.monotonic() - began < 40 * breaker_book.PATIENCE_SECONDS / 2
    record.hangs.set()


@pytest.mark.parametrize(
    "role, statement",
    [
        (
            "interlock_worker",
            "INSERT INTO breaker_orders (provider, model, state, actor, reason)"
            " VALUES ('a', 'm', 'forced_open', 'x', 'y')",
        ),
        (
            "interlock_api",
            "INSERT INTO breaker_changes VALUES ('c', 'a', 'm', 'closed', 'open', 'r', clock_timestamp())",
        ),
        ("interlock_api", "UPDATE breaker_orders SET actor = 'somebody else'"),
        ("interlock_api", "DELETE FROM breaker_orders"),
        ("interlock_worker", "UPDATE breaker_changes SET reason = 'another'"),
        ("interlock_worker", "DELETE FROM breaker_changes"),
    ],
)
def test_workers_order_nothing_operators_make_no_changes_and_nobody_edits(
    fresh_database: str, role: str, statement: str
) -> None:
    """Promise: what is audited cannot be written by whom it is not from, nor rewritten."""
    with (
        psycopg.connect(fresh_database, options=f"-c role={role}") as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement)
