"""A server that is away: calls are spared waiting for it, it is tried again now and then, and it is said seldom."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

_log = logging.getLogger(__name__)

WARN_AGAIN_SECONDS = 60.0


class Outage:
    """Whether a server is believed to be away.

    Args:
        what: the server and what it is needed for, as in "Redis, for circuit breakers,".
        meanwhile: what holds while it is away.
        pause_seconds: after a failure nobody tries for so long; then one does, and the others go on without.
        clock: monotonic seconds.
    """

    def __init__(
        self, what: str, meanwhile: str, *, pause_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._what = what
        self._meanwhile = meanwhile
        self._pause = pause_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._until: float | None = None
        self._warned_at: float | None = None

    @property
    def lasts(self) -> bool:
        """It failed, and has not answered since."""
        return self._until is not None

    @property
    def pauses(self) -> bool:
        """It failed a moment ago: not even one should try."""
        until = self._until
        return until is not None and self._clock() < until

    def may_try(self) -> bool:
        """Whether the caller may ask the server; of those that come after a pause, the first alone."""
        if self._until is None:
            return True
        with self._lock:
            if self._until is None:
                return True
            if self._clock() < self._until:
                return False
            self._until = self._clock() + self._pause
            return True

    def failed(self, error: Exception) -> None:
        """The server did not answer."""
        with self._lock:
            now = self._clock()
            self._until = now + self._pause
            if self._warned_at is not None and now < self._warned_at + WARN_AGAIN_SECONDS:
                return
            self._warned_at = now
        _log.warning("%s does not answer (%s): %s", self._what, type(error).__name__, self._meanwhile)

    def answered(self) -> None:
        """The server is there."""
        if self._until is None:
            return
        with self._lock:
            self._until = None
        _log.info("%s answers again", self._what)
