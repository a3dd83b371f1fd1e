"""Promise 1: what a dead worker held is due again within seconds, not when its leases end; living ones keep theirs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest

from app.adapters.postgresql.database import Database
from app.adapters.postgresql.liveness import Liveness
from app.adapters.postgresql.store import PostgresqlStore
from app.data_plane.ports import Claim, Queue
from app.kernel.clock import SystemClock
from app.kernel.errors import TransientError
from config.settings import CHECKOUT
from tests.accepted_events import accepted_event
from tests.eventually import assert_eventually

HOLDS_A_LEASE = """
import sys, time
from app.adapters.postgresql.database import Database
from app.adapters.postgresql.liveness import Liveness
from app.adapters.postgresql.store import PostgresqlStore
from app.data_plane.ports import Queue
from app.kernel.clock import SystemClock

liveness = Liveness(sys.argv[1])
store = PostgresqlStore(Database(sys.argv[1], "interlock_worker"), SystemClock())
store.claim(Queue.ORCHESTRATION, limit=10, worker=liveness.holder())
print("leased", flush=True)
time.sleep(120)
"""


@pytest.fixture
def store(fresh_database: str) -> Iterator[PostgresqlStore]:
    database = Database(fresh_database, "interlock_worker")
    yield PostgresqlStore(database, SystemClock())
    database.close()


def claim(store: PostgresqlStore, worker: str) -> list[Claim]:
    return store.claim(Queue.ORCHESTRATION, limit=10, worker=worker)


def drop_connections(url: str) -> None:
    """As a restart or a failing network does."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_the_steps_of_a_killed_worker_are_due_again_and_known_to_have_lapsed(
    store: PostgresqlStore, fresh_database: str
) -> None:
    """Its lease would hold for 30 s; PostgreSQL takes its lock as soon as the process is gone."""
    store.accept([accepted_event("1")])
    command = [sys.executable, "-c", HOLDS_A_LEASE, fresh_database]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "leased\n"
        assert store.end_lost_leases() == 0
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert_eventually(lambda: store.end_lost_leases() == 1, within=10, what="its lease ends")
    (again,) = claim(store, "other/1")
    assert again.lapses == 1


def test_a_worker_that_loses_its_connections_and_lives_keeps_its_leases(
    store: PostgresqlStore, fresh_database: str
) -> None:
    """Or every restart of the database would put what is being sent into doubt."""
    store.accept([accepted_event("1")])
    liveness = Liveness(fresh_database)
    try:
        assert len(claim(store, liveness.holder())) == 1
        drop_connections(fresh_database)
        seen = "SELECT count(*) FROM workers WHERE seen_at > %s"
        with psycopg.connect(fresh_database, autocommit=True) as connection:
            (dropped_at,) = connection.execute("SELECT clock_timestamp()").fetchone() or (None,)

            def is_seen_again() -> bool:
                assert _end_lost(store) == 0
                row = connection.execute(seen, [dropped_at]).fetchone()
                return row is not None and row[0] == 1

            assert_eventually(is_seen_again, within=10, what="the worker is seen again")
            assert _end_lost(store) == 0
    finally:
        liveness.stop()


def test_a_worker_whose_sign_of_life_does_not_come_through_leases_nothing(
    store: PostgresqlStore, fresh_database: str
) -> None:
    """Its pool may work again before it can be seen to live: what it leased then would be taken from it at once."""
    liveness = Liveness(fresh_database)
    try:
        assert liveness.holder()
        with psycopg.connect(fresh_database, autocommit=True) as connection:
            connection.execute("REVOKE INSERT, UPDATE ON workers FROM interlock_worker")
            assert_eventually(lambda: _refuses(liveness), within=10, what="nothing may be leased")
            connection.execute("GRANT INSERT, UPDATE ON workers TO interlock_worker")
            assert_eventually(lambda: not _refuses(liveness), within=10, what="it is seen to live again")
    finally:
        liveness.stop()


def _refuses(liveness: Liveness) -> bool:
    try:
        liveness.holder()
    except TransientError:
        return True
    return False


def _end_lost(store: PostgresqlStore) -> int:
    """The store's own connections were dropped, too."""
    try:
        return store.end_lost_leases()
    except TransientError:
        return 0


def test_leases_of_a_worker_that_never_showed_itself_are_left_to_their_end(store: PostgresqlStore) -> None:
    """An older version beside this one gives no sign of life; its leases are honoured all the same."""
    store.accept([accepted_event("1")])
    assert len(claim(store, "some-host:1:2")) == 1
    assert store.end_lost_leases() == 0


def test_what_could_not_be_given_back_is_given_back_when_the_database_answers(
    store: PostgresqlStore, fresh_database: str
) -> None:
    """A message that failed because the database was away holds its steps no longer than that."""
    store.accept([accepted_event("1")])
    liveness = Liveness(fresh_database)
    try:
        holder = liveness.holder()
        assert len(claim(store, holder)) == 1
        liveness.owe(holder, lapsed=False)
        assert_eventually(lambda: len(claim(store, "other/1")) == 1, within=10, what="the step is due")
    finally:
        liveness.stop()
