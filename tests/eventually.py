"""Waiting in tests: for a condition, with a deadline, never for a length of time."""

from __future__ import annotations

import time
from collections.abc import Callable


def assert_eventually(
    holds: Callable[[], bool], *, within: float = 30.0, what: str = "the condition"
) -> None:
    """Fail unless ``holds`` becomes true within so many seconds."""
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not hold within {within:g} s"
        time.sleep(0.02)
