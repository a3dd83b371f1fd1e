"""Which orchestrations somebody means, by whatever id is at hand; read only, and by indexes.

The beginning of an event's id is looked for among all of a tenant's, as senders choose them in any alphabet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.adapters.postgresql.database import Database, Row
from app.adapters.postgresql.spans import SpanReading
from app.data_plane.ports import Queue

MOST = 200
"""Orchestrations of one event that are looked at."""

_COLUMNS = "orchestration_id, tenant_id, event_id, workflow, lane, status, traceparent, created_at"
_RUNS = f"SELECT {_COLUMNS} FROM orchestrations WHERE orchestration_id = ANY(%s::text[]) ORDER BY created_at"  # noqa: S608
# Ids go on in hexadecimal, so that 'z' is behind each of them in every collation.
_BEGINS = "{0} >= %(text)s AND {0} <= %(text)s || 'z' AND starts_with({0}, %(text)s)"
_ORCHESTRATIONS = (
    "SELECT orchestration_id, orchestration_id FROM orchestrations"  # noqa: S608
    f" WHERE {_BEGINS.format('orchestration_id')} LIMIT %(limit)s"
)
_ACTIONS = (
    f"SELECT action_id, orchestration_id FROM actions WHERE {_BEGINS.format('action_id')} LIMIT %(limit)s"  # noqa: S608
)
_STEPS = (
    "SELECT step_id, orchestration_id FROM work_index"  # noqa: S608
    f" WHERE {_BEGINS.format('step_id')} AND queue = %(queue)s LIMIT %(limit)s"
)
_EVENT = (
    "SELECT orchestration_id FROM orchestrations WHERE tenant_id = ANY(%s::text[]) AND event_id = %s"
    " ORDER BY created_at LIMIT %s"
)
_EVENTS = (
    "SELECT DISTINCT event_id FROM orchestrations WHERE tenant_id = ANY(%s::text[]) AND starts_with(event_id, %s)"
    " LIMIT %s"
)
_STATE = "SELECT state FROM events WHERE tenant_id = ANY(%s::text[]) AND event_id = %s LIMIT 1"


@dataclass(frozen=True, slots=True)
class TracedRun:
    """An orchestration, and where its trace is; None where there was no telemetry."""

    orchestration_id: str
    tenant_id: str
    event_id: str
    workflow: str
    lane: str
    status: str
    traceparent: str | None
    created_at: datetime

    @property
    def trace_id(self) -> str:
        """Its trace's id; empty when there is none."""
        return self.traceparent[3:35] if self.traceparent is not None else ""

    @property
    def is_recorded(self) -> bool:
        """Whether the verdict on its trace was to record it."""
        return self.traceparent is not None and not self.traceparent.endswith("-00")


class TraceReading:
    """Finds orchestrations, and through them their traces.

    Args:
        database: under the role ``interlock_api``.
        tenants: whose are seen.
    """

    def __init__(self, database: Database, tenants: Sequence[str]) -> None:
        self._database = database
        self._tenants = list(tenants)
        self.spans = SpanReading(database, tenants)

    def runs(self, orchestration_ids: Sequence[str]) -> tuple[TracedRun, ...]:
        """These orchestrations, the oldest first."""
        return tuple(TracedRun(*row) for row in self._look(_RUNS, [list(orchestration_ids)]))

    def beginning(self, text: str, *, limit: int = 3) -> dict[str, str]:
        """Ids of orchestrations, runs or actions that begin so, up to ``limit``, each with its orchestration's."""
        query = {"act_": _ACTIONS, "run_": _STEPS}.get(text[:4], _ORCHESTRATIONS)
        values = {"text": text, "limit": limit, "queue": Queue.AGENT_RUNS.value}
        return {row[0]: row[1] for row in self._look(query, values)}

    def of_event(self, event_id: str) -> tuple[str, ...]:
        """The orchestrations of the events with that id, the oldest first."""
        return tuple(row[0] for row in self._look(_EVENT, [self._tenants, event_id, MOST]))

    def events_that_begin(self, text: str, *, limit: int = 3) -> tuple[str, ...]:
        """The ids of events that begin so and have an orchestration, up to ``limit``."""
        return tuple(sorted(row[0] for row in self._look(_EVENTS, [self._tenants, text, limit])))

    def event_state(self, event_id: str) -> str:
        """The state of the event with that id; empty when there is none."""
        found = self._look(_STATE, [self._tenants, event_id])
        return str(found[0][0]) if found else ""

    def _look(self, query: str, values: Sequence[object] | Mapping[str, object]) -> list[Row]:
        if not self._tenants:
            return []
        with self._database.transaction(self._tenants) as connection:
            return connection.execute(query, values).fetchall()
