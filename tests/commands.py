"""The command line as a test speaks to it: in this process, over a database and a run folder of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.cli import main as command_line
from config import settings

Json = dict[str, object]
Say = Callable[..., tuple[int, str]]
"""Runs a command; gives its exit code and what it printed (the error, if it failed)."""
Ask = Callable[..., tuple[int, Json]]
"""The same with ``--json``."""


def saying(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    database_url: str,
    home: Path,
    *,
    columns: int = 100,
) -> Iterator[Say]:
    """The command line over that database, for as long as the test lasts."""
    monkeypatch.setenv("INTERLOCK_DATABASE_URL", database_url)
    monkeypatch.setenv("INTERLOCK_HOME", str(home))
    monkeypatch.setenv("COLUMNS", str(columns))
    settings.load.cache_clear()

    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            command_line.main(list(arguments))
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out.strip() or said.err.strip()

    yield run
    settings.load.cache_clear()


def asking(say: Say) -> Ask:
    """The same with ``--json``."""

    def run(*arguments: str) -> tuple[int, Json]:
        code, text = say(*arguments, "--json")
        return code, json.loads(text.splitlines()[-1])

    return run
