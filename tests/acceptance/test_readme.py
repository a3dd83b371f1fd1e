"""Promise: what the README says works. Its workflow is written as it stands there, and its commands are run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.documented import ROOT, commands, write_documents


def test_the_workflow_of_the_readme_is_published_by_the_commands_of_the_readme(
    tmp_path: Path, fresh_database: str
) -> None:
    """Promise: a workflow in five minutes."""
    documents = tmp_path / "my-documents"
    write_documents("README.md", documents)
    environment = {
        **os.environ,
        "INTERLOCK_DATABASE_URL": fresh_database,
        "INTERLOCK_HOME": str(tmp_path / "home"),
        "PYTHONPATH": str(ROOT),
    }
    lines = commands("README.md")
    assert len(lines) == 3
    outputs = []
    for command in lines:
        words = shlex.split(command)
        assert words[0] == "python"
        done = subprocess.run(
            [sys.executable, *words[1:]],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        outputs.append(done.stdout)
    assert "greet-newcomer" in outputs[-1]


def test_every_path_that_the_readme_links_to_exists() -> None:
    """Promise: where to find things."""
    readme = (ROOT / "README.md").read_text()
    for path in re.findall(r"\]\(([^)]+)\)", readme):
        assert (ROOT / path).exists(), path
