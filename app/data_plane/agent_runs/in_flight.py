"""How many model calls a process holds at once: room is taken before runs are claimed, so that no lease waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class InFlight:
    """Room for a number of calls. For one event loop."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._free = limit
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def room(self, places: int) -> AsyncIterator[Room]:
        """Wait until there are that many places (at most ``limit``), and hold them inside the block."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._free >= places)
            self._free -= places
        taken = Room(self, places)
        try:
            yield taken
        finally:
            await taken.keep(0)

    async def give_back(self, places: int) -> None:
        """Make room again."""
        async with self._changed:
            self._free += places
            self._changed.notify_all()


class Room:
    """The places that one message's runs hold."""

    def __init__(self, in_flight: InFlight, places: int) -> None:
        self._in_flight = in_flight
        self._places = places

    async def keep(self, places: int) -> None:
        """Hold only so many from now on; the others are free for whoever waits."""
        free, self._places = self._places - places, places
        if free > 0:
            await self._in_flight.give_back(free)
