"""A process that stays stuck in a message ends, and one that is merely slow does not."""

from __future__ import annotations

import subprocess
import sys
import threading

from app.adapters.watchdog import EX_SOFTWARE, Watchdog
from config.settings import CHECKOUT
from tests.eventually import assert_eventually

STUCK = """
import threading
from app.adapters.watchdog import Watchdog

with Watchdog(margin_seconds=0.0).watching("stuck", seconds=0.1):
    threading.Event().wait(60)
"""


def test_a_message_beyond_its_limit_is_stuck_and_one_that_leased_longer_is_not() -> None:
    """A claim extends the limit to the end of its lease."""
    watchdog = Watchdog(lambda: None, margin_seconds=0.0)
    with watchdog.watching("slow", seconds=0.0), watchdog.watching("stuck", seconds=0.0):
        watchdog.leased("slow", 60.0)
        watchdog.leased("over already", 60.0)
        assert_eventually(lambda: watchdog.stuck() == ["stuck"], within=5)
    assert watchdog.stuck() == []
    watchdog.stop()


def test_somebody_is_told_of_a_stuck_message_once() -> None:
    """Whoever runs the process decides what that means; a worker ends itself."""
    told = threading.Event()
    watchdog = Watchdog(told.set, margin_seconds=0.0)
    with watchdog.watching("stuck", seconds=0.0):
        assert told.wait(10)
    watchdog.stop()


def test_a_stuck_process_ends_with_a_status_of_its_own() -> None:
    """The supervisor starts it again; its leases are over."""
    ended = subprocess.run(
        [sys.executable, "-c", STUCK], cwd=CHECKOUT, timeout=30, capture_output=True, text=True
    )
    assert ended.returncode == EX_SOFTWARE
    assert "stuck far beyond its leases" in ended.stderr
