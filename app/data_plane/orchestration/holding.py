"""Holding on to what is known while the store is away: an answer was paid for, a receipt cannot be had again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TypeVar

from app.kernel.errors import TransientError

_log = logging.getLogger(__name__)

T = TypeVar("T")

HOLD_SECONDS = 60.0
"""How long a process tries to record what it knows; fences decide whether it still counts."""

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0


async def hold(record: Callable[[], T], *, seconds: float = HOLD_SECONDS) -> T:
    """Call ``record`` off the event loop until it does not fail for a passing reason.

    It must be safe to repeat: when the connection broke while it committed, its first call may have counted.

    Raises TransientError when it still fails after so many seconds.
    """
    loop = asyncio.get_running_loop()
    end, pause = loop.time() + seconds, FIRST_PAUSE_SECONDS
    while True:
        try:
            return await asyncio.to_thread(record)
        except TransientError as error:
            if loop.time() + pause > end:
                raise
            _log.warning("what is known is held on to: %s", error.what)
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
