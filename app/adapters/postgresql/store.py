"""The truth, in PostgreSQL: each call is one transaction over a batch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from app.adapters.postgresql import acceptance, claims, commits, dead_letters, histories, leases
from app.adapters.postgresql.database import Database
from app.data_plane.dead_letters.letters import DeadLetterRow
from app.data_plane.orchestration.measuring import observe
from app.data_plane.ports import (
    Acceptance,
    AcceptedEvent,
    Change,
    Claim,
    Committed,
    History,
    Queue,
    StepOwner,
)
from app.kernel import fault_points
from app.kernel.clock import Clock
from app.kernel.facts import Recorded
from app.kernel.fault_points import FaultPoint


class PostgresqlStore:
    """``Store`` and ``DeadLetters`` over PostgreSQL.

    Args:
        leased: told of every claim: who holds it, and for how many seconds at most.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        leased: Callable[[str, float], None] = lambda _worker, _seconds: None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._leased = leased

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
                found = claims.claim_named(connection, queue, step_ids, limit=limit, worker=worker)
            elif orchestration_ids:
                found = claims.claim_of(connection, queue, orchestration_ids, limit=limit, worker=worker)
            else:
                found = claims.claim_due(connection, queue, limit=limit, worker=worker)
        if found:
            fault_points.reached(FaultPoint.AFTER_CLAIM, queue.value)
            self._leased(worker, max(claim.lease_seconds for claim in found))
        return found

    def give_back(self, worker: str, *, in_seconds: float, lapsed: bool) -> int:
        """End the leases that ``worker`` still holds: due again in so many seconds; returns how many there were."""
        with self._database.transaction() as connection:
            return leases.give_back(connection, worker, in_seconds=in_seconds, lapsed=lapsed)

    def end_lost_leases(self) -> int:
        """Make due what is leased to workers that are gone; returns how many steps that were."""
        with self._database.transaction() as connection:
            return leases.end_lost(connection)

    def histories(self, tenants: Sequence[str], orchestration_ids: Sequence[str]) -> dict[str, History]:
        """The recorded histories, by orchestration id."""
        if not orchestration_ids:
            return {}
        with self._database.transaction(tenants) as connection:
            return histories.read_histories(connection, orchestration_ids)

    def run_chains(
        self, tenants: Sequence[str], run_ids: Sequence[str]
    ) -> dict[str, tuple[Recorded, ...] | None]:
        """The facts of runs, by run id: a run without facts is absent, None is what a newer version wrote."""
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
            committed = commits.commit(connection, changes, self._clock)
        observe(changes, committed)
        return committed

    def overdue(self) -> dict[Queue, int]:
        """How many steps are due and unclaimed, by queue (counted up to 1,000 each)."""
        with self._database.transaction() as connection:
            return claims.overdue(connection)

    def owners(self, names: Collection[str]) -> dict[str, StepOwner]:
        """Whose these steps and orchestrations are, by name; what the work index does not know is absent."""
        if not names:
            return {}
        with self._database.transaction() as connection:
            return dead_letters.owners(connection, names)

    def report(self, rows: Sequence[DeadLetterRow]) -> None:
        """Record rows in one commit, no two with the same id; one that is there is repeated and opened again."""
        if rows:
            with self._database.transaction([row.tenant_id for row in rows]) as connection:
                dead_letters.upsert(connection, rows)
                fault_points.reached(FaultPoint.BEFORE_COMMIT, Queue.DEAD_LETTER)

    def dead_letters(
        self, tenants: Sequence[str], orchestration_ids: Sequence[str]
    ) -> tuple[DeadLetterRow, ...]:
        """The dead letters of these orchestrations, the oldest first."""
        if not tenants or not orchestration_ids:
            return ()
        with self._database.transaction(tenants) as connection:
            return dead_letters.of_orchestrations(connection, orchestration_ids)
