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
    "approvals",
    "seconds",
]


@pytest.fixture
def temporary(home: Path) -> Iterator[Path]:
    """The demo's run folder; PostgreSQL, which is never root, must get through."""
    home.chmod(0o755)
    yield home
    for process in _processes_of(home):  # only where the test failed
        process.kill()


def _demo(temporary: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "app", "demo", "--home", str(temporary), *arguments],
        cwd=CHECKOUT,
        env=_clean_environment(),
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
    demo = _demo(temporary, "--json")
    out, err = demo.communicate(timeout=180)

    assert demo.returncode == 0, err
    shown = json.loads(out)
    assert list(shown) == KEYS
    assert (shown["events"], shown["duplicates"], shown["unrouted"]) == (12, 12, 1)
    assert shown["orchestrations"] == {"completed": 11}
    assert shown["decisions"] == 11
    assert shown["sink"]["applied"] == shown["actions"]["confirmed"] > 0
    assert shown["sink"]["repeated"] == 0
    (consent,) = shown["approvals"]
    assert (consent["name"], consent["tool"], consent["actor"]) == (
        "hold",
        "repository.hold_dependency",
        "demo-approver",
    )
    assert sorted(shown["releases"]) == ["ci-failure", "issue-triage", "security-alert"]
    assert _processes_of(temporary) == []
    _assert_it_verifies_and_rebuilds_to_identical_rows(temporary)


def _assert_it_verifies_and_rebuilds_to_identical_rows(home: Path) -> None:
    """What the workers wrote is what the journals say: every decision again, and every row of the read models.

    Two at a time: a command that starts the folder's server for itself keeps it from no other.
    """
    begin = f"INTERLOCK_HOME={home} {sys.executable} -m app"
    verifying = _pasted(f"{begin} runs verify --all --json")
    rebuilding = _pasted(f"{begin} projections rebuild --dry-run --json")
    verified, rebuilt = json.loads(_ended(verifying)), json.loads(_ended(rebuilding))
    assert (verified["verified"], verified["matches"], verified["differences"]) == (11, 11, [])
    assert rebuilt["identical"] is True
    assert rebuilt["orchestrations"] == 11


def test_the_commands_that_the_demo_prints_work_as_they_are(temporary: Path) -> None:
    """A user pastes them after the demo: they find its data although nothing runs, and leave nothing running."""
    demo = _demo(temporary)
    out, err = demo.communicate(timeout=180)

    assert demo.returncode == 0, err
    assert "Agents disagreed in" in out
    printed = [line.strip() for line in out.splitlines() if " -m app " in line]
    ended = {line.partition(" -m app ")[2]: _ended(_pasted(line)) for line in printed}
    (explained,) = (said for command, said in ended.items() if command.startswith("runs explain orc_"))
    for answer in ("What happened", "Why", "Which version decided", "How to replay it safely"):
        assert answer in explained
    assert "11 of 11 match." in ended["runs verify --all"]
    assert _processes_of(temporary) == []


def _pasted(line: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["/bin/sh", "-c", line],
        cwd=CHECKOUT,
        env=_clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _ended(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    return out


def test_a_folder_that_holds_something_else_is_never_emptied(temporary: Path) -> None:
    """The demo empties its folder: a user's own must not be taken for one."""
    (temporary / "letters").write_text("dear")
    demo = _demo(temporary, "--json")
    out, err = demo.communicate(timeout=60)

    assert (demo.returncode, out) == (1, "")
    assert json.loads(err)["error"]["code"] == "not_a_demo_folder"
    assert (temporary / "letters").read_text() == "dear"


def test_ctrl_c_in_the_middle_leaves_no_process_and_a_second_demo_waits_its_turn(temporary: Path) -> None:
    """Whenever it is interrupted, what was started has ended when the demo has."""
    demo = _demo(temporary)
    assert_eventually((temporary / "logs" / "agent_runs.log").exists, within=120, what="the workers start")
    second = _demo(temporary, "--json")
    _, err = second.communicate(timeout=60)
    assert json.loads(err)["error"]["code"] == "already_running"

    demo.send_signal(signal.SIGINT)
    demo.communicate(timeout=60)

    assert demo.returncode == 130
    assert _processes_of(temporary) == []


def test_a_folder_without_payloads_is_refused_before_anything_starts(temporary: Path) -> None:
    """What failed and what to do; no stack trace."""
    demo = _demo(temporary, "--events", str(temporary), "--json")
    out, err = demo.communicate(timeout=60)

    assert (demo.returncode, out) == (1, "")
    error = json.loads(err)["error"]
    assert error["code"] == "unreadable_payload"
    assert "payload" in error["remedy"]
