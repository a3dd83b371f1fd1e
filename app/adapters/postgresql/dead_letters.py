"""Dead letters as rows: upserted and resolved, a batch at a time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import astuple

from app.adapters.postgresql.database import Connection, Row
from app.data_plane.dead_letters.from_facts import Changes, Resolution
from app.data_plane.dead_letters.letters import Cause, DeadLetterRow
from app.data_plane.ports import StepOwner
from app.kernel.clock import to_text
from app.kernel.errors import Fate

COLUMNS = (
    "dead_letter_id, tenant_id, event_id, orchestration_id, run_id, workflow, step_id, queue, cause, code, fate,"
    " what, remedy, first_at, last_at, state, times, message_digest,"
    " settled_by, settled_because"
)
_TYPES = ("text",) * 13 + ("timestamptz", "timestamptz", "text", "int4", "text", "text", "text")
_UPSERT = (
    f"INSERT INTO dead_letters ({COLUMNS})"  # noqa: S608 - of the names above
    f" SELECT * FROM unnest({', '.join(f'%b::{name}[]' for name in _TYPES)}) AS new ORDER BY 1"
    " ON CONFLICT (dead_letter_id) DO UPDATE SET times = dead_letters.times + excluded.times,"
    " first_at = least(dead_letters.first_at, excluded.first_at),"
    " last_at = greatest(dead_letters.last_at, excluded.last_at), state = excluded.state, code = excluded.code,"
    " fate = excluded.fate, what = excluded.what, remedy = excluded.remedy"
)


def upsert(connection: Connection, rows: Sequence[DeadLetterRow]) -> None:
    """Add rows, no two with the same id; one that is there counts on and has the newer state and words."""
    if rows:
        # In the order of the ids, so that two batches with the same rows wait for each other and never deadlock.
        ordered = sorted(rows, key=lambda row: row.dead_letter_id)
        connection.execute(_UPSERT, [list(column) for column in zip(*map(_cells, ordered), strict=True)])


def _cells(row: DeadLetterRow) -> tuple[str | int, ...]:
    return tuple(value.value if isinstance(value, (Cause, Fate)) else value for value in astuple(row))


def resolve(connection: Connection, resolutions: Sequence[Resolution]) -> None:
    """Close the open rows that these resolve."""
    ids = [one.dead_letter_id for one in resolutions if one.dead_letter_id]
    if ids:
        connection.execute(
            "UPDATE dead_letters SET state = 'settled' WHERE dead_letter_id = ANY(%b::text[]) AND state = 'open'",
            [ids],
        )
    by_cause = [one for one in resolutions if one.cause is not None]
    if by_cause:
        connection.execute(
            "UPDATE dead_letters d SET state = new.state FROM unnest(%b::text[], %b::text[], %b::text[])"
            " AS new (orchestration_id, cause, state) WHERE d.orchestration_id = new.orchestration_id"
            " AND d.cause = new.cause AND d.state = 'open'",
            [
                [one.orchestration_id for one in by_cause],
                [str(one.cause) for one in by_cause],
                [one.state for one in by_cause],
            ],
        )
    orchestrations = [
        one.orchestration_id for one in resolutions if not one.dead_letter_id and one.cause is None
    ]
    if orchestrations:
        connection.execute(
            "UPDATE dead_letters SET state = 'replayed' WHERE orchestration_id = ANY(%b::text[])"
            " AND state = 'open' AND cause <> 'in_doubt'",
            [orchestrations],
        )


def settle(
    connection: Connection, dead_letter_ids: Sequence[str], actor: str, reason: str
) -> tuple[str, ...]:
    """Close those of these rows that are open and come from messages; the ids of those that it closed."""
    found = connection.execute(
        "UPDATE dead_letters SET state = 'settled', settled_by = %b, settled_because = %b"
        " WHERE dead_letter_id = ANY(%b::text[]) AND state = 'open' AND message_digest <> ''"
        " RETURNING dead_letter_id",
        [actor, reason, sorted(dead_letter_ids)],
    )
    return tuple(row[0] for row in found)


def apply(connection: Connection, changes: Changes) -> None:
    """Write what facts change; costs nothing when that is nothing."""
    resolve(connection, changes.resolutions)
    upsert(connection, list(changes.rows.values()))


def of_orchestrations(connection: Connection, orchestration_ids: Sequence[str]) -> tuple[DeadLetterRow, ...]:
    """The dead letters of these orchestrations, the oldest first."""
    found = connection.execute(
        f"SELECT {COLUMNS} FROM dead_letters WHERE orchestration_id = ANY(%b::text[])"  # noqa: S608 - of the names above
        " ORDER BY first_at, dead_letter_id",
        [list(orchestration_ids)],
    )
    return tuple(row_of(row) for row in found)


def last_reruns(connection: Connection, orchestration_ids: Sequence[str]) -> dict[str, str]:
    """When these orchestrations were last started anew, as far as they were."""
    found = connection.execute(
        "SELECT orchestration_id, max(finished_at) FROM replays WHERE orchestration_id = ANY(%b::text[])"
        " AND new_orchestration_id <> '' AND finished_at IS NOT NULL GROUP BY 1",
        [list(orchestration_ids)],
    )
    return {row[0]: to_text(row[1]) for row in found}


def row_of(row: Row) -> DeadLetterRow:
    """A row as it is selected by ``COLUMNS``."""
    return DeadLetterRow(
        dead_letter_id=row[0],
        tenant_id=row[1],
        event_id=row[2],
        orchestration_id=row[3],
        run_id=row[4],
        workflow=row[5],
        step_id=row[6],
        queue=row[7],
        cause=Cause(row[8]),
        code=row[9],
        fate=Fate(row[10]),
        what=row[11],
        remedy=row[12],
        first_at=to_text(row[13]),
        last_at=to_text(row[14]),
        state=row[15],
        times=row[16],
        message_digest=row[17],
        settled_by=row[18],
        settled_because=row[19],
    )


_OWNERS = """
SELECT w.step_id, w.step_id, w.tenant_id, w.orchestration_id FROM work_index w WHERE w.step_id = ANY(%(names)s::text[])
UNION ALL
SELECT asked.name, '', first.tenant_id, asked.name FROM unnest(%(names)s::text[]) AS asked (name)
CROSS JOIN LATERAL (SELECT w.tenant_id FROM work_index w WHERE w.orchestration_id = asked.name LIMIT 1) AS first
"""


def owners(connection: Connection, names: Collection[str]) -> dict[str, StepOwner]:
    """Whose these steps and orchestrations are, by name; what the work index does not know is absent."""
    steps = connection.execute(_OWNERS, {"names": sorted(names)}).fetchall()
    if not steps:
        return {}
    tenants = sorted({row[2] for row in steps})
    connection.execute("SELECT set_config('interlock.tenants', %s, true)", [",".join(tenants)])
    found = connection.execute(
        "SELECT orchestration_id, event_id, workflow FROM orchestrations WHERE orchestration_id = ANY(%b::text[])",
        [sorted({row[3] for row in steps})],
    )
    events = {row[0]: (row[1], row[2]) for row in found}
    return {row[0]: StepOwner(row[2], row[3], *events.get(row[3], ("", "")), row[1]) for row in steps}
