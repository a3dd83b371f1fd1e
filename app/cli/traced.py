"""Spans of what a person says with a command: the end of the wait for them, a cancellation, a settlement."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from app.adapters.postgresql.database import Role
from config import settings


@contextmanager
def traced(role: Role = "interlock_api") -> Iterator[None]:
    """Spans made inside the block are kept where those of the service are, under ``role``."""
    # Here, as most commands make no spans, and OpenTelemetry's SDK takes a while to load.
    from app.bootstrap import Telemetry

    running = Telemetry(settings.load()).start_spans("command", role=role, libraries=False)
    try:
        yield
    finally:
        running.shutdown()
