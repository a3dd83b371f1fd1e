"""The span store as a test reads it: as the database's owner, who sees every tenant's and infrastructure's spans."""

from __future__ import annotations

import psycopg

from app.adapters.postgresql.spans import COLUMNS, stored_span
from app.telemetry.stored_spans import StoredSpan


def recorded_spans(url: str) -> list[StoredSpan]:
    """All spans, by their start."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM spans ORDER BY start_ns, end_ns DESC")
        return [stored_span(row) for row in rows]
