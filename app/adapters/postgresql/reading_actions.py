"""What people ask about actions: lists by state, and where one belongs. Set-based, indexed, and read only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.adapters.postgresql.database import Database

# For each tenant from one index: the newest orchestrations', or those few of a state that is no usual end.
_NEWEST = """
SELECT newest.* FROM unnest(%(tenants)s::text[]) AS tenants (tenant_id), LATERAL (
    SELECT a.action_id, a.tenant_id, a.orchestration_id, o.workflow, a.position, a.name, a.tool, a.target, a.state,
           a.reason, a.attempts, a.idempotency_key, o.created_at, o.status
    FROM orchestrations o JOIN actions a USING (orchestration_id)
    WHERE o.tenant_id = tenants.tenant_id AND a.tenant_id = tenants.tenant_id
      AND (%(state)s::text IS NULL OR a.state = %(state)s::text)
    ORDER BY o.created_at DESC, o.orchestration_id DESC, a.position LIMIT %(limit)s
) newest ORDER BY newest.created_at DESC, newest.orchestration_id DESC, newest.position LIMIT %(limit)s
"""
_UNSETTLED = """
SELECT a.action_id, a.tenant_id, a.orchestration_id, o.workflow, a.position, a.name, a.tool, a.target, a.state,
       a.reason, a.attempts, a.idempotency_key, o.created_at, o.status
FROM actions a JOIN orchestrations o USING (orchestration_id)
WHERE a.tenant_id = ANY(%(tenants)s::text[]) AND a.state = %(state)s AND a.state NOT IN ('confirmed', 'denied')
ORDER BY o.created_at DESC, o.orchestration_id DESC, a.position LIMIT %(limit)s
"""


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


class ActionReading:
    """Lists of actions.

    Args:
        database: under the role ``interlock_api``.
        tenants: whose actions are seen.
    """

    def __init__(self, database: Database, tenants: Sequence[str]) -> None:
        self._database = database
        self._tenants = list(tenants)

    def newest(self, state: str | None, limit: int) -> tuple[ListedAction, ...]:
        """The actions of the newest orchestrations first; with a state, only those in it."""
        if not self._tenants:
            return ()
        query = _NEWEST if state in {None, "confirmed", "denied"} else _UNSETTLED
        parameters = {"tenants": self._tenants, "state": state, "limit": limit}
        with self._database.transaction(self._tenants) as connection:
            return tuple(ListedAction(*row) for row in connection.execute(query, parameters))

    def orchestrations_of(self, beginning: str, *, limit: int = 3) -> dict[str, str]:
        """The orchestrations of the actions whose ids begin so, by action id."""
        if not self._tenants:
            return {}
        with self._database.transaction(self._tenants) as connection:
            # An id goes on in hexadecimal, so that 'z' is behind each of them in every collation.
            found = connection.execute(
                "SELECT action_id, orchestration_id FROM actions WHERE action_id >= %s"
                " AND action_id <= %s || 'z' AND starts_with(action_id, %s) ORDER BY action_id LIMIT %s",
                [beginning, beginning, beginning, limit],
            )
            return {row[0]: row[1] for row in found}
