"""How much of everything there is now, for gauges: few queries, each over an index, none over what is finished."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.adapters.postgresql.database import Connection, Database
from app.data_plane.breakers import BreakerName

MOST_TENANTS = 20
"""Tenants whose budgets are told: those that are nearest to their limit."""

MOST_ROUTED = 200
"""Workflows, and targets, that are told of before anything came of them."""

MOST_WAITING = 500
"""Approvals that are looked at for the oldest one: those that expire first."""

_OPEN_STEPS = """
SELECT queue, count(*), count(*) FILTER (WHERE due_at <= now.now),
    coalesce(extract(epoch FROM max(now.now - due_at) FILTER (WHERE due_at <= now.now)), 0)::float8
FROM work_index, (SELECT clock_timestamp() AS now) now WHERE finished_at IS NULL GROUP BY queue
"""
_LEASED = """
SELECT queue, count(*) FROM work_index
WHERE leased_by IS NOT NULL AND finished_at IS NULL AND due_at > clock_timestamp() GROUP BY queue
"""
_ORCHESTRATIONS = """
SELECT workflow, status, count(*) FROM orchestrations WHERE closed_at IS NULL GROUP BY 1, 2
"""
_DEAD_LETTERS = "SELECT queue, cause, count(*) FROM dead_letters WHERE state = 'open' GROUP BY 1, 2"
_ACTIONS = """
SELECT state, count(*) FROM actions WHERE state NOT IN ('confirmed', 'denied') GROUP BY 1
"""
_WAITING = """
SELECT count(*) FROM work_index
WHERE queue = 'orchestration' AND finished_at IS NULL AND stage = '' AND subject <> ''
"""
_OLDEST_WAITING = """
SELECT coalesce(extract(epoch FROM clock_timestamp() - min((body ->> 'at')::timestamptz)), 0)::float8 FROM (
    SELECT subject, convert_from(j.body, 'UTF8')::json AS body FROM (
        SELECT subject, orchestration_id FROM work_index
        WHERE queue = 'orchestration' AND finished_at IS NULL AND stage = '' AND subject <> ''
        ORDER BY due_at LIMIT %s
    ) w JOIN journal j ON j.chain_id = w.orchestration_id
    WHERE position('"kind":"approval_requested"'::bytea IN j.body) > 0
) asked WHERE body -> 'fact' ->> 'action_id' = subject
"""
_BUDGETS = """
SELECT tenant_id, unit, used FROM (
    SELECT DISTINCT ON (tenant_id, unit) tenant_id, unit,
        (reserved + spent + presumed)::float8 / greatest(most, 1) AS used
    FROM budget_lines WHERE level = 'tenant' ORDER BY tenant_id, unit, began_at DESC
) lines ORDER BY used DESC
"""
_ROUTED = """
WITH routed AS MATERIALIZED (
    SELECT c.workflow, convert_from(r.body, 'UTF8')::jsonb AS body
    FROM channels c JOIN releases r ON r.digest = c.release_digest
)
SELECT 'workflow', workflow, '' FROM routed
UNION SELECT 'target', target ->> 'name', '' FROM routed, jsonb_array_elements(body #> '{template,targets}') target
UNION SELECT 'model', p.value ->> 'name', p.value ->> 'model' FROM routed, jsonb_each(body -> 'providers') p
ORDER BY 1, 2, 3
"""

Pairs = Mapping[tuple[str, ...], int]


@dataclass(frozen=True, slots=True)
class QueueStanding:
    """The open steps of one queue."""

    due: int
    oldest_seconds: float
    leased: int
    later: int


@dataclass(frozen=True, slots=True)
class Routed:
    """What releases with traffic name."""

    workflows: tuple[str, ...]
    targets: tuple[str, ...]
    models: frozenset[BreakerName]


@dataclass(frozen=True, slots=True)
class Standing:
    """Everything that is there now."""

    queues: Mapping[str, QueueStanding]
    orchestrations: Pairs
    """By workflow and status."""
    dead_letters_open: Pairs
    """By queue and cause."""
    actions: Mapping[str, int]
    approvals: int
    oldest_approval_seconds: float
    budgets: Mapping[tuple[str, ...], float]
    """By tenant and unit, as a share of the limit."""
    routed: Routed


class PostgresqlStanding:
    """Reads under the role ``interlock_metrics``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self) -> Standing:
        """All of it in one transaction. Raises TransientError."""
        with self._database.transaction() as connection:
            waiting = connection.execute(_WAITING).fetchone()
            oldest = connection.execute(_OLDEST_WAITING, [MOST_WAITING]).fetchone()
            assert waiting is not None
            assert oldest is not None
            return Standing(
                queues=_queues(connection),
                orchestrations=_pairs(connection, _ORCHESTRATIONS),
                dead_letters_open=_pairs(connection, _DEAD_LETTERS),
                actions={row[0]: int(row[1]) for row in connection.execute(_ACTIONS)},
                approvals=int(waiting[0]),
                oldest_approval_seconds=max(0.0, float(oldest[0])),
                budgets=_budgets(connection),
                routed=_routed(connection),
            )


def _queues(connection: Connection) -> dict[str, QueueStanding]:
    leased = {row[0]: int(row[1]) for row in connection.execute(_LEASED)}
    found: dict[str, QueueStanding] = {}
    for queue, every, due, oldest in connection.execute(_OPEN_STEPS):
        held = leased.get(queue, 0)
        found[queue] = QueueStanding(int(due), float(oldest), held, max(0, int(every) - int(due) - held))
    return found


def _pairs(connection: Connection, query: str) -> dict[tuple[str, ...], int]:
    return {(row[0], row[1]): int(row[2]) for row in connection.execute(query)}


def _routed(connection: Connection) -> Routed:
    found = connection.execute(_ROUTED).fetchall()
    named = {what: tuple(row[1] for row in found if row[0] == what) for what in ("workflow", "target")}
    return Routed(
        workflows=named["workflow"][:MOST_ROUTED],
        targets=named["target"][:MOST_ROUTED],
        models=frozenset(BreakerName(*row[1:]) for row in found if row[0] == "model"),
    )


def _budgets(connection: Connection) -> dict[tuple[str, ...], float]:
    """Of the tenants that are nearest to a limit, each limit."""
    found = connection.execute(_BUDGETS).fetchall()
    tenants = list(dict.fromkeys(row[0] for row in found))[:MOST_TENANTS]
    return {(row[0], row[1]): float(row[2]) for row in found if row[0] in tenants}
