"""What people ask about reviews: which stages wait for a person. Set-based, indexed, and read only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.adapters.postgresql.database import Database
from app.adapters.postgresql.histories import read_chains
from app.data_plane.orchestration.reviews import waiting

# The steps that end a wait are the open ones of their queue that have a stage.
_WAITING = """
SELECT DISTINCT o.orchestration_id, o.tenant_id, o.workflow, o.event_id, o.event_type, o.created_at
FROM work_index w JOIN orchestrations o USING (orchestration_id)
WHERE w.queue = 'orchestration' AND w.tenant_id = ANY(%(tenants)s::text[]) AND w.finished_at IS NULL AND w.stage <> ''
  AND o.tenant_id = ANY(%(tenants)s::text[]) AND o.closed_at IS NULL
ORDER BY o.created_at, o.orchestration_id LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class ListedReview:
    """One stage that waits for a person."""

    orchestration_id: str
    tenant_id: str
    workflow: str
    stage: str
    event_id: str
    event_type: str
    since: datetime
    expires: datetime


class ReviewReading:
    """Lists of reviews.

    Args:
        tenants: whose reviews are seen.
    """

    def __init__(self, database: Database, tenants: Sequence[str]) -> None:
        self._database = database
        self._tenants = list(tenants)

    def oldest(self, limit: int) -> tuple[ListedReview, ...]:
        """Those that wait, of the oldest orchestrations, whoever waits longest first."""
        if not self._tenants:
            return ()
        with self._database.transaction(self._tenants) as connection:
            found = connection.execute(_WAITING, {"tenants": self._tenants, "limit": limit}).fetchall()
            chains = read_chains(connection, [row[0] for row in found])
        listed = [
            ListedReview(row[0], row[1], row[2], one.stage, row[3], row[4], one.since, one.until)
            for row in found
            for one in waiting(chains.get(row[0]) or ()).values()
        ]
        return tuple(sorted(listed, key=lambda one: (one.since, one.orchestration_id, one.stage)))[:limit]
