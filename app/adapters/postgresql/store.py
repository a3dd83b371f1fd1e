"""The truth, in PostgreSQL: each call is one transaction over a batch."""

from __future__ import annotations

from collections.abc import Sequence

from app.adapters.postgresql import acceptance, claims, commits, histories
from app.adapters.postgresql.database import Database
from app.data_plane.ports import (
    Acceptance,
    AcceptedEvent,
    Change,
    Claim,
    Committed,
    History,
    Queue,
)
from app.kernel.clock import Clock
from app.kernel.facts import Recorded


class PostgresqlStore:
    """``Store`` over PostgreSQL."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def accept(self, events: Sequence[AcceptedEvent]) -> list[Acceptance]:
        """Record events, their orchestrations and first facts in one commit; answers in the events' order."""
        if not events:
            return []
        with self._database.transaction([event.tenant_id for event in events]) as connection:
            return acceptance.accept(connection, events, self._clock)

    def claim(
        self,
        queue: Queue,
        *,
        limit: int,
        worker: str,
        step_ids: Sequence[str] = (),
        orchestration_ids: Sequence[str] = (),
    ) -> list[Claim]:
        """Lease due steps, fairly by tenant; with ids, only those of them that are due."""
        with self._database.transaction() as connection:
            if step_ids:
                return claims.claim_named(connection, queue, step_ids, limit=limit, worker=worker)
            if orchestration_ids:
                return claims.claim_of(connection, queue, orchestration_ids, limit=limit, worker=worker)
            return claims.claim_due(connection, queue, limit=limit, worker=worker)

    def histories(self, tenants: Sequence[str], orchestration_ids: Sequence[str]) -> dict[str, History]:
        """The recorded histories, by orchestration id."""
        if not orchestration_ids:
            return {}
        with self._database.transaction(tenants) as connection:
            return histories.read_histories(connection, orchestration_ids)

    def run_chains(self, tenants: Sequence[str], run_ids: Sequence[str]) -> dict[str, tuple[Recorded, ...]]:
        """The facts of runs, by run id; a run without facts is absent."""
        if not run_ids:
            return {}
        with self._database.transaction(tenants) as connection:
            return histories.read_chains(connection, run_ids)

    def chain_hashes(self, tenants: Sequence[str], chain_ids: Sequence[str]) -> dict[str, str]:
        """The hash of each chain's last fact."""
        if not chain_ids:
            return {}
        with self._database.transaction(tenants) as connection:
            return histories.read_hashes(connection, chain_ids)

    def contents(self, tenants: Sequence[str], digests: Sequence[str]) -> dict[str, bytes]:
        """Payloads by digest. What is absent is absent from the answer."""
        if not digests:
            return {}
        with self._database.transaction(tenants) as connection:
            return histories.read_contents(connection, digests)

    def commit(self, changes: Sequence[Change]) -> Committed:
        """Record a batch of changes in one commit, each behind its chain's head and under its fence."""
        if not changes:
            return Committed((), ())
        with self._database.transaction([change.tenant_id for change in changes]) as connection:
            return commits.commit(connection, changes, self._clock)

    def overdue(self) -> dict[Queue, int]:
        """How many steps are due and unclaimed, by queue (counted up to 1,000 each)."""
        with self._database.transaction() as connection:
            return claims.overdue(connection)
