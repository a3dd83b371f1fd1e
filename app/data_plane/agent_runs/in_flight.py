"""How many model calls a process holds at once: room is taken before runs are claimed, so that no lease waits."""

from __future__ import annotations

import asyncio

COMPANY_SECONDS = 0.05
"""How long whoever finds a place in a process that is nearly full waits for more of them."""


class InFlight:
    """Room for a number of calls. For one event loop."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._free = limit
        self._changed = asyncio.Condition()

    async def take(self, most: int, *, within_seconds: float) -> Room:
        """The places that are free, ``most`` at most, as soon as there is one.

        Where the process is nearly full, places come free one by one: a moment of waiting makes a batch of them.
        A room without places when none came free in time.
        """
        until = asyncio.get_running_loop().time() + within_seconds
        places = 0
        async with self._changed:
            # Whoever waits for company may lose the one place there was to another, and waits on.
            while not places and await self._wait_for(1, until - asyncio.get_running_loop().time()):
                await self._wait_for(min(most, max(1, self.limit // 4)), COMPANY_SECONDS)
                places = min(most, self._free)
                self._free -= places
        return Room(self, places)

    async def _wait_for(self, places: int, seconds: float) -> bool:
        """Whether so many are free in time; with the condition's lock held."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait_for(lambda: self._free >= places)
        except TimeoutError:
            pass
        return self._free >= places

    async def give_back(self, places: int) -> None:
        """Make room again."""
        async with self._changed:
            self._free += places
            self._changed.notify_all()


class Room:
    """The places that one message's runs hold; left at the block's end."""

    def __init__(self, in_flight: InFlight, places: int) -> None:
        self._in_flight = in_flight
        self.places = places

    async def __aenter__(self) -> Room:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.keep(0)

    async def keep(self, places: int) -> None:
        """Hold only so many from now on; the others are free for whoever waits."""
        free, self.places = self.places - places, places
        if free > 0:
            await self._in_flight.give_back(free)
