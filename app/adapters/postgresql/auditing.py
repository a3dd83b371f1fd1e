"""What verification asks of the journals: everything, once, in order, as of one moment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from app.adapters.postgresql.database import Connection, Database, see_tenants
from app.data_plane.audit.anchors import Head
from app.data_plane.audit.chains import JournalRow

PAGE = 5_000
"""Rows that are in memory at once."""

# Along the primary key, and never sorted: what is read is as large as the table.
_FACTS = "SELECT chain_id, seq, tenant_id, body, hash, written_in FROM journal ORDER BY chain_id, seq"
_WITH_OR_WITHOUT_FACTS = """
SELECT page.orchestration_id, (SELECT true FROM journal j WHERE j.chain_id = page.orchestration_id LIMIT 1) IS NULL
FROM (SELECT o.orchestration_id FROM orchestrations o WHERE o.orchestration_id > %s
      ORDER BY o.orchestration_id LIMIT %s) page ORDER BY page.orchestration_id
"""
_UNLIKE = """
SELECT anchored.place, journal.chain_id IS NOT NULL
FROM unnest(%b::text[], %b::int4[], %b::bytea[]) WITH ORDINALITY AS anchored (chain_id, seq, hash, place)
LEFT JOIN journal USING (chain_id, seq) WHERE journal.hash IS DISTINCT FROM anchored.hash
ORDER BY anchored.place
"""
_LENGTHS = """
SELECT asked.chain_id, last.seq + 1 FROM unnest(%s::text[]) AS asked (chain_id), LATERAL (
    SELECT j.seq FROM journal j WHERE j.chain_id = asked.chain_id ORDER BY j.seq DESC LIMIT 1
) last
"""


class PostgresqlJournals:
    """``Journals`` over one transaction's snapshot."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def pages(self) -> Iterator[Sequence[JournalRow]]:
        """All facts in the order of (chain, seq)."""
        with self._connection.cursor(name="facts") as cursor:
            cursor.execute(_FACTS, binary=True)
            while page := cursor.fetchmany(PAGE):
                yield page

    def heads(self, chain_ids: Sequence[str]) -> Mapping[str, tuple[str, int, bytes]]:
        """Of those that are orchestrations: tenant, number of facts, and the last one's hash, as their rows say."""
        found = self._connection.execute(
            "SELECT orchestration_id, tenant_id, head_seq, head_hash FROM orchestrations"
            " WHERE orchestration_id = ANY(%b::text[])",
            [list(chain_ids)],
            binary=True,
        )
        return {row[0]: (row[1], row[2], row[3]) for row in found}

    def without_facts(self) -> Iterator[str]:
        """The orchestrations that have no chain."""
        last = ""
        while page := self._connection.execute(_WITH_OR_WITHOUT_FACTS, [last, PAGE]).fetchall():
            yield from (row[0] for row in page if row[1])
            last = page[-1][0]

    def unlike(self, heads: Sequence[Head]) -> list[tuple[Head, bool]]:
        """Those that are not in the journals with this hash, and whether there is a row in their place."""
        found = self._connection.execute(
            _UNLIKE,
            [[head.chain_id for head in heads], [head.seq for head in heads], [head.hash for head in heads]],
        )
        return [(heads[row[0] - 1], row[1]) for row in found]

    def lengths(self, chain_ids: Sequence[str]) -> Mapping[str, int]:
        """How many facts the chains have, by their last one's place; a chain without any is absent."""
        found = self._connection.execute(_LENGTHS, [sorted(set(chain_ids))])
        return {row[0]: row[1] for row in found}

    def about(self) -> int | None:
        """About how many facts there are, as the database's statistics say."""
        row = self._connection.execute(
            "SELECT reltuples::bigint FROM pg_class WHERE oid = 'journal'::regclass"
        ).fetchone()
        return int(row[0]) if row is not None and row[0] > 0 else None


@contextmanager
def journals_as_of_now(database: Database) -> Iterator[PostgresqlJournals | None]:
    """The journals of all published tenants, read only; None when there is no tenant yet. Raises TransientError.

    One snapshot for all of it, as a backup has: what is recorded meanwhile is not seen, and nobody waits.
    """
    with database.transaction() as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        tenants = [row[0] for row in connection.execute("SELECT tenant_id FROM tenants ORDER BY 1")]
        if not tenants:
            yield None
            return
        see_tenants(connection, tenants)
        yield PostgresqlJournals(connection)
