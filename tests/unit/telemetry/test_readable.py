"""Guards: a line of the log is read at a glance in a terminal, and whatever else a process writes is shown, too."""

from __future__ import annotations

import json

import pytest

from app.telemetry.readable import readable

LINE = {
    "event": "delivered",
    "level": "info",
    "timestamp": "2026-03-01T10:20:30.123456Z",
    "logger": "app.data_plane.orchestration.observing",
    "service": "dispatch",
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "action_id": "act_0123456789abcdef0123456789abcdef",
    "attempt": 1,
    "tenant_id": "demo",
    "orchestration_id": "orc_0123456789abcdef0123456789abcdef",
    "failure": "",
}


def test_time_level_process_and_what_happened_come_first_then_the_keys_shortened() -> None:
    assert readable("dispatch-1", json.dumps(LINE)) == (
        "10:20:30 INFO  dispatch-1     delivered  orchestration=orc_0123456789abcdef0123..."
        " tenant=demo action_id=act_0123456789abcdef0123... attempt=1"
    )


def test_of_an_error_the_last_line_is_shown() -> None:
    raised = {**LINE, "level": "error", "exception": "Traceback\n  File x\nValueError: it failed\n"}
    told = readable("dispatch-1", json.dumps(raised))
    assert told.endswith(" ! ValueError: it failed")
    assert "\n" not in told


@pytest.mark.parametrize("line", ["plain words", "{broken", "[1, 2]", '"text"', '{"a": 1}', "", "\x00\ud800"])
def test_what_is_no_line_of_ours_is_shown_as_it_is(line: str) -> None:
    assert readable("redis", line).endswith(f"redis          {line}")


def test_a_secret_in_what_another_program_writes_is_not_shown() -> None:
    assert "hunter2" not in readable("redis", "cannot use redis://:hunter2hunter2@cache/0")
