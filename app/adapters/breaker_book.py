"""What a process knows of operators' orders, and what it has still to write of its breakers' changes.

One thread of its own talks to the database, so that no question to a model waits for it: orders are read at most once
a second and only while questions are asked, changes are written when they are made. While the database is away the
process goes on with the orders it knows, and keeps its changes for later (the newest ``MOST_PENDING``).
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future

from app.adapters.outage import Outage
from app.data_plane.breakers import BreakerChange, BreakerName, BreakerOrder, BreakerRecord, Ordered
from app.kernel.errors import DefectError, TransientError

_log = logging.getLogger(__name__)

FRESH_SECONDS = 1.0
"""Orders that were read so long ago are read again, while questions go on with what is known."""

STALE_SECONDS = 2.0
"""Orders that were read so long ago are waited for: the process has asked nothing for a while, or never."""

PATIENCE_SECONDS = 0.5
"""How long they are waited for; once, as the database counts as away then."""

PAUSE_SECONDS = 1.0
MOST_PENDING = 1_000
STOP_SECONDS = 5.0


class BreakerBook:
    """Orders in, changes out. Made without a thread; the first use starts it."""

    def __init__(self, record: BreakerRecord) -> None:
        self._record = record
        self._orders: Mapping[BreakerName, BreakerOrder] = {}
        self._read_at: float | None = None
        self._pending: list[BreakerChange] = []
        self._outage = Outage(
            "The database, asked for what operators ordered of circuit breakers,",
            "what was known before holds, and changes are written later",
            pause_seconds=PAUSE_SECONDS,
        )
        self._lock = threading.Lock()
        self._wanted = threading.Event()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._next = _unread()

    async def standing(self, name: BreakerName) -> Ordered:
        """What is ordered of a breaker now, as far as is known; ``released`` when nothing is."""
        if self._age() >= FRESH_SECONDS and not self._outage.pauses:
            read = self._want()
            if self._age() >= STALE_SECONDS and not self._outage.lasts:
                await self._wait_for(read)
        order = self._orders.get(name)
        return order.state if order is not None else "released"

    def changed(self, change: BreakerChange) -> None:
        """Have a change written, soon."""
        with self._lock:
            self._keep([*self._pending, change])
        self._want()

    def stop(self) -> None:
        """Write what is pending, if the database answers, and end the thread."""
        self._ended.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)

    def _age(self) -> float:
        return float("inf") if self._read_at is None else time.monotonic() - self._read_at

    async def _wait_for(self, read: Future[None]) -> None:
        try:
            await asyncio.wait_for(asyncio.wrap_future(read), PATIENCE_SECONDS)
        except TimeoutError as error:
            self._outage.failed(error)

    def _want(self) -> Future[None]:
        """Have the thread look at the database; done when it has."""
        with self._lock:
            if self._thread is None and not self._ended.is_set():
                self._thread = threading.Thread(target=self._work, name="breaker-book", daemon=True)
                self._thread.start()
            self._wanted.set()
            return self._next

    def _work(self) -> None:
        while not self._ended.is_set():
            self._wanted.wait(PAUSE_SECONDS if self._pending else None)
            self._wanted.clear()
            with self._lock:
                done, self._next = self._next, _unread()
            self._exchange()
            done.set_result(None)
            if self._outage.lasts:
                self._ended.wait(PAUSE_SECONDS)
        if self._pending:
            self._exchange()
        with self._lock:
            self._next.set_result(None)

    def _exchange(self) -> None:
        began = time.monotonic()
        try:
            self._orders = self._record.orders()
            self._read_at = began
            self._write()
        except (TransientError, DefectError) as error:
            self._outage.failed(error)
        else:
            self._outage.answered()

    def _write(self) -> None:
        with self._lock:
            changes, self._pending = self._pending, []
        if not changes:
            return
        try:
            self._record.write(changes)
        except TransientError:
            with self._lock:
                self._keep([*changes, *self._pending])
            raise
        except DefectError as error:
            # It would be refused again, and keep what comes after it from being written.
            _log.warning("%d changes of circuit breakers cannot be recorded: %s", len(changes), error.what)

    def _keep(self, changes: list[BreakerChange]) -> None:
        self._pending = changes[-MOST_PENDING:]


def _unread() -> Future[None]:
    """Many wait for one; as it counts as running, none of them cancels it for the others."""
    future: Future[None] = Future()
    future.set_running_or_notify_cancel()
    return future
