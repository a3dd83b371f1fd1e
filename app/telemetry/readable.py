"""A line of the log for a person at a terminal; what is kept in files stays JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import orjson

from app.telemetry.redaction import redact

_LEVELS: Final = {"debug": "DEBUG", "info": "INFO", "warning": "WARN", "error": "ERROR", "critical": "FATAL"}
_SHORT: Final = {
    "orchestration_id": "orchestration",
    "run_id": "run",
    "event_id": "event",
    "tenant_id": "tenant",
}
_LEFT_OUT: Final = frozenset({"timestamp", "level", "event", "service", "logger", "trace_id", "exception"})
_MOST: Final = 24
"""Characters of a value, enough to find an id by."""


def readable(process: str, line: str) -> str:
    """Time, level, process, what happened, and the keys shortened; what is not of our log, as it is, redacted."""
    try:
        told = orjson.loads(line)
    except orjson.JSONDecodeError:
        told = None
    if not isinstance(told, dict) or "event" not in told or "level" not in told:
        return f"{'':8} {'':5} {process:<14} {redact(line)}"
    time = str(told.get("timestamp", ""))[11:19]
    level = _LEVELS.get(str(told["level"]), str(told["level"]).upper())
    values = " ".join(_values(told))
    raised = f" ! {_last_line(told['exception'])}" if "exception" in told else ""
    return f"{time:8} {level:<5} {process:<14} {_flat(told['event'])}{'  ' if values else ''}{values}{raised}"


def _values(told: Mapping[str, object]) -> list[str]:
    names = [*(name for name in _SHORT if name in told), *(name for name in told if name not in _SHORT)]
    return [
        f"{_SHORT.get(name, name)}={_shortened(told[name])}"
        for name in names
        if name not in _LEFT_OUT and told[name] not in ("", None)
    ]


def _shortened(value: object) -> str:
    text = _flat(value if isinstance(value, str) else orjson.dumps(value).decode())
    return text if len(text) <= _MOST else f"{text[:_MOST]}..."


def _flat(value: object) -> str:
    return " ".join(str(value).split())


def _last_line(exception: object) -> str:
    lines = str(exception).strip().splitlines()
    return lines[-1].strip() if lines else ""
