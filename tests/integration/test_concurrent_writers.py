"""Three writers with batches of 64 over the same orchestrations: nothing aborted, nothing lost, nothing deadlocked.

The plain ways of writing were measured to fail here: multi-row inserts without a lock abort most batches, dropping what
conflicts loses facts silently, and locking heads in the order of arrival deadlocks. The last two tests plant such a
fault and see that the same checks find it.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import psycopg
import pytest

from app.adapters.postgresql import commits
from app.adapters.postgresql.database import Connection, Database
from app.adapters.postgresql.store import PostgresqlStore
from app.data_plane.dead_letters.from_facts import Owner
from app.data_plane.ports import Append, Change, Verdict
from app.kernel.clock import SystemClock
from app.kernel.facts import DeliveryStarted
from tests.accepted_events import accepted_event, orchestration_of

BATCH = 64
WRITERS = 3
ROUNDS = 4
MOST_TRIES = 400


@pytest.fixture
def url(fresh_database: str) -> str:
    """A database in which 64 events are accepted."""
    database = Database(fresh_database, "interlock_worker")
    store = PostgresqlStore(database, SystemClock())
    store.accept([accepted_event(str(number)) for number in range(BATCH)])
    database.close()
    return fresh_database


@pytest.fixture
def orchestrations() -> list[str]:
    """What was accepted."""
    return [orchestration_of(accepted_event(str(number))) for number in range(BATCH)]


@pytest.fixture
def stores(url: str) -> Iterator[list[PostgresqlStore]]:
    """A store for each writer, with connections of its own."""
    databases = [Database(url, "interlock_worker") for _ in range(WRITERS)]
    yield [PostgresqlStore(database, SystemClock()) for database in databases]
    for database in databases:
        database.close()


def fact_of(writer: int, turn: int) -> DeliveryStarted:
    """A fact that tells who wrote it."""
    return DeliveryStarted(action_id=f"writer_{writer}", attempt=turn)


def write(
    store: PostgresqlStore, writer: int, orchestrations: Sequence[str], start: threading.Barrier
) -> Counter[Verdict]:
    """Append one fact to every orchestration, ROUNDS times, in orders of the writer's own; read again what moved."""
    order = random.Random(writer)
    verdicts: Counter[Verdict] = Counter()
    start.wait()
    for turn in range(ROUNDS):
        pending = list(orchestrations)
        for _ in range(MOST_TRIES):
            if not pending:
                break
            order.shuffle(pending)
            histories = store.histories(["demo"], pending)
            changes = [
                Change(
                    "demo", one, orchestration=Append(one, histories[one].head_seq, (fact_of(writer, turn),))
                )
                for one in pending
            ]
            answered = store.commit(changes).verdicts
            verdicts.update(answered)
            pending = [
                one for one, verdict in zip(pending, answered, strict=True) if verdict is Verdict.MOVED
            ]
        assert not pending, f"writer {writer} never got through"
    return verdicts


def write_all(stores: Sequence[PostgresqlStore], orchestrations: Sequence[str]) -> Counter[Verdict]:
    """All writers at once; raises what any of them raised."""
    start = threading.Barrier(len(stores))
    with ThreadPoolExecutor(len(stores)) as threads:
        tasks = [threads.submit(write, store, n, orchestrations, start) for n, store in enumerate(stores)]
        return sum((task.result(timeout=120) for task in tasks), Counter())


def assert_nothing_is_lost(url: str) -> None:
    """Every fact of every writer is there once, in a chain without gaps whose hashes hold."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT chain_id, seq, body, hash FROM journal ORDER BY chain_id, seq"
        ).fetchall()
        heads: dict[str, bytes] = dict(
            connection.execute("SELECT orchestration_id, head_hash FROM orchestrations").fetchall()
        )
    assert len(rows) == BATCH * (1 + WRITERS * ROUNDS)
    hashed: dict[str, bytes] = {}
    places: Counter[str] = Counter()
    for chain, seq, body, stored in rows:
        assert seq == places[chain], f"{chain} has a gap before {seq}"
        places[chain] += 1
        hashed[chain] = sha256(hashed.get(chain, b"") + body).digest()
        assert stored == hashed[chain], f"the chain {chain} breaks at {seq}"
    assert hashed == heads
    assert set(places.values()) == {1 + WRITERS * ROUNDS}


def deadlocks(url: str) -> int:
    """How many deadlocks the server has broken in this database."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
    assert row is not None
    return int(row[0])


def test_three_writers_over_the_same_orchestrations_abort_nothing_and_lose_nothing(
    stores: list[PostgresqlStore], orchestrations: list[str], url: str
) -> None:
    before = deadlocks(url)
    verdicts = write_all(stores, orchestrations)
    assert verdicts[Verdict.RECORDED] == BATCH * WRITERS * ROUNDS
    assert verdicts[Verdict.MOVED] > 0, "the writers never met: this showed nothing"
    assert_nothing_is_lost(url)
    assert deadlocks(url) == before


def test_facts_of_one_batch_about_one_orchestration_go_in_one_after_the_other(
    stores: list[PostgresqlStore], orchestrations: list[str], url: str
) -> None:
    """Two deliveries of one orchestration in one batch: the second is decided again, not dropped."""
    one = orchestrations[0]
    changes = [Change("demo", one, orchestration=Append(one, 1, (fact_of(n, 0),))) for n in range(2)]
    assert stores[0].commit(changes).verdicts == (Verdict.RECORDED, Verdict.MOVED)


Heads = tuple[dict[str, tuple[int, bytes]], dict[str, Owner]]


def _heads_in_the_order_of_arrival(connection: Connection, changes: Sequence[Change]) -> Heads:
    heads: dict[str, tuple[int, bytes]] = {}
    for change in changes:
        row = connection.execute(
            "SELECT head_seq, head_hash FROM orchestrations WHERE orchestration_id = %s FOR UPDATE",
            [change.orchestration_id],
        ).fetchone()
        assert row is not None
        heads[change.orchestration_id] = (row[0], row[1])
    return heads, _owners(heads)


def _heads_without_a_lock(connection: Connection, changes: Sequence[Change]) -> Heads:
    found = connection.execute(
        "SELECT orchestration_id, head_seq, head_hash FROM orchestrations WHERE orchestration_id = ANY(%s)",
        [[change.orchestration_id for change in changes]],
    )
    heads = {row[0]: (row[1], row[2]) for row in found}
    return heads, _owners(heads)


def _owners(orchestrations: Iterable[str]) -> dict[str, Owner]:
    return {one: Owner("demo", "", one, "branching") for one in orchestrations}


@pytest.mark.parametrize("planted", [_heads_in_the_order_of_arrival, _heads_without_a_lock])
def test_a_planted_fault_in_how_heads_are_locked_is_found(
    planted: Callable[[Connection, Sequence[Change]], Heads],
    stores: list[PostgresqlStore],
    orchestrations: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The checks above are able to fail: heads locked as they come deadlock, and without a lock inserts collide."""
    monkeypatch.setattr(commits, "_lock_heads", planted)
    with pytest.raises(Exception, match=r"DeadlockDetected|UniqueViolation|deadlock|did not answer"):
        write_all(stores, orchestrations)
