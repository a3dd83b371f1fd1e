"""How many model calls a process holds at once: room is taken before runs are claimed, so that no lease waits."""

from __future__ import annotations

import asyncio


class InFlight:
    """Room for a number of calls. For one event loop."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._free = limit
        self._changed = asyncio.Condition()

    async def take(self, wanted: int) -> None:
        """Wait until there is room for ``wanted`` calls (at most ``limit``) and take it, all or nothing."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._free >= wanted)
            self._free -= wanted

    async def give_back(self, number: int) -> None:
        """Make room again."""
        async with self._changed:
            self._free += number
            self._changed.notify_all()
