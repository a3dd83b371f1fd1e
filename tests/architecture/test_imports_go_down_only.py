"""The import contracts of pyproject.toml hold, and would notice when they did not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
SOURCES = ("app", "tasks", "config", "client")


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter over the packages in ``folder``."""
    program = Path(sys.executable).parent / "lint-imports"
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{folder / 'client'}"}
    return subprocess.run(
        [str(program), "--no-cache"], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_the_import_contracts_hold() -> None:
    """Each contract is a sentence in pyproject.toml."""
    ended = _lint(CHECKOUT)

    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("app/data_plane/ports.py", "import app.control_plane"),
        ("app/kernel/clock.py", "import celery"),
        ("app/supervisor/run_folder.py", "import config.settings"),
        ("client/interlock/identity.py", "import app.kernel.clock"),
    ],
)
def test_an_import_that_goes_up_or_across_is_found(tmp_path: Path, module: str, line: str) -> None:
    """Each contract is broken once, in a copy."""
    for name in SOURCES:
        shutil.copytree(CHECKOUT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    broken = tmp_path / module
    broken.write_text(broken.read_text() + f"\n{line}\n")

    ended = _lint(tmp_path)

    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "BROKEN" in ended.stdout
