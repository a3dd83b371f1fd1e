"""The command line's one boundary: what failed, why, what to do; never a stack trace."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pytest
import typer

from app.cli import main as command_line
from app.kernel.errors import NotFoundError
from config import settings


def lost(json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """A command that fails with an error that Interlock foresaw."""
    raise NotFoundError("Nothing goes by [that] name.", "Look in `runs list`.")


def broken() -> None:
    """A command with a defect."""
    raise ZeroDivisionError("hunter2")


@pytest.fixture(autouse=True)
def commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The two commands above beside the real ones, in a run folder of the test's own."""
    for name in ("lost", "broken"):
        monkeypatch.setitem(command_line.COMMANDS, name, f"{__name__}:{name}")
    monkeypatch.setenv("INTERLOCK_HOME", str(tmp_path))
    settings.load.cache_clear()
    yield
    settings.load.cache_clear()


def _run(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as ended:
        command_line.main(arguments)
    return ended.value.code


def test_a_foreseen_error_is_told_in_words_and_exits_with_one(capsys: pytest.CaptureFixture[str]) -> None:
    """What failed and what to do, with its own brackets unharmed."""
    assert _run("lost") == 1

    said = capsys.readouterr()
    assert said.err == "Failed: Nothing goes by [that] name.\nWhat to do: Look in `runs list`.\n"
    assert said.out == ""


def test_with_json_the_error_is_one_object_with_its_stable_code(capsys: pytest.CaptureFixture[str]) -> None:
    """Scripts read the code."""
    assert _run("lost", "--json") == 1

    error = json.loads(capsys.readouterr().err)["error"]
    assert (error["code"], error["fate"]) == ("not_found", "permanent")


def test_a_defect_is_told_without_a_trace_and_its_trace_is_kept(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The terminal gets words, whoever repairs it gets the trace."""
    assert _run("broken") == 1

    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "hunter2" not in said
    assert "ZeroDivisionError: hunter2" in (tmp_path / "logs" / "cli.log").read_text()


def test_what_was_not_understood_exits_with_two(capsys: pytest.CaptureFixture[str]) -> None:
    """As the shell's own commands do."""
    assert _run("no-such-command") == 2
    assert "no-such-command" in capsys.readouterr().err


def test_settings_that_cannot_work_end_every_command_alike(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The variable is named."""
    monkeypatch.setenv("INTERLOCK_BATCH_SIZE", "many")

    assert _run("status", "--json") == 1
    assert "INTERLOCK_BATCH_SIZE" in json.loads(capsys.readouterr().err)["error"]["what"]


def test_one_command_does_not_pay_for_the_others_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    """`down` must not import the API's or the database's libraries."""
    monkeypatch.setitem(command_line.COMMANDS, "costly", "no.such.module:costly")

    command_line.build(["down"])

    assert "no.such.module" not in sys.modules
