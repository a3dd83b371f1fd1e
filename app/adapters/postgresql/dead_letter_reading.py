"""Dead letters as people ask for them: a filter that lists and bulk replays share, pages by key, beginnings of ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.adapters.postgresql import dead_letters
from app.adapters.postgresql.database import Database
from app.adapters.postgresql.dead_letters import COLUMNS, row_of
from app.adapters.postgresql.reading import Reading
from app.data_plane.dead_letters.letters import NO_TENANT, Cause, DeadLetterRow, State

BATCH = 256
"""Rows that are read at once where all are wanted."""


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Which dead letters; None is any.

    Args:
        tenant: whose; ``-`` for messages of which nobody knows whose they are.
        since: those that gave up, first or again, at that time or later.
    """

    state: State | None = None
    queue: str | None = None
    cause: Cause | None = None
    code: str | None = None
    workflow: str | None = None
    tenant: str | None = None
    since: datetime | None = None


class DeadLetterReading:
    """The reading side of dead letters, and the one thing that a person may say of them (``Settling``).

    Args:
        database: under the role ``interlock_api``.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(
        self, wanted: DeadLetterFilter, limit: int, before: DeadLetterRow | None = None
    ) -> tuple[DeadLetterRow, ...]:
        """One page, those that gave up last first; with ``before``, those behind a row seen last."""
        tenants = self._tenants(wanted)
        query, values = page_query(wanted, before)
        with self._database.transaction(tenants) as connection:
            found = connection.execute(query, [list(tenants), *values, limit, limit])
            return tuple(row_of(row) for row in found)

    def all(self, wanted: DeadLetterFilter) -> Iterator[DeadLetterRow]:
        """Every one, those that gave up last first, a batch at a time; none twice, whatever changes meanwhile."""
        last: DeadLetterRow | None = None
        while rows := self.page(wanted, BATCH, last):
            yield from rows
            last = rows[-1]

    def count(self, wanted: DeadLetterFilter) -> int:
        """How many there are."""
        tenants = self._tenants(wanted)
        conditions, values = _conditions(wanted)
        where = "".join(f" AND {condition}" for condition in conditions)
        query = f"SELECT count(*) FROM dead_letters WHERE tenant_id = ANY(%s::text[]){where}"  # noqa: S608 - likewise
        with self._database.transaction(tenants) as connection:
            found = connection.execute(query, [list(tenants), *values]).fetchone()
            return int(found[0]) if found is not None else 0

    def named(self, beginning: str, *, limit: int = 3) -> tuple[DeadLetterRow, ...]:
        """Those whose id begins so, up to ``limit``."""
        with self._database.transaction(self._tenants(DeadLetterFilter())) as connection:
            found = connection.execute(
                # An id goes on in hexadecimal, so that 'z' is behind each of them in every collation.
                f"SELECT {COLUMNS} FROM dead_letters WHERE dead_letter_id >= %s"  # noqa: S608 - of names
                " AND dead_letter_id <= %s || 'z' AND starts_with(dead_letter_id, %s)"
                " ORDER BY dead_letter_id LIMIT %s",
                [beginning, beginning, beginning, limit],
            )
            return tuple(row_of(row) for row in found)

    def settle(self, rows: Sequence[DeadLetterRow], actor: str, reason: str) -> tuple[str, ...]:
        """Close those of these rows that are open and come from messages; the ids of those that it closed."""
        if not rows:
            return ()
        with self._database.transaction([row.tenant_id for row in rows]) as connection:
            return dead_letters.settle(connection, [row.dead_letter_id for row in rows], actor, reason)

    def _tenants(self, wanted: DeadLetterFilter) -> Sequence[str]:
        if wanted.tenant is not None:
            return (wanted.tenant,)
        return (*Reading(self._database).tenants(), NO_TENANT)


def page_query(wanted: DeadLetterFilter, before: DeadLetterRow | None) -> tuple[str, list[object]]:
    """The query of one page and what goes between its tenants and its two limits.

    A page from each tenant's own index, and then the page of pages: one ordered scan over several tenants would sort
    everything that they have. Every filter is in the index, so that only the page itself is read from the table.
    """
    conditions, values = _conditions(wanted)
    if before is not None:
        conditions.append("(last_at, dead_letter_id) < (%s::timestamptz, %s)")
        values += [before.last_at, before.dead_letter_id]
    where = "".join(f" AND {condition}" for condition in conditions)
    query = (
        f"SELECT {COLUMNS} FROM dead_letters JOIN ("  # noqa: S608 - of names and literals
        "SELECT newest.* FROM unnest(%s::text[]) AS asked (name), LATERAL ("
        f"SELECT dead_letter_id, last_at AS at FROM dead_letters WHERE tenant_id = asked.name{where}"
        " ORDER BY last_at DESC, dead_letter_id DESC LIMIT %s"
        ") AS newest ORDER BY at DESC, dead_letter_id DESC LIMIT %s"
        ") AS page USING (dead_letter_id) ORDER BY at DESC, dead_letter_id DESC"
    )
    return query, values


def _conditions(wanted: DeadLetterFilter) -> tuple[list[str], list[object]]:
    conditions: list[str] = []
    values: list[object] = []
    if wanted.state is not None:
        # As a literal, so that the partial index over open rows may be used; the type allows three words.
        conditions.append(f"state = '{wanted.state}'")
    for column, value in (
        ("queue", wanted.queue),
        ("cause", wanted.cause.value if wanted.cause is not None else None),
        ("code", wanted.code),
        ("workflow", wanted.workflow),
    ):
        if value is not None:
            conditions.append(f"{column} = %s")
            values.append(value)
    if wanted.since is not None:
        conditions.append("last_at >= %s")
        values.append(wanted.since)
    return conditions, values
