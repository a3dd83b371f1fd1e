"""Guards: an error that nobody caught is one redacted line, in whichever way Python reports it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

TOKEN = "ghp_" + "a1B2" * 9
START = (
    "import logging, threading, warnings\n"
    "from app.telemetry.logs import configure_logs\n"
    "from app.telemetry.uncaught import watch_uncaught\n"
    "configure_logs(service='agent_runs'); watch_uncaught()\n"
    f"secret = {TOKEN!r}\n"
)
WAYS = {
    "the process": "raise ValueError('failed with ' + secret)",
    "a cause": (
        "try:\n    raise KeyError(secret)\nexcept KeyError as error:\n    raise ValueError('failed') from error"
    ),
    "what came before": "try:\n    raise KeyError(secret)\nexcept KeyError:\n    raise ValueError('failed')",
    "a note": "error = ValueError('failed'); error.add_note('the key was ' + secret); raise error",
    "a group": "raise ExceptionGroup('failed', [ValueError(secret), ExceptionGroup('b', [KeyError(secret)])])",
    "an address": "raise ConnectionError('failed: postgresql://app:hunter2hunter2@db/x')",
    "a thread": (
        "def work():\n    raise ValueError('failed with ' + secret)\n"
        "thread = threading.Thread(target=work); thread.start(); thread.join()"
    ),
    "a finaliser": (
        "class Odd:\n    def __del__(self):\n        raise ValueError('failed with ' + secret)\n"
        "    def __repr__(self):\n        return secret\nOdd()"
    ),
    "a warning": "warnings.warn('failed with ' + secret)",
    "a line that does not fit its values": "logging.getLogger('x').warning('failed %d', secret)",
    "a line whose value has no text": (
        "class Odd:\n    def __str__(self):\n        raise ValueError('failed ' + secret)\n"
        "logging.getLogger('x').warning('failed %s', Odd())"
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_it_is_told_in_one_line_without_its_secret(way: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", START + WAYS[way]], capture_output=True, text=True, check=False
    )
    assert done.stdout == ""
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert len(lines) == 1, done.stderr
    assert "fail" in done.stderr or lines[0]["event"] == "a line could not be written"
    for secret in (TOKEN, TOKEN[8:20], "hunter2"):
        assert secret not in done.stderr


def test_ctrl_c_stays_what_it_is() -> None:
    done = subprocess.run(
        [sys.executable, "-c", START + "raise KeyboardInterrupt"], capture_output=True, text=True, check=False
    )
    assert "KeyboardInterrupt" in done.stderr
    assert "uncaught" not in done.stderr
