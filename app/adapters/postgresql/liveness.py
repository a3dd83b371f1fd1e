"""A worker's sign of life: a row that says when it was seen, and a lock that PostgreSQL takes from it when it dies.

The lock is a session's advisory lock: the server releases it as soon as the process's connection is closed, however the
process ended, so that its leases need not be waited for. The row bridges a connection that was merely replaced.
Source: postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS.
"""

from __future__ import annotations

import itertools
import logging
import os
import secrets
import socket
import threading
import time
from dataclasses import dataclass

import psycopg

from app.adapters.postgresql import leases
from app.adapters.postgresql.database import Connection, kept_alive
from app.kernel.errors import TransientError

_log = logging.getLogger(__name__)

BEAT_SECONDS = 0.5
"""Well below the time after which a worker without a lock counts as gone."""

SIGN_SECONDS = 2.5
"""How old the last sign of life may be when something is leased: without one, what is leased is soon taken away."""

_OPTIONS = (
    "-c role=interlock_worker -c statement_timeout=5000 -c timezone=UTC"
    # A host that vanishes closes nothing: the server must find out by itself.
    " -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3"
)


@dataclass(frozen=True, slots=True)
class _Debt:
    """Leases of one message that could not be given back, as the database was away."""

    holder: str
    lapsed: bool


class Liveness:
    """Shows that this process lives, and gives back what its failed messages hold when the database was away.

    Args:
        url: the database.
        host: part of the worker's name, for people.
    """

    def __init__(self, url: str, host: str | None = None) -> None:
        self.worker_id = f"{host or socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._lock_key = int.from_bytes(secrets.token_bytes(4), "big", signed=True)
        self._url = url
        self._numbers = itertools.count(1)
        self._debts: list[_Debt] = []
        self._lock = threading.Lock()
        self._starting = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._locked = False
        self._seen_at = float("-inf")

    def holder(self) -> str:
        """Who holds the leases of one message: the worker, and a number of the message.

        Raises TransientError when no sign of life can be given: whatever is leased then would be taken away again.
        """
        with self._starting:
            if self._thread is None:
                self._start()
        if time.monotonic() - self._seen_at > SIGN_SECONDS:
            raise TransientError(
                "This worker's sign of life does not reach the database.",
                "Nothing was claimed; others do the work. Look at the connections and limits of PostgreSQL.",
            )
        return f"{self.worker_id}/{next(self._numbers)}"

    def owe(self, holder: str, *, lapsed: bool) -> None:
        """Give the holder's leases back as soon as the database answers again."""
        with self._lock:
            self._debts.append(_Debt(holder, lapsed))

    def stop(self) -> None:
        """Close the connection: the lock is free, and whatever is still leased is made due by the reconciler."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _start(self) -> None:
        try:
            connection = self._connect()
        except psycopg.Error as error:
            raise TransientError(
                f"The database did not answer ({type(error).__name__}).", "Nothing was claimed."
            ) from error
        self._thread = threading.Thread(target=self._live, args=(connection,), name="liveness", daemon=True)
        self._thread.start()

    def _live(self, connection: Connection | None) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            try:
                if connection is None:
                    connection = self._connect()
                self._beat(connection)
            except psycopg.Error as error:
                _log.warning("no sign of life can be given (%s)", type(error).__name__)
                connection = self._anew(connection)
        if connection is not None:
            connection.close()

    def _anew(self, lost: Connection | None) -> Connection | None:
        """Another connection at once, where one was lost: the sign of life has a second left."""
        if lost is None:
            return None
        lost.close()
        try:
            return self._connect()
        except psycopg.Error:
            return None

    def _connect(self) -> Connection:
        connection: Connection = psycopg.connect(
            kept_alive(self._url),
            autocommit=True,
            options=_OPTIONS,
            connect_timeout=2,
            application_name="interlock_liveness",
        )
        self._locked = False
        try:
            self._beat(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _beat(self, connection: Connection) -> None:
        if not self._locked:
            # The session before this one may live on for a moment: until it ends, the row alone speaks for us.
            row = connection.execute(
                "SELECT pg_try_advisory_lock(%s::int4, %s::int4)", [leases.LIVENESS_CLASS, self._lock_key]
            ).fetchone()
            self._locked = row is not None and bool(row[0])
        connection.execute(
            "INSERT INTO workers (worker_id, lock_key) VALUES (%s, %s)"
            " ON CONFLICT (worker_id) DO UPDATE SET seen_at = clock_timestamp()",
            [self.worker_id, self._lock_key],
        )
        self._seen_at = time.monotonic()
        with self._lock:
            owed = list(self._debts)
        for debt in owed:
            leases.give_back(connection, debt.holder, in_seconds=0.0, lapsed=debt.lapsed)
        with self._lock:
            del self._debts[: len(owed)]
