"""A process never holds more model calls than its limit, and no claimed run waits in line for room."""

from __future__ import annotations

import asyncio

from app.data_plane.agent_runs.in_flight import InFlight


async def _work(room: InFlight, size: int, seen: list[int], held: list[int]) -> None:
    await room.take(size)
    held[0] += size
    seen.append(held[0])
    await asyncio.sleep(0)
    held[0] -= size
    await room.give_back(size)


def test_no_more_is_taken_than_there_is_and_everybody_gets_through() -> None:
    seen: list[int] = []

    async def many() -> None:
        room, held = InFlight(8), [0]
        await asyncio.gather(*(_work(room, size, seen, held) for size in [8, 1, 3, 5, 8, 2, 7] * 5))

    asyncio.run(many())
    assert len(seen) == 35
    assert max(seen) <= 8
