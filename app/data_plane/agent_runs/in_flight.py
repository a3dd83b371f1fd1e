"""How many model calls a process holds at once: room is taken before runs are claimed, so that no lease waits."""

from __future__ import annotations

import asyncio


class InFlight:
    """Room for a number of calls. For one event loop."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._free = limit
        self._changed = asyncio.Condition()

    async def take(self, most: int, *, within_seconds: float) -> Room:
        """The places that are free, ``most`` at most, as soon as there is one: nobody waits for company.

        A room without places when none came free in time.
        """
        try:
            async with asyncio.timeout(within_seconds), self._changed:
                await self._changed.wait_for(lambda: self._free > 0)
                places = min(most, self._free)
                self._free -= places
        except TimeoutError:
            return Room(self, 0)
        return Room(self, places)

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
