"""The local span store: one connection of a process's own that writes, and what is read back.

A batch is one JSON document, which PostgreSQL takes apart: arrays for ``unnest`` cost the writing process twenty times
as much [measured: 57 against 2.4 microseconds a span], and it is the one with work to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import psycopg

from app.adapters.postgresql.database import Connection, Database, Role, Row, kept_alive
from app.telemetry.stored_spans import StoredEvent, StoredLink, StoredSpan

INFRASTRUCTURE = ""
"""The tenant of spans that belong to no orchestration."""
CONNECT_SECONDS = 2
STATEMENT_MILLISECONDS = 3_000
"""A store that is slower than that is no better than one that is away: spans are dropped."""
MOST_SPANS = 5_000
"""Spans that one look reads at most."""

COLUMNS = {
    **dict.fromkeys(("trace_id", "span_id", "parent_span_id"), "text"),
    **dict.fromkeys(("tenant_id", "event_id", "orchestration_id", "run_id"), "text"),
    **dict.fromkeys(("name", "service", "kind"), "text"),
    **dict.fromkeys(("start_ns", "end_ns"), "bigint"),
    **dict.fromkeys(("status", "status_text"), "text"),
    **dict.fromkeys(("attributes", "links", "events"), "jsonb"),
}
"""The table's columns in order, each with its type; a document's objects have these names."""

_NAMES = ", ".join(COLUMNS)
_INSERT = (
    f"INSERT INTO spans ({_NAMES}) SELECT {_NAMES} FROM json_to_recordset(%s::json)"  # noqa: S608 - of the names above
    f" AS document ({', '.join(f'{name} {kind}' for name, kind in COLUMNS.items())})"
)
_OF_TRACES = (
    f"SELECT {_NAMES} FROM spans WHERE trace_id = ANY(%s::text[]) ORDER BY start_ns, end_ns DESC LIMIT %s"  # noqa: S608
)
# A trace's id goes on in hexadecimal, so that 'z' is behind each of them in every collation.
_BEGINS_SO = (
    "SELECT DISTINCT trace_id FROM spans WHERE trace_id >= %(text)s AND trace_id <= %(text)s || 'z'"
    " AND starts_with(trace_id, %(text)s) LIMIT %(limit)s"
)
_TRACES_OF = (
    "SELECT DISTINCT trace_id FROM spans WHERE orchestration_id = ANY(%s::text[]) AND orchestration_id <> ''"
)


def see_spans_of(connection: Connection, tenants: Iterable[str]) -> None:
    """From now on, the transaction sees (and may write) the spans of these tenants and of infrastructure."""
    named = ",".join((INFRASTRUCTURE, *sorted(set(tenants)))) or ","
    connection.execute("SELECT set_config('interlock.tenants', %s, true)", [named])


class SpanWriter:
    """Writes spans, over one connection that is made with the first of them.

    Args:
        url: the database.
        role: what may insert spans.
    """

    def __init__(self, url: str, role: Role) -> None:
        self._url = kept_alive(url)
        # A transaction that is not waited for may be lost in a crash, with at most the last second's spans.
        self._options = (
            f"-c role={role} -c statement_timeout={STATEMENT_MILLISECONDS} -c timezone=UTC"
            " -c synchronous_commit=off"
        )
        self._connection: Connection | None = None

    def write(self, document: str, tenants: Iterable[str]) -> None:
        """Add the spans of a JSON array of objects with the names of ``COLUMNS``: all of them or, at an error, none.

        Args:
            tenants: whose spans there are in it.

        Raises:
            psycopg.Error: the database is away, too slow, or refuses.
        """
        if self._connection is not None:
            try:
                self._insert(self._connection, document, tenants)
            except (psycopg.OperationalError, psycopg.InterfaceError):
                # The server may have been restarted since the last batch.
                self.close()
            else:
                return
        self._connection = self._connect()
        self._insert(self._connection, document, tenants)

    def close(self) -> None:
        """Give the connection back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def forget(self) -> None:
        """Leave the connection alone: it belongs to the process that this one was forked from."""
        self._connection = None

    def _connect(self) -> Connection:
        return psycopg.connect(
            self._url,
            options=self._options,
            connect_timeout=CONNECT_SECONDS,
            application_name="interlock_spans",
        )

    def _insert(self, connection: Connection, document: str, tenants: Iterable[str]) -> None:
        with connection.transaction():
            see_spans_of(connection, tenants)
            connection.execute(_INSERT, [document])


class SpanReading:
    """What is read back.

    Args:
        database: under the role ``interlock_api`` or ``interlock_control``.
        tenants: whose spans are seen, beside those of infrastructure.
    """

    def __init__(self, database: Database, tenants: Sequence[str]) -> None:
        self._database = database
        self._tenants = tuple(tenants)

    def traces_that_begin(self, beginning: str, *, limit: int = 3) -> tuple[str, ...]:
        """The ids of recorded traces that begin so, up to ``limit``."""
        with self._database.transaction() as connection:
            see_spans_of(connection, self._tenants)
            found = connection.execute(_BEGINS_SO, {"text": beginning, "limit": limit})
            return tuple(sorted(row[0] for row in found))

    def traces_of(self, orchestration_ids: Sequence[str]) -> tuple[str, ...]:
        """The ids of the recorded traces with spans of these orchestrations."""
        with self._database.transaction() as connection:
            see_spans_of(connection, self._tenants)
            found = connection.execute(_TRACES_OF, [list(orchestration_ids)])
            return tuple(sorted(row[0] for row in found))

    def spans(self, trace_ids: Sequence[str], *, limit: int = MOST_SPANS) -> tuple[StoredSpan, ...]:
        """The spans of these traces, by their start, up to ``limit``."""
        with self._database.transaction() as connection:
            see_spans_of(connection, self._tenants)
            return tuple(map(stored_span, connection.execute(_OF_TRACES, [list(trace_ids), limit])))


def stored_span(row: Row) -> StoredSpan:
    """A row with the columns of ``COLUMNS``."""
    values = dict(zip(COLUMNS, row, strict=True))
    values["links"] = tuple(StoredLink(**link) for link in values["links"])
    values["events"] = tuple(StoredEvent(**event) for event in values["events"])
    return StoredSpan(**values)
