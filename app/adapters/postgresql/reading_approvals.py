"""What people ask about approvals: which actions wait for their consent. Set-based, indexed, and read only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.adapters.postgresql.database import Database
from app.adapters.postgresql.histories import read_chains
from app.data_plane.orchestration.approvals import awaiting

# The steps that end a wait for consent are the open ones of their queue that have a subject, the action, and no stage.
# They have an index of their own, in whose order they are found for each tenant: only the first few are read.
WAITING = """
SELECT w.subject, o.orchestration_id, o.tenant_id, o.workflow
FROM unnest(%(tenants)s::text[]) AS tenants (tenant_id), LATERAL (
    SELECT w.subject, w.orchestration_id, w.due_at FROM work_index w
    WHERE w.queue = 'orchestration' AND w.tenant_id = tenants.tenant_id AND w.finished_at IS NULL
      AND w.stage = '' AND w.subject <> ''
    ORDER BY w.due_at LIMIT %(limit)s
) w JOIN orchestrations o ON o.orchestration_id = w.orchestration_id AND o.closed_at IS NULL
WHERE o.tenant_id = ANY(%(tenants)s::text[])
ORDER BY w.due_at, w.subject LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class ListedApproval:
    """One action that waits for people's consent."""

    action_id: str
    orchestration_id: str
    tenant_id: str
    workflow: str
    name: str
    tool: str
    target: str
    since: datetime
    expires: datetime
    consents: int
    persons: int
    action_digest: str


class ApprovalReading:
    """Lists of approvals.

    Args:
        tenants: whose approvals are seen.
    """

    def __init__(self, database: Database, tenants: Sequence[str]) -> None:
        self._database = database
        self._tenants = list(tenants)

    def soonest(self, limit: int) -> tuple[ListedApproval, ...]:
        """Those that wait, whichever expires first."""
        if not self._tenants:
            return ()
        with self._database.transaction(self._tenants) as connection:
            found = connection.execute(WAITING, {"tenants": self._tenants, "limit": limit}).fetchall()
            chains = read_chains(connection, sorted({row[1] for row in found}))
        waits = {key: awaiting(facts or ()) for key, facts in chains.items()}
        listed: list[ListedApproval] = []
        for action, orchestration, tenant, workflow in found:
            one = waits.get(orchestration, {}).get(action)
            if one is not None:
                asked = one.requested
                listed.append(
                    ListedApproval(
                        action,
                        orchestration,
                        tenant,
                        workflow,
                        asked.name,
                        asked.tool,
                        asked.target,
                        one.since,
                        one.until,
                        len(one.granted_by),
                        asked.persons,
                        asked.action_digest,
                    )
                )
        return tuple(listed)
