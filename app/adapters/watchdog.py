"""The watchdog: a process that stays stuck ends itself, and whoever runs it starts it again.

Threads cannot be ended from outside, and on pools of threads Celery's time limits do nothing. So a message that is
worked on for longer than the leases it holds, with a margin, ends its process: the leases are over anyway, and nothing
it would write still counts. A process that does not even run Python any more (an extension that keeps the interpreter
to itself) is ended by ``faulthandler``, whose thread needs none.
Source: docs.python.org/3/library/faulthandler.html#faulthandler.dump_traceback_later.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_log = logging.getLogger(__name__)

MARGIN_SECONDS = 75.0
"""How long after the end of its last lease a message counts as stuck: it may hold on to what it knows for 60 s."""

FIRST_LIMIT_SECONDS = 30.0
"""How long a message may take before its first claim."""

SILENT_SECONDS = 60.0
"""How long the interpreter may be kept from running this thread."""

TICK_SECONDS = 1.0
EX_SOFTWARE = 70
"""The exit status of a process that found itself stuck (sysexits.h)."""


def end_process() -> None:
    """End this process at once: whatever is stuck would keep an orderly end from coming."""
    logging.shutdown()
    os._exit(EX_SOFTWARE)


class Watchdog:
    """Watches the messages that are worked on in this process.

    Args:
        give_up: what is done about a message that is stuck.
        margin_seconds: how long after the end of its last lease that is.
    """

    def __init__(
        self, give_up: Callable[[], None] = end_process, *, margin_seconds: float = MARGIN_SECONDS
    ) -> None:
        self._give_up = give_up
        self._margin = margin_seconds
        self._limits: dict[str, float] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    @contextmanager
    def watching(self, holder: str, seconds: float = FIRST_LIMIT_SECONDS) -> Iterator[None]:
        """Watch the message of ``holder`` for as long as the block lasts."""
        with self._lock:
            self._limits[holder] = time.monotonic() + seconds + self._margin
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                del self._limits[holder]

    def leased(self, holder: str, seconds: float) -> None:
        """The holder has leased steps for so long: it may go on until then."""
        with self._lock:
            if holder in self._limits:
                self._limits[holder] = max(self._limits[holder], time.monotonic() + seconds + self._margin)

    def stuck(self) -> list[str]:
        """The holders whose messages have taken too long."""
        now = time.monotonic()
        with self._lock:
            return sorted(holder for holder, limit in self._limits.items() if limit < now)

    def stop(self) -> None:
        """Watch no more."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
            faulthandler.cancel_dump_traceback_later()

    def _watch(self) -> None:
        while not self._ended.wait(TICK_SECONDS):
            faulthandler.dump_traceback_later(SILENT_SECONDS, exit=True)
            if stuck := self.stuck():
                _log.critical("stuck far beyond its leases, and so this process ends: %s", ", ".join(stuck))
                self._give_up()
                return
