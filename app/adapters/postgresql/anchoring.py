"""What anchoring asks of the journals: the heads of the chains that have grown since the last look.

A fact holds the number of the transaction that wrote it. What one snapshot sees and an earlier one did not are the
facts whose transaction began after the earlier snapshot, or was still running then: two small places in a BRIN index,
however large the table and however long somebody's transaction stays open.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from app.adapters.postgresql.database import Connection, Database, see_tenants
from app.data_plane.audit.anchors import Head, Position

PAGE = 5_000
"""Heads that are in memory at once."""

_ANCHORING = 0x616E63686F72696E  # "anchorin": the advisory lock of the one look at a time
_FIRST_LOOK_SECONDS = 600
"""How long the database may take for a page: the first look ever reads every chain."""

_MOMENT = """
SELECT pg_try_advisory_xact_lock(%s),
       (SELECT system_identifier::text FROM pg_control_system())
           || '/' || (SELECT timeline_id::text FROM pg_control_checkpoint()),
       pg_snapshot_xmax(pg_current_snapshot())::text::bigint,
       ARRAY(SELECT running::text::bigint FROM pg_snapshot_xip(pg_current_snapshot()) AS running),
       ARRAY(SELECT tenant_id FROM tenants)
"""
_HEADS = "SELECT DISTINCT ON (chain_id) chain_id, seq, hash FROM journal{} ORDER BY chain_id, seq DESC"
_SINCE = " WHERE written_in >= %(end)s"
_SINCE_WITH_RUNNING = " WHERE written_in >= %(end)s OR written_in = ANY(%(running)s::bigint[])"


@dataclass(frozen=True, slots=True)
class PostgresqlLook:
    """``Look`` over one transaction's snapshot."""

    connection: Connection
    position: Position
    tenants: tuple[str, ...]

    def heads(self, since: Position | None) -> Iterator[Sequence[Head]]:
        """The heads of the chains with facts that were not seen at ``since`` (all chains without one), in pages."""
        if not self.tenants:
            return
        see_tenants(self.connection, self.tenants)
        condition = "" if since is None else _SINCE_WITH_RUNNING if since.running else _SINCE
        values = {"end": since.end, "running": list(since.running)} if since is not None else {}
        with self.connection.cursor(name="heads") as cursor:
            cursor.execute(_HEADS.format(condition), values, binary=True)
            while page := cursor.fetchmany(PAGE):
                yield [Head(*row) for row in page]


class PostgresqlHeads:
    """``Heads`` in PostgreSQL.

    Args:
        database: under a role that reads the journal of all published tenants.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def look(self) -> Iterator[PostgresqlLook | None]:
        """A look of our own; None while another process has one. Raises TransientError."""
        self._summarise()
        with self._database.transaction() as connection:
            # Tenants, numbers and facts must be of one moment: a tenant that is published between two snapshots
            # would have facts that neither look sees.
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            row = connection.execute(_MOMENT, [_ANCHORING]).fetchone()
            if row is None or not row[0]:
                yield None
                return
            connection.execute(f"SET LOCAL statement_timeout = '{_FIRST_LOOK_SECONDS}s'")
            yield PostgresqlLook(connection, Position(row[1], row[2], tuple(sorted(row[3]))), tuple(row[4]))

    def _summarise(self) -> None:
        """What vacuum has not come to yet would be read whole at every look."""
        with self._database.transaction() as connection:
            connection.execute("SELECT interlock_summarise_journal()")
