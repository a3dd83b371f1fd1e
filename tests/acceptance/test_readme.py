"""Promise: what the README says works. Its workflow is written as it stands there, and its commands are run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _blocks(kind: str) -> list[str]:
    readme = (ROOT / "README.md").read_text()
    return [body for language, body in BLOCK.findall(readme) if language == kind]


def test_the_workflow_of_the_readme_is_published_by_the_commands_of_the_readme(
    tmp_path: Path, fresh_database: str
) -> None:
    """Promise: a workflow in five minutes."""
    documents = tmp_path / "my-documents"
    for body in [*_blocks("yaml"), *_blocks("text")]:
        title, _, content = body.partition("\n")
        file = documents / title.removeprefix("# ")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    environment = {
        **os.environ,
        "INTERLOCK_DATABASE_URL": fresh_database,
        "INTERLOCK_HOME": str(tmp_path / "home"),
        "PYTHONPATH": str(ROOT),
    }
    commands = [line for body in _blocks("sh") for line in body.splitlines()]
    assert len(commands) == 3
    outputs = []
    for command in commands:
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
