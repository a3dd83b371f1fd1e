"""Claims: leases on due steps, fair between tenants.

The work index has one ordering for both purposes: ``due_at`` is when a step may next be claimed, and a claim moves
it to the end of its lease. Time is the database's ``clock_timestamp()``: in an old transaction ``now()`` would grant
a lease that is already over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from app.adapters.postgresql.database import Connection, Row
from app.data_plane.ports import ALONE_AFTER, Claim, Queue
from app.telemetry import metrics

# A loose index scan finds the tenants with open work, and each gives its oldest due steps: first every tenant's
# first, then every tenant's second, so that a small tenant does not wait behind a large one's backlog.
_CLAIM_DUE = """
WITH RECURSIVE clock AS MATERIALIZED (SELECT clock_timestamp() AS now),
tenants AS (
    (SELECT tenant_id FROM work_index WHERE queue = %(queue)s AND finished_at IS NULL ORDER BY tenant_id LIMIT 1)
    UNION ALL
    SELECT (SELECT w.tenant_id FROM work_index w
            WHERE w.queue = %(queue)s AND w.finished_at IS NULL AND w.tenant_id > tenants.tenant_id
            ORDER BY w.tenant_id LIMIT 1)
    FROM tenants WHERE tenants.tenant_id IS NOT NULL
),
due AS (
    SELECT head.step_id, head.due_at, head.alone,
           row_number() OVER (PARTITION BY tenants.tenant_id ORDER BY head.due_at) AS turn
    FROM tenants, LATERAL (
        SELECT w.step_id, w.due_at, w.lapses + (w.leased_by IS NOT NULL)::int >= %(alone)s AS alone
        FROM work_index w
        WHERE w.queue = %(queue)s AND w.tenant_id = tenants.tenant_id AND w.finished_at IS NULL
          AND w.due_at <= (SELECT now FROM clock)
        ORDER BY w.due_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ) head
),
ranked AS (
    SELECT step_id, turn, due_at, alone, row_number() OVER in_turn AS place, first_value(alone) OVER in_turn AS first
    FROM due WINDOW in_turn AS (ORDER BY turn, due_at, step_id)
),
chosen AS (
    SELECT step_id, due_at FROM ranked WHERE CASE WHEN first THEN place = 1 ELSE NOT alone END
    ORDER BY turn, due_at LIMIT %(limit)s
)
"""
# Written so that only the primary key's index fits: the partial ones would be read whole to find a few steps.
_CLAIM_NAMED = """
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now),
chosen AS (
    SELECT step_id, due_at FROM work_index
    WHERE step_id = ANY(%(ids)s) AND queue || '' = %(queue)s AND coalesce(finished_at, 'infinity') = 'infinity'
      AND due_at <= (SELECT now FROM clock) AND lapses + (leased_by IS NOT NULL)::int < %(alone)s
    ORDER BY step_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
"""
_CLAIM_OF_ORCHESTRATIONS = """
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now),
chosen AS (
    SELECT step_id, due_at FROM work_index
    WHERE orchestration_id = ANY(%(ids)s) AND queue = %(queue)s AND finished_at IS NULL
      AND due_at <= (SELECT now FROM clock) AND lapses + (leased_by IS NOT NULL)::int < %(alone)s
    ORDER BY step_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
"""
_LEASE = """
UPDATE work_index w
SET due_at = clock.now + make_interval(secs => w.lease_seconds), leased_by = %(worker)s, fence = w.fence + 1,
    attempts = w.attempts + 1,
    -- Whoever ends a lease takes the name away: one that is still there ended by itself.
    lapses = w.lapses + (w.leased_by IS NOT NULL)::int
FROM chosen, clock WHERE w.step_id = chosen.step_id
RETURNING w.step_id, w.tenant_id, w.orchestration_id, w.queue, w.stage, w.subject, w.parent_id, w.fence, w.attempts,
    w.lapses, w.lease_seconds, extract(epoch FROM clock.now - chosen.due_at)::float8
"""


def claim_due(connection: Connection, queue: Queue, *, limit: int, worker: str) -> list[Claim]:
    """Lease up to ``limit`` due steps of the queue, whoever's they are."""
    parameters = {"queue": queue.value, "limit": limit, "worker": worker, "alone": ALONE_AFTER}
    return _claims(connection.execute(_CLAIM_DUE + _LEASE, parameters))


def claim_named(
    connection: Connection, queue: Queue, step_ids: Sequence[str], *, limit: int, worker: str
) -> list[Claim]:
    """Lease those of the named steps that are due."""
    parameters = _named(queue, step_ids, limit, worker)
    return _claims(connection.execute(_CLAIM_NAMED + _LEASE, parameters))


def claim_of(
    connection: Connection, queue: Queue, orchestration_ids: Sequence[str], *, limit: int, worker: str
) -> list[Claim]:
    """Lease the due steps of these orchestrations."""
    parameters = _named(queue, orchestration_ids, limit, worker)
    return _claims(connection.execute(_CLAIM_OF_ORCHESTRATIONS + _LEASE, parameters))


def _named(queue: Queue, ids: Sequence[str], limit: int, worker: str) -> dict[str, object]:
    return {
        "queue": queue.value,
        "limit": limit,
        "worker": worker,
        "alone": ALONE_AFTER,
        "ids": list(ids),
    }


def _claims(rows: Iterable[Row]) -> list[Claim]:
    claimed_at = metrics.now()
    claims = [_claim(row, claimed_at) for row in rows]
    for claim in claims:
        metrics.step_claimed(claim.queue.value, claim.waited_seconds)
    return claims


def _claim(row: Row, claimed_at: float) -> Claim:
    return Claim(
        step_id=row[0],
        tenant_id=row[1],
        orchestration_id=row[2],
        queue=Queue(row[3]),
        stage=row[4],
        subject=row[5],
        parent_id=row[6],
        fence=row[7],
        attempt=row[8],
        lapses=row[9],
        lease_seconds=row[10],
        waited_seconds=row[11],
        claimed_at=claimed_at,
    )


_RECONCILING = 0x7265636F6E63696C  # "reconcil": the advisory lock of the one reconciler at work

_OVERDUE = """
SELECT queues.queue, (
    SELECT count(*) FROM (
        SELECT 1 FROM work_index w
        WHERE w.queue = queues.queue AND w.finished_at IS NULL AND w.due_at <= (SELECT clock_timestamp())
        LIMIT 1000
    ) due
) FROM unnest(%(queues)s::text[]) AS queues (queue)
"""


def overdue(connection: Connection) -> dict[Queue, int]:
    """How many steps are due, by queue, counted up to 1,000 each; queues without any are left out.

    Under an advisory lock: while another process counts, there is nothing to tell.
    """
    alone = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", [_RECONCILING]).fetchone()
    if alone is None or not alone[0]:
        return {}
    found = connection.execute(_OVERDUE, {"queues": [queue.value for queue in Queue]})
    return {Queue(row[0]): int(row[1]) for row in found if row[1]}
