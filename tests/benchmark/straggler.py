"""A batch of 64 orchestrations, one run of which takes 3 s: when are the others done?"""

from __future__ import annotations

from dataclasses import dataclass

from app import bootstrap
from tests.benchmark.reference_workflow import CLOSED, events, saturate
from tests.benchmark.running import Running, service
from tests.benchmark.waiting_documents import waiting

BATCH = 64
STRAGGLER_SECONDS = 3.0


@dataclass(frozen=True)
class Straggling:
    """Seconds from acceptance until the last of the others was closed, and until the straggler was."""

    others_seconds: float
    straggler_seconds: float


def measure() -> Straggling:
    """Accept one batch and wait for all of it."""
    with waiting(STRAGGLER_SECONDS, only="build 0") as documents, service(documents=documents) as running:
        saturate(running, BATCH, "warm")
        return _measure(running)


def _measure(running: Running) -> Straggling:
    services = bootstrap.api_services()
    before = running.number(CLOSED)
    services.ingestion.accept(events(BATCH, "batch"))
    running.wait(CLOSED, before + BATCH, seconds=60)
    services.close()
    seconds = [
        float(str(row[0]))
        for row in running.rows(
            "SELECT extract(epoch FROM closed_at - min(created_at) OVER ()) FROM orchestrations"
            " WHERE event_id LIKE 'batch-%' ORDER BY closed_at"
        )
    ]
    return Straggling(seconds[-2], seconds[-1])
