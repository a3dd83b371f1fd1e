"""Circuit breakers for models: one for each (provider, model), shared by all processes through Redis.

A question costs one round trip to be admitted and one to be told of, off the event loop; the call in between is
nobody's but the caller's. How far a breaker may overshoot: it opens with the failure that makes ``failures`` in a row;
what was admitted before and is under way then still comes to its end. With ``n`` questions in flight over the whole
fleet a failing provider hears of at most ``failures - 1 + n`` before it is left alone. A fleet's breaker cannot do
better without holding questions back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias, TypeVar

import redis

from app.adapters.breaker_book import BreakerBook
from app.adapters.outage import Outage
from app.adapters.redis.breaker_states import BreakerStates
from app.data_plane.breakers import BreakerChange, BreakerName
from app.data_plane.models import Admission, Told
from app.kernel.release import BreakerPolicy, RemoteProvider
from app.telemetry import metrics

SOCKET_SECONDS = 0.25
"""How long a question may wait for Redis, once; the client of these breakers should have no other time-out."""

PAUSE_SECONDS = 2.0
"""How long Redis is left alone after it did not answer; breakers are closed meanwhile."""

THREADS = 4
"""Each is busy for one round trip at a time; together they do thousands a second."""

_UNCOUNTED = Admission(True, token="uncounted")  # noqa: S106 - no secret
"""It was not the breaker that admitted it, so nothing that comes of it counts."""

T = TypeVar("T")
Bookkeeping: TypeAlias = Callable[[], tuple[T, BreakerChange | None]]


class RedisBreakers:
    """``Breakers`` over Redis, obeying what operators order.

    Args:
        client: of these breakers alone, with a short time-out (``SOCKET_SECONDS``) and room for ``THREADS``.
        book: operators' orders, and where changes go.
    """

    def __init__(self, client: redis.Redis, book: BreakerBook) -> None:
        self._client = client
        self._states = BreakerStates(client)
        self._book = book
        self._outage = Outage(
            "Redis, asked for circuit breakers,",
            "breakers are closed until it does, and count nothing",
            pause_seconds=PAUSE_SECONDS,
        )
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="breakers")
        self._closed = False

    async def admit(self, provider: RemoteProvider) -> Admission:
        """See ``Breakers.admit``."""
        name, policy = _of(provider)
        ordered = await self._book.standing(name)
        if ordered == "forced_open":
            metrics.breaker_refused(name.provider, name.model, ordered)
            return Admission(False, reason=ordered)
        admission = await self._off_the_loop(lambda: self._states.admit(name, policy), _UNCOUNTED)
        if admission.admitted:
            return admission
        if ordered == "forced_closed":
            # The breaker goes on by itself underneath, its probes too: released, it stands where it really is.
            return _UNCOUNTED
        metrics.breaker_refused(name.provider, name.model, admission.reason)
        return admission

    async def tell(self, provider: RemoteProvider, admission: Admission, told: Told) -> None:
        """See ``Breakers.tell``."""
        counts = told != "neither" or admission.probe
        if not admission.admitted or admission == _UNCOUNTED or not counts:
            return
        name, policy = _of(provider)
        await self._off_the_loop(lambda: (None, self._states.tell(name, policy, admission, told)), None)

    def close(self) -> None:
        """End the threads, write what is to be written of changes, and close the client; breakers are closed then."""
        self._closed = True
        self._threads.shutdown(wait=True)
        self._book.stop()
        self._client.close()

    async def _off_the_loop(self, bookkeeping: Bookkeeping[T], otherwise: T) -> T:
        """Run it on a thread; ``otherwise`` while Redis is away, without waiting for it."""
        if self._closed or self._outage.pauses:
            return otherwise
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, self._try, bookkeeping, otherwise
        )

    def _try(self, bookkeeping: Bookkeeping[T], otherwise: T) -> T:
        # Asked again: those that queued behind the first time-outs must not wait for one each.
        if not self._outage.may_try():
            return otherwise
        try:
            found, change = bookkeeping()
        except (redis.RedisError, ValueError) as error:
            self._outage.failed(error)
            return otherwise
        self._outage.answered()
        # Here, and not where it is awaited: a call that is cancelled meanwhile has moved the breaker all the same.
        if change is not None:
            self._book.changed(change)
        return found


def _of(provider: RemoteProvider) -> tuple[BreakerName, BreakerPolicy]:
    return BreakerName(provider.name, provider.model), provider.breaker or BreakerPolicy()
