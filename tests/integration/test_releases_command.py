"""``python -m app releases`` from a shell: publish, look, move traffic, and errors that say what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def releases(fresh_database: str, home: Path) -> Releases:
    return Releases(fresh_database, home)


class Releases:
    """The command against a database of the test's own."""

    def __init__(self, database_url: str, home: Path) -> None:
        self._environment = {
            **os.environ,
            "INTERLOCK_DATABASE_URL": database_url,
            "INTERLOCK_HOME": str(home),
        }

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "app", "releases", *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=self._environment, capture_output=True, text=True, check=False
        )

    def json(self, *arguments: str) -> dict[str, object]:
        done = self(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        answer: dict[str, object] = json.loads(done.stdout)
        return answer


def test_an_empty_catalogue_is_filled_once_and_its_releases_take_the_traffic(releases: Releases) -> None:
    """What ``up`` does at every start; a second start must not move traffic that someone has moved since."""
    first = releases.json("publish", "--if-empty")
    assert first["routed"] == ["ci-failure", "issue-triage", "security-alert"]
    assert releases.json("publish", "--if-empty")["skipped"] is True
    listed = releases.json("list")["releases"]
    assert isinstance(listed, list)
    routed = {row["workflow"]: row["channels"] for row in listed}
    assert routed == {"ci-failure": ["stable"], "issue-triage": ["stable"], "security-alert": ["stable"]}


def test_a_dry_run_changes_nothing(releases: Releases) -> None:
    assert releases.json("publish", "--dry-run")["new_releases"]
    assert releases.json("list")["releases"] == []


def test_publishing_moves_no_traffic_and_moving_it_wants_a_reason(releases: Releases) -> None:
    assert releases.json("publish", "--actor", "alice")["routed"] == []
    refused = releases("publish", "--route")
    assert (refused.returncode, "--reason" in refused.stderr) == (1, True)
    moved = releases.json("publish", "--route", "--actor", "alice", "--reason", "first traffic")
    assert moved["routed"] == ["ci-failure", "issue-triage", "security-alert"]
    shown = releases.json("show", "ci-failure")["routings"]
    assert isinstance(shown, list)
    assert (shown[0]["changed_by"], shown[0]["reason"]) == ("alice", "first traffic")


def test_a_broken_folder_is_told_without_a_stack_trace(releases: Releases, tmp_path: Path) -> None:
    version = tmp_path / "tenants/demo/1"
    version.mkdir(parents=True)
    (version / "tenant.yaml").write_text("name: demo\nversion: 1\ncolour: blue\n")
    refused = releases("publish", "--folder", str(tmp_path))
    assert refused.returncode == 1
    assert "colour" in refused.stderr
    assert "Traceback" not in refused.stderr
    told = json.loads(releases("publish", "--folder", str(tmp_path), "--json").stderr)
    assert told["error"]["code"] == "invalid_document"
