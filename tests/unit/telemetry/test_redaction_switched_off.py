"""Guards: redaction can be switched off for the control of a scan, by one loudly named setting, and says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys

TOKEN = "ghp_" + "a1B2" * 9
PROGRAM = (
    "from app.bootstrap import Telemetry\nfrom config import settings\n"
    "Telemetry(settings.load()).start_logs('control')\n"
    "from app.telemetry.logs import get_logger\nfrom app.telemetry.redaction import redact, redact_known\n"
    f"get_logger('x').warning('planted', value={TOKEN!r}, password='hunter2', said=redact({TOKEN!r}),"
    f" known=redact_known({TOKEN!r}))\n"
)


def lines(setting: str) -> list[dict[str, str]]:
    """What a process writes with it."""
    environment = {**os.environ, "INTERLOCK_UNSAFE_NO_REDACTION": setting}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env=environment
    )
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_with_the_setting_everything_shows_after_a_warning() -> None:
    warning, line = lines("true")
    assert warning["event"].startswith("REDACTION IS OFF")
    assert warning["level"] == "warning"
    shown = [line[name] for name in ("value", "password", "said", "known")]
    assert shown == [TOKEN, "hunter2", TOKEN, TOKEN]


def test_without_it_nothing_does() -> None:
    (line,) = lines("false")
    assert {line[name] for name in ("value", "password", "said", "known")} == {"[redacted]"}
