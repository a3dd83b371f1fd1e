"""Workflows per second of the no-op reference workflow: normalise, three agents, majority, one effect."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from app import bootstrap
from app.data_plane.ingestion.accept import Accepted, Submission
from interlock.envelope import Envelope
from tests.benchmark.running import Running

BATCH = 64
CLOSED = "SELECT count(*)::int FROM orchestrations WHERE closed_at IS NOT NULL"


@dataclass(frozen=True)
class Throughput:
    """What was measured. Latencies are from acceptance to the end, in milliseconds."""

    workflows: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        """Workflows a second."""
        return self.workflows / self.seconds


def events(count: int, prefix: str) -> list[Submission]:
    """That many events of our own source."""
    return [
        Submission(
            Envelope(
                id=f"{prefix}-{number}",
                source="urn:interlock:benchmark",
                type="dev.interlock.check",
                tenantid="bench",
                dataschema="urn:interlock:schema:check:1",
                data={
                    "kind": "check_run",
                    "name": f"build {number}",
                    "status": "completed",
                    "conclusion": "success",
                    "head_sha": "0" * 40,
                },
            )
        )
        for number in range(count)
    ]


def saturate(
    running: Running,
    count: int,
    prefix: str,
    *,
    services: Callable[[], bootstrap.Services] = bootstrap.api_services,
) -> Throughput:
    """Accept ``count`` events in batches as fast as they are taken, and wait for the last effect.

    ``services`` makes what accepts them; by default it tells nothing of what it does.
    """
    accepting = services()
    before = running.number(CLOSED)
    submissions = events(count, prefix)
    started = time.perf_counter()
    for start in range(0, count, BATCH):
        for answer in accepting.ingestion.accept(submissions[start : start + BATCH]):
            assert isinstance(answer, Accepted), answer
    running.wait(CLOSED, before + count, seconds=180)
    seconds = time.perf_counter() - started
    accepting.close()
    return _with_latencies(running, count, seconds, prefix)


def trickle(running: Running, count: int, prefix: str) -> Throughput:
    """One event at a time, each waited for: the latency of an idle system."""
    services = bootstrap.api_services()
    before = running.number(CLOSED)
    started = time.perf_counter()
    for number, submission in enumerate(events(count, prefix), start=1):
        services.ingestion.accept_one(submission)
        running.wait(CLOSED, before + number, seconds=30)
    seconds = time.perf_counter() - started
    services.close()
    return _with_latencies(running, count, seconds, prefix)


def _with_latencies(running: Running, count: int, seconds: float, prefix: str) -> Throughput:
    row = running.rows(
        "SELECT 1000 * percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM closed_at - created_at)),"
        " 1000 * percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM closed_at - created_at))"
        f" FROM orchestrations WHERE event_id LIKE '{prefix}-%'"
    )[0]
    return Throughput(count, seconds, float(str(row[0])), float(str(row[1])))
