"""``up`` and ``submit`` as a user runs them: an event from a file to an effect that the sink of ``up`` counted."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from app.supervisor import service
from app.supervisor.run_folder import RunFolder
from app.telemetry import metric_names
from tests import metrics_truth

CHECKOUT = Path(__file__).resolve().parents[2]
ISSUE = {"kind": "issue", "number": 7, "title": "It crashes", "body": "", "author": "ada", "state": "open"}

Ask = Callable[..., dict[str, object]]


@pytest.fixture
def ask(home: Path) -> Iterator[Ask]:
    """Runs a command beside a running ``up``; gives the object that it printed."""
    home.chmod(0o755)
    ports = _free_ports(3)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("INTERLOCK_")},
        "INTERLOCK_HOME": str(home),
        "INTERLOCK_API_PORT": ports[0],
        "INTERLOCK_SINK_PORT": ports[1],
        "INTERLOCK_METRICS_PORT": ports[2],
    }
    command = [sys.executable, "-m", "app"]

    def run(*arguments: str) -> dict[str, object]:
        done = subprocess.run(
            [*command, *arguments, "--json"],
            cwd=CHECKOUT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        answer: dict[str, object] = json.loads(done.stdout)
        return answer

    up = subprocess.Popen(
        [*command, "up", "--no-flower", "--json"], cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE
    )
    try:
        assert up.stdout is not None
        assert up.stdout.readline(), "it ended before it was ready"
        yield run
    finally:
        up.send_signal(signal.SIGTERM)
        up.communicate(timeout=60)
        service.down(RunFolder(home))


def _free_ports(count: int) -> list[str]:
    doors = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [str(door.getsockname()[1]) for door in doors]
    for door in doors:
        door.close()
    return ports


def test_an_event_from_a_file_becomes_an_effect_once_however_often_it_is_submitted(
    ask: Ask, home: Path, tmp_path: Path
) -> None:
    """The first thing a user tries: no target of one's own is needed, and sending again is harmless."""
    issue = tmp_path / "issue.json"
    issue.write_text(json.dumps(ISSUE))
    schema = "urn:interlock:schema:issue:2"
    data_alone = (str(issue), "--type", "dev.interlock.issue", "--source", "urn:desk", "--schema", schema)
    payload = str(next((CHECKOUT / "config" / "demo" / "events").glob("*issue*.json")))

    first, again, webhook = (
        ask("submit", *arguments, "--wait") for arguments in (data_alone, data_alone, (payload,))
    )

    assert [_state(item) for item in (first, again, webhook)] == ["accepted", "duplicate", "accepted"]
    assert first["states"] == again["states"]
    assert {*_states(first).values(), *_states(webhook).values()} == {"completed"}
    status = ask("status")
    listens = status["listens"]
    assert isinstance(listens, dict)
    counts = httpx2.get(f"{listens['sink']}/v1/counts", trust_env=False).json()
    assert counts["applied"] >= len(_states(first) | _states(webhook)) == 2
    assert counts["repeated"] == 0
    _assert_metrics_tell_of_it(home)


def _assert_metrics_tell_of_it(home: Path) -> None:
    """Each process of ``up`` that measures is found by one pattern, and its page says what happened."""
    pages: dict[str, metrics_truth.Page] = {}
    for file in (home / "metrics" / "targets").glob("*.json"):
        (target,) = json.loads(file.read_text())
        page = httpx2.get(f"http://{target['targets'][0]}/metrics", trust_env=False).text
        pages[target["labels"]["service"]] = metrics_truth.parsed(page)
    assert set(pages) == {"api", "metrics", "orchestration", "agent_runs", "dispatch"}
    events = metrics_truth.values(pages["api"], metric_names.EVENTS, "state")
    assert events == {("accepted",): 2.0, ("duplicate",): 1.0}
    closed = metrics_truth.values(pages["metrics"], metric_names.ORCHESTRATIONS_CLOSED, "status")
    assert closed == {("completed",): 2.0}


def _state(submitted: dict[str, object]) -> str:
    events = submitted["events"]
    assert isinstance(events, list)
    return str(events[0]["state"])


def _states(submitted: dict[str, object]) -> dict[str, str]:
    states = submitted["states"]
    assert isinstance(states, dict)
    return states
