"""Promise: what docs/models.md shows can be published as it stands there."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from app.cli import main as command_line
from app.control_plane.compile import compile_release
from app.control_plane.documents import read_documents
from app.data_plane.tools import shipped_tools
from config import settings
from tests.documented import commands, write_documents

PAGE = "docs/models.md"


def test_the_documents_of_the_guide_are_published_by_its_command(
    tmp_path: Path,
    fresh_database: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Two providers, a hedge, budgets at every level and a rule for a fallback."""
    write_documents(PAGE, tmp_path / "my-documents")
    monkeypatch.setenv("INTERLOCK_DATABASE_URL", fresh_database)
    settings.load.cache_clear()
    monkeypatch.chdir(tmp_path)
    (command,) = commands(PAGE)
    with pytest.raises(SystemExit) as ended:
        command_line.main(shlex.split(command)[3:])
    said = capsys.readouterr()
    assert not ended.value.code, said.err
    assert "urgency" in said.out


def test_its_prices_stand_in_the_release(tmp_path: Path) -> None:
    """One from its document, one from the price table of the installed version."""
    write_documents(PAGE, tmp_path)
    release = compile_release(read_documents(tmp_path), "urgency", 1, shipped_tools())
    assert (release.prices["main"].input_per_million, release.prices["main"].output_per_million) == (
        250_000,
        2_000_000,
    )
    assert release.prices["other"].source.startswith("genai-prices/")
