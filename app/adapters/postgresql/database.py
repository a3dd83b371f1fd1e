"""Connections to PostgreSQL: a pool for each process, a least-privileged role, a transaction's tenants."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg_pool import ConnectionPool, PoolTimeout

from app.kernel.errors import DefectError, TransientError

Role = Literal[
    "interlock_worker", "interlock_api", "interlock_control", "interlock_retention", "interlock_metrics"
]
Row: TypeAlias = tuple[Any, ...]
"""A row as psycopg reads it; each query's function gives it its types at once."""
Connection: TypeAlias = psycopg.Connection[Row]


IDLE_MILLISECONDS = 10_000
"""How long a transaction may wait for its client's next statement."""

_KEEPALIVE = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 11_000,
}


def kept_alive(url: str) -> str:
    """The address with a connection that finds out within about 11 s that its server has vanished (TCP alone).

    Source: postgresql.org/docs/current/libpq-connect.html#LIBPQ-KEEPALIVES.
    """
    return make_conninfo(url, **_KEEPALIVE)


def see_tenants(connection: Connection, tenants: Iterable[str]) -> None:
    """From now on, the transaction sees exactly these tenants' rows."""
    connection.execute("SELECT set_config('interlock.tenants', %s, true)", [",".join(sorted(set(tenants)))])


def was_outrun(error: TransientError) -> bool:
    """Whether somebody changed, after this transaction's first look, what it was about to change."""
    return isinstance(error.__cause__, psycopg.errors.SerializationFailure)


class Database:
    """A pool of connections under one role.

    Args:
        url: ``postgresql://...``; a Unix socket is named by ``?host=/folder``.
        role: assumed by each connection as it starts; the login must be a member of it.
        size: the most connections that this process holds.
        statement_timeout_seconds: a statement that takes longer is cancelled by the server.
    """

    def __init__(
        self, url: str, role: Role, *, size: int = 8, statement_timeout_seconds: float = 30.0
    ) -> None:
        milliseconds = int(statement_timeout_seconds * 1000)
        # A worker that is cut off in the middle of a claim keeps its rows locked until then, from whoever takes over.
        idle = min(milliseconds, IDLE_MILLISECONDS)
        options = (
            f"-c role={role} -c statement_timeout={milliseconds} -c timezone=UTC"
            f" -c idle_in_transaction_session_timeout={idle}"
            # Statistics lag behind a burst of events, and a plan made for an empty table is kept: with sequential
            # scans allowed, locking 64 steps read the whole work index. Every query of ours has an index to use.
            " -c enable_seqscan=off"
        )
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            kept_alive(url),
            min_size=0,
            max_size=size,
            timeout=3.0,
            max_idle=60.0,
            open=False,
            # A request must not fail because the server was restarted since the last one; steps are tried again.
            check=ConnectionPool.check_connection if role == "interlock_api" else None,
            reconnect_timeout=3.0,
            kwargs={"options": options, "connect_timeout": 2, "application_name": role},
        )
        self._opened = False

    @contextmanager
    def transaction(self, tenants: Sequence[str] = ()) -> Iterator[Connection]:
        """One transaction that sees exactly these tenants' rows; with none, only tables without row-level security.

        Raises:
            TransientError: the database is down or too slow; nothing of the transaction is kept.
            DefectError: the statement itself is wrong, or breaks a constraint.
        """
        if not self._opened:
            self._pool.open()
            self._opened = True
        try:
            with self._pool.connection() as connection:
                if tenants:
                    see_tenants(connection, tenants)
                yield connection
        except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
            raise TransientError(
                f"The database did not answer ({type(error).__name__}).",
                "Nothing was recorded; it is tried again. Check that PostgreSQL is up (`python -m app status`).",
            ) from error
        except psycopg.Error as error:
            raise DefectError(
                f"The database refused a statement: {type(error).__name__}: {error.diag.message_primary}.",
                "This is a defect of Interlock: please report it with the log line.",
            ) from error

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()
