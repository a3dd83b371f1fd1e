"""A process never holds more model calls than its limit, and no claimed run waits in line for room."""

from __future__ import annotations

import asyncio

from app.data_plane.agent_runs.in_flight import InFlight


async def _work(in_flight: InFlight, size: int, seen: list[int], held: list[int]) -> None:
    async with in_flight.room(size) as room:
        held[0] += size
        seen.append(held[0])
        await asyncio.sleep(0)
        held[0] -= size - 1
        await room.keep(1)
        await asyncio.sleep(0)
        held[0] -= 1


def test_no_more_is_taken_than_there_is_and_everybody_gets_through() -> None:
    seen: list[int] = []

    async def many() -> None:
        in_flight, held = InFlight(8), [0]
        await asyncio.gather(*(_work(in_flight, size, seen, held) for size in [8, 1, 3, 5, 8, 2, 7] * 5))

    asyncio.run(many())
    assert len(seen) == 35
    assert max(seen) <= 8


def test_a_straggler_keeps_its_own_place_and_no_other() -> None:
    """A message of eight with one slow run does not keep the next message's runs waiting."""
    order: list[str] = []

    async def slow(in_flight: InFlight, next_began: asyncio.Event) -> None:
        async with in_flight.room(8) as room:
            await room.keep(1)
            await next_began.wait()
            order.append("straggler")

    async def following(in_flight: InFlight, next_began: asyncio.Event) -> None:
        async with in_flight.room(7):
            order.append("next")
            next_began.set()

    async def both() -> None:
        in_flight, next_began = InFlight(8), asyncio.Event()
        async with asyncio.timeout(30):
            await asyncio.gather(slow(in_flight, next_began), following(in_flight, next_began))

    asyncio.run(both())
    assert order == ["next", "straggler"]
