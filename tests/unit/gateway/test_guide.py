"""Promise: what docs/gateway.md shows works as it stands there."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.control_plane.policies import check_policy
from tests.documented import blocks
from tests.unit.gateway.calls import policy

PAGE = "docs/gateway.md"


def test_the_example_of_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cedar,) = blocks(PAGE, "cedar")
    (tmp_path / "mail.cedar").write_text(cedar)
    monkeypatch.chdir(tmp_path)
    seen: dict[str, object] = {}
    exec("\n".join(blocks(PAGE, "python")), seen)
    tools = seen["tools"]
    assert isinstance(tools, dict)
    assert not check_policy(policy(cedar), tools)
