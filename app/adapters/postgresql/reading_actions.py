"""What people ask about actions: lists by filter, page by page, and where one belongs. Set-based and read only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.adapters.postgresql.database import Database

_COLUMNS = (
    "a.action_id, a.tenant_id, a.orchestration_id, o.workflow, a.position, a.name, a.tool, a.target, a.state,"
    " a.reason, a.attempts, a.idempotency_key, o.created_at, o.status"
)
_USUAL = frozenset({None, "confirmed", "denied"})
"""States that most actions come to; the others have an index of their own."""


@dataclass(frozen=True, slots=True)
class ListedAction:
    """One action in a list; ``accepted_at`` is when its orchestration was."""

    action_id: str
    tenant_id: str
    orchestration_id: str
    workflow: str
    position: int
    name: str
    tool: str
    target: str
    state: str
    reason: str
    attempts: int
    idempotency_key: str
    accepted_at: datetime
    orchestration_status: str


@dataclass(frozen=True, slots=True)
class ActionFilter:
    """Which actions; None is any.

    Args:
        since: those whose orchestration was accepted at that time or later.
    """

    state: str | None = None
    target: str | None = None
    workflow: str | None = None
    since: datetime | None = None


class ActionReading:
    """Lists of actions.

    Args:
        database: under the role ``interlock_api``.
        tenants: whose actions are seen.
    """

    def __init__(self, database: Database, tenants: Sequence[str]) -> None:
        self._database = database
        self._tenants = list(tenants)

    def page(
        self, wanted: ActionFilter, limit: int, before: ListedAction | None = None
    ) -> tuple[ListedAction, ...]:
        """One page, the actions of the newest orchestrations first; with ``before``, those behind a row seen last."""
        if not self._tenants:
            return ()
        query, values = page_query(wanted, before)
        parameters = {**values, "tenants": self._tenants, "limit": limit}
        with self._database.transaction(self._tenants) as connection:
            return tuple(ListedAction(*row) for row in connection.execute(query, parameters))

    def all(self, wanted: ActionFilter, batch: int) -> Iterator[tuple[ListedAction, ...]]:
        """Every one, a page of ``batch`` at a time; none twice, whatever changes meanwhile."""
        last: ListedAction | None = None
        while rows := self.page(wanted, batch, last):
            yield rows
            last = rows[-1]

    def count(self, wanted: ActionFilter) -> int:
        """How many there are."""
        if not self._tenants:
            return 0
        conditions, values = _conditions(wanted, None)
        query = (
            "SELECT count(*) FROM actions a JOIN orchestrations o USING (orchestration_id)"  # noqa: S608 - of names
            f" WHERE a.tenant_id = ANY(%(tenants)s::text[]){conditions}"
        )
        with self._database.transaction(self._tenants) as connection:
            found = connection.execute(query, {**values, "tenants": self._tenants}).fetchone()
            return int(found[0]) if found is not None else 0

    def beginning(self, start: str, *, limit: int = 3) -> tuple[ListedAction, ...]:
        """The actions whose ids begin so, up to ``limit``."""
        if not self._tenants:
            return ()
        with self._database.transaction(self._tenants) as connection:
            # An id goes on in hexadecimal, so that 'z' is behind each of them in every collation.
            found = connection.execute(
                f"SELECT {_COLUMNS} FROM actions a JOIN orchestrations o USING (orchestration_id)"  # noqa: S608
                " WHERE a.action_id >= %s AND a.action_id <= %s || 'z' AND starts_with(a.action_id, %s)"
                " ORDER BY a.action_id LIMIT %s",
                [start, start, start, limit],
            )
            return tuple(ListedAction(*row) for row in found)


def page_query(wanted: ActionFilter, before: ListedAction | None) -> tuple[str, dict[str, object]]:
    """The query of one page and its values, but for the tenants and the limit.

    For each tenant from one index: the newest orchestrations', or those few of a state that is no usual end.
    """
    conditions, values = _conditions(wanted, before)
    order = "ORDER BY {0}.created_at DESC, {0}.orchestration_id DESC, {1}.position LIMIT %(limit)s"
    found = f"SELECT {_COLUMNS} FROM orchestrations o JOIN actions a USING (orchestration_id)"  # noqa: S608 - of names
    if wanted.state not in _USUAL:
        return (
            f"{found} WHERE a.tenant_id = ANY(%(tenants)s::text[]) AND a.state NOT IN ('confirmed', 'denied')"
            f"{conditions} {order.format('o', 'a')}",
            values,
        )
    of_tenant = "o.tenant_id = tenants.tenant_id AND a.tenant_id = tenants.tenant_id"
    return (
        "SELECT newest.* FROM unnest(%(tenants)s::text[]) AS tenants (tenant_id), LATERAL ("  # noqa: S608 - likewise
        f"{found} WHERE {of_tenant}{conditions} {order.format('o', 'a')}"
        f") newest {order.format('newest', 'newest')}",
        values,
    )


def _conditions(wanted: ActionFilter, before: ListedAction | None) -> tuple[str, dict[str, object]]:
    conditions: list[str] = []
    values: dict[str, object] = {}
    for column, name, value in (
        ("a.state", "state", wanted.state),
        ("a.target", "target", wanted.target),
        ("o.workflow", "workflow", wanted.workflow),
    ):
        if value is not None:
            conditions.append(f"{column} = %({name})s")
            values[name] = value
    if wanted.since is not None:
        conditions.append("o.created_at >= %(since)s")
        values["since"] = wanted.since
    if before is not None:
        # The first says less than the second, and can be found in the index.
        conditions.append("o.created_at <= %(last_at)s")
        conditions.append(
            "((o.created_at, o.orchestration_id) < (%(last_at)s, %(last_of)s)"
            " OR (o.orchestration_id = %(last_of)s AND a.position > %(last_position)s))"
        )
        values |= {
            "last_at": before.accepted_at,
            "last_of": before.orchestration_id,
            "last_position": before.position,
        }
    return "".join(f" AND {condition}" for condition in conditions), values
