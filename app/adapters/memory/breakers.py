"""Circuit breakers in memory: for tests of what asks through them, and as the other side of their contract."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from app.data_plane.breakers import BreakerState, Ordered
from app.data_plane.models import Admission, Told
from app.kernel.release import BreakerPolicy, RemoteProvider


@dataclass
class _Breaker:
    state: BreakerState = "closed"
    turn: int = 0
    failures: int = 0
    opened_at: float = 0.0
    probe: str = ""
    probe_ends: float = 0.0

    def move(self, state: BreakerState) -> None:
        self.state = state
        self.turn += 1


class MemoryBreakers:
    """``Breakers`` of one process.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._breakers: dict[tuple[str, str], _Breaker] = {}
        self.ordered: dict[tuple[str, str], Ordered] = {}
        """By provider and model."""

    async def admit(self, provider: RemoteProvider) -> Admission:
        """See ``Breakers.admit``."""
        ordered = self.ordered.get((provider.name, provider.model))
        if ordered == "forced_open":
            return Admission(False, reason=ordered)
        admission = self._admit(self._of(provider), (provider.breaker or BreakerPolicy()).open_seconds)
        return Admission(True) if ordered == "forced_closed" and not admission.admitted else admission

    async def tell(self, provider: RemoteProvider, admission: Admission, told: Told) -> None:
        """See ``Breakers.tell``."""
        breaker, policy = self._of(provider), provider.breaker or BreakerPolicy()
        if admission.token.partition("/")[0] != str(breaker.turn):
            return
        if told == "neither":
            breaker.probe = "" if breaker.probe == admission.token else breaker.probe
            return
        breaker.failures = breaker.failures + 1 if told == "failed" else 0
        if told == "failed" and (breaker.state == "half-open" or breaker.failures >= policy.failures):
            breaker.move("open")
            breaker.opened_at, breaker.probe = self._clock(), ""
        elif told == "answered" and breaker.state == "half-open":
            breaker.move("closed")

    def _of(self, provider: RemoteProvider) -> _Breaker:
        return self._breakers.setdefault((provider.name, provider.model), _Breaker())

    def _admit(self, breaker: _Breaker, open_seconds: float) -> Admission:
        now = self._clock()
        if breaker.state == "closed":
            return Admission(True, token=str(breaker.turn))
        if breaker.state == "open":
            if now < breaker.opened_at + open_seconds:
                return Admission(False, reason="open")
            breaker.move("half-open")
            breaker.probe = ""
        if breaker.probe and now < breaker.probe_ends:
            return Admission(False, reason="half-open")
        breaker.probe = f"{breaker.turn}/{now}"
        breaker.probe_ends = now + open_seconds
        return Admission(True, probe=True, token=breaker.probe)
