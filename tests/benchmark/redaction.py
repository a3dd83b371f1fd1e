"""What redaction costs: a line of the log, free text, a large value; and what a whole line costs beside it."""

from __future__ import annotations

import io
import timeit
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from time import thread_time

from app.telemetry.logs import configure_logs, correlated, get_logger
from app.telemetry.redaction import redact, redact_value
from app.telemetry.tracing import Keys
from tests.own_logging import own_logging
from tests.unit.telemetry.planted_secrets import FORMS

ROOT = Path(__file__).parents[2]

EVENT: dict[str, object] = {
    "event": "delivered",
    "level": "info",
    "logger": "app.data_plane.orchestration.observing",
    "service": "dispatch",
    "timestamp": "2026-03-01T10:20:30.123456Z",
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "tenant_id": "demo",
    "event_id": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
    "orchestration_id": "orc_0123456789abcdef0123456789abcdef",
    "run_id": "run_89abcdef0123456789abcdef01234567",
    "action_id": "act_89abcdef0123456789abcdef01234567",
    "digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "attempt": 1,
    "http_status": 200,
}
"""About 500 bytes as JSON."""


@dataclass(frozen=True)
class Cost:
    """One thing that was measured, in microseconds."""

    name: str
    microseconds: float
    aim: str


def costs() -> list[Cost]:
    """CPU time, each the best of nine rounds: what the machine does beside is not redaction's cost."""
    import orjson

    line = orjson.dumps(EVENT).decode()
    prose = "\n".join(path.read_text() for path in sorted((ROOT / "docs").glob("*.md")))[:40_000]
    random = Random(1)
    dirty = "\n".join(f"{prose[at : at + 1000]} {draw(random)}" for at, draw in enumerate(FORMS.values()))
    nodes = {
        "rows": [{"id": row, "name": f"row {row}", "digest": "9f86d081884c7d65"} for row in range(25_000)]
    }
    return [
        Cost(f"a line of {len(line)} bytes, as JSON", _best(lambda: redact(line), 5_000), "below 20 µs"),
        Cost("the same, as values", _best(lambda: redact_value(EVENT), 5_000), "below 20 µs"),
        Cost(
            "the same with a secret in it",
            _best(lambda: redact_value({**EVENT, "a": "a@b.example"}), 500),
            "",
        ),
        Cost("free text, 1 KB", _best(lambda: redact(prose), 20) / len(prose) * 1000, "below 300 µs"),
        Cost(
            "free text with a secret in each KB",
            _best(lambda: redact(dirty), 3) / len(dirty) * 1000,
            "below 300 µs",
        ),
        Cost("a value of 100,000 nodes", _best(lambda: redact_value(nodes), 1), "below 100,000 µs"),
        Cost("a whole line of the log, written", _line(), ""),
    ]


def _best(work: Callable[[], object], times: int) -> float:
    return min(timeit.repeat(work, number=times, repeat=9, timer=thread_time)) / times * 1e6


def _line() -> float:
    with own_logging():
        configure_logs(stream=io.StringIO(), service="dispatch")
        log = get_logger("app.x")
        with correlated(Keys("demo", "e-1", "orc_0123456789abcdef0123456789abcdef")):
            return _best(lambda: log.info("delivered", attempt=1, http_status=200), 1_000)
