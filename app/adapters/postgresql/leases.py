"""Leases that end before their time: given back by whoever holds them, or taken from workers that are gone."""

from __future__ import annotations

from app.adapters.postgresql.database import Connection

LIVENESS_CLASS = 0x696E746C
"""The first key of the session advisory locks that living workers hold ("intl"); the second is their lock_key."""

GONE_SECONDS = 1.5
"""How long a worker must not have been seen, besides holding no lock: its connection may only have been replaced."""

AFTER_RESTART_SECONDS = 5.0
"""How long after the server's start nobody counts as gone: all of them have yet to come back."""

FORGOTTEN_SECONDS = 600.0
"""When a worker that is gone and holds no lease is forgotten."""

MOST_AT_ONCE = 5_000

_GIVE_BACK = """
UPDATE work_index SET due_at = clock_timestamp() + make_interval(secs => %(seconds)s), leased_by = NULL,
    fence = fence + 1, lapses = lapses + %(lapsed)s
WHERE step_id IN (
    SELECT step_id FROM work_index
    WHERE split_part(leased_by, '/', 1) = split_part(%(worker)s, '/', 1) AND leased_by = %(worker)s
      AND finished_at IS NULL
    ORDER BY step_id FOR UPDATE
)
"""

_GONE = """
WITH gone AS MATERIALIZED (
    SELECT worker_id, seen_at FROM workers
    WHERE seen_at < clock_timestamp() - make_interval(secs => %(gone)s)
      AND pg_postmaster_start_time() < clock_timestamp() - make_interval(secs => %(restarted)s) AND NOT EXISTS (
        SELECT 1 FROM pg_locks held
        WHERE held.locktype = 'advisory' AND held.granted AND held.objsubid = 2
          AND held.classid::bigint = %(class)s AND held.objid::bigint = (workers.lock_key::bigint & 4294967295)
          AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    )
)
"""

# The name stays on the lease: the next claim sees by it that the lease ended without a result.
_END_LOST = """,
lost AS (
    SELECT held.step_id FROM gone, LATERAL (
        SELECT step_id FROM work_index
        WHERE split_part(leased_by, '/', 1) = gone.worker_id AND leased_by IS NOT NULL AND finished_at IS NULL
          AND due_at > clock_timestamp()
        LIMIT %(most)s FOR UPDATE SKIP LOCKED
    ) held
)
UPDATE work_index w SET due_at = clock_timestamp() FROM lost WHERE w.step_id = lost.step_id
"""

_FORGET = """
DELETE FROM workers USING gone
WHERE workers.worker_id = gone.worker_id AND workers.seen_at = gone.seen_at
  AND gone.seen_at < clock_timestamp() - make_interval(secs => %(forgotten)s)
  AND NOT EXISTS (
    SELECT 1 FROM work_index
    WHERE split_part(leased_by, '/', 1) = gone.worker_id AND leased_by IS NOT NULL AND finished_at IS NULL
  )
"""


def give_back(connection: Connection, worker: str, *, in_seconds: float, lapsed: bool) -> int:
    """End the leases that a message of a worker holds; due again in so many seconds."""
    parameters = {"worker": worker, "seconds": in_seconds, "lapsed": int(lapsed)}
    return connection.execute(_GIVE_BACK, parameters).rowcount


def end_lost(connection: Connection) -> int:
    """Make due what is leased to workers that are gone, up to a bound; returns how many steps that were."""
    parameters = {
        "class": LIVENESS_CLASS,
        "gone": GONE_SECONDS,
        "restarted": AFTER_RESTART_SECONDS,
        "most": MOST_AT_ONCE,
        "forgotten": FORGOTTEN_SECONDS,
    }
    ended = connection.execute(_GONE + _END_LOST, parameters).rowcount
    connection.execute(_GONE + _FORGET, parameters)
    return ended
