"""``python -m app demo`` as a user runs it: its own process, its own servers, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from app.supervisor.embedded import EmbeddedServers
from tests.eventually import assert_eventually

CHECKOUT = Path(__file__).resolve().parents[2]
KEYS = [
    "events",
    "duplicates",
    "unrouted",
    "orchestrations",
    "decisions",
    "actions",
    "sink",
    "releases",
    "seconds",
]


@pytest.fixture
def temporary(home: Path) -> Iterator[Path]:
    """Where the demo makes its run folder; PostgreSQL, which is never root, must get through."""
    home.chmod(0o755)
    yield home
    for process in _processes_of(home):  # only where the test failed
        process.kill()


def _demo(temporary: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "app", "demo", *arguments],
        cwd=CHECKOUT,
        env={**_clean_environment(), "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("INTERLOCK_")}


def _processes_of(folder: Path) -> list[psutil.Process]:
    """Every process that has to do with the folder: by its command line or its environment."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), process.environ().get("INTERLOCK_HOME", "")]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if process.pid != os.getpid() and any(str(folder) in word for word in words):
            found.append(process)
    return found


def test_the_demo_carries_every_event_to_its_end_and_prints_one_json_object(temporary: Path) -> None:
    """The main job: every event twice, every orchestration once, every effect applied once."""
    demo = _demo(temporary, "--json", "--keep")
    out, err = demo.communicate(timeout=180)

    assert demo.returncode == 0, err
    shown = json.loads(out)
    assert list(shown) == KEYS
    assert (shown["events"], shown["duplicates"], shown["unrouted"]) == (12, 12, 1)
    assert shown["orchestrations"] == {"completed": 11}
    assert shown["decisions"] == 11
    assert shown["sink"]["applied"] == shown["actions"]["confirmed"] > 0
    assert shown["sink"]["repeated"] == 0
    assert sorted(shown["releases"]) == ["ci-failure", "issue-triage", "security-alert"]
    assert _processes_of(temporary) == []
    (kept,) = temporary.iterdir()
    _assert_it_verifies_and_rebuilds_to_identical_rows(kept)


def _assert_it_verifies_and_rebuilds_to_identical_rows(kept: Path) -> None:
    """What the workers wrote is what the journals say: every decision again, and every row of the read models."""
    with EmbeddedServers(kept, durable=False):
        verified = _asked(kept, "runs", "verify", "--all", "--json")
        rebuilt = _asked(kept, "projections", "rebuild", "--dry-run", "--json")
    assert (verified["verified"], verified["matches"], verified["differences"]) == (11, 11, [])
    assert rebuilt["identical"] is True
    assert rebuilt["orchestrations"] == 11


def _asked(kept: Path, *arguments: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        cwd=CHECKOUT,
        env={**_clean_environment(), "INTERLOCK_HOME": str(kept)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def test_ctrl_c_in_the_middle_leaves_nothing_behind(temporary: Path) -> None:
    """Whenever it is interrupted, what was started has ended when the demo has."""
    demo = _demo(temporary)

    def workers_run() -> bool:
        return any("interlock-demo-" in str(log) for log in temporary.glob("*/logs/agent_runs.log"))

    assert_eventually(workers_run, within=120, what="the demo starts its workers")
    demo.send_signal(signal.SIGINT)
    demo.communicate(timeout=60)

    assert demo.returncode == 130
    assert _processes_of(temporary) == []
    assert list(temporary.iterdir()) == []


def test_a_folder_without_payloads_is_refused_before_anything_starts(temporary: Path) -> None:
    """What failed and what to do; no stack trace."""
    demo = _demo(temporary, "--events", str(temporary), "--json")
    out, err = demo.communicate(timeout=60)

    assert (demo.returncode, out) == (1, "")
    error = json.loads(err)["error"]
    assert error["code"] == "unreadable_payload"
    assert "payload" in error["remedy"]
