"""Promise: what docs/tools.md shows works as it stands there, in processes that know its tools."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from config.settings import CHECKOUT
from tests.documented import blocks, commands, write_documents

PAGE = "docs/tools.md"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A team's folder, with its module of tools and its documents."""
    write_documents(PAGE, tmp_path / "my-documents")
    (tmp_path / "support_tools.py").write_text(blocks(PAGE, "python")[0])
    return tmp_path


def run(folder: Path, command: list[str], **environment: str) -> str:
    """What a command prints in the team's folder; it has to succeed."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("INTERLOCK_")}
    path = f"{folder}:{CHECKOUT}"
    done = subprocess.run(
        command,
        cwd=folder,
        env={**known, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_policy_of_the_guide_answers_an_attacker_as_it_says(folder: Path) -> None:
    tried = blocks(PAGE, "python")[1]
    assert tried.count("assert ") == 5
    run(folder, [sys.executable, "-c", tried])


def test_the_documents_of_the_guide_are_published_by_its_commands(folder: Path, fresh_database: str) -> None:
    script = "\n".join(commands(PAGE)).replace("python -m", f"{sys.executable} -m")
    assert "support" in run(folder, ["sh", "-ec", script], INTERLOCK_DATABASE_URL=fresh_database)


def test_without_the_modules_setting_nobody_knows_the_tools(folder: Path, fresh_database: str) -> None:
    """So that the setting is what does it."""
    script = commands(PAGE)[1].replace("python -m", f"{sys.executable} -m")
    with pytest.raises(AssertionError, match=r"there is no tool 'tickets.read'"):
        run(folder, ["sh", "-ec", script], INTERLOCK_DATABASE_URL=fresh_database)
