"""A process never holds more model calls than its limit, no claimed run waits for room, and none waits for company."""

from __future__ import annotations

import asyncio

from app.data_plane.agent_runs.in_flight import COMPANY_SECONDS, InFlight

PATIENCE_SECONDS = 30.0


async def _work(in_flight: InFlight, wanted: int, seen: list[int], held: list[int]) -> None:
    while wanted:
        async with await in_flight.take(wanted, within_seconds=PATIENCE_SECONDS) as room:
            wanted -= room.places
            held[0] += room.places
            seen.append(held[0])
            await asyncio.sleep(0)
            held[0] -= room.places - 1
            await room.keep(1)
            await asyncio.sleep(0)
            held[0] -= 1


def test_no_more_is_taken_than_there_is_and_everybody_gets_through() -> None:
    seen: list[int] = []

    async def many() -> None:
        in_flight, held = InFlight(8), [0]
        await asyncio.gather(*(_work(in_flight, size, seen, held) for size in [8, 1, 3, 5, 8, 2, 7] * 5))

    asyncio.run(many())
    assert len(seen) >= 35
    assert max(seen) <= 8


def test_a_straggler_keeps_its_own_place_and_no_other() -> None:
    """A message of eight with one slow run keeps the next eight from one place and from nothing else."""
    order: list[str] = []

    async def slow(in_flight: InFlight, next_began: asyncio.Event) -> None:
        async with await in_flight.take(8, within_seconds=PATIENCE_SECONDS) as room:
            await room.keep(1)
            await next_began.wait()
            order.append("straggler")

    async def following(in_flight: InFlight, next_began: asyncio.Event) -> None:
        async with await in_flight.take(8, within_seconds=PATIENCE_SECONDS) as room:
            order.append(f"next {room.places}")
            next_began.set()

    async def both() -> None:
        in_flight, next_began = InFlight(8), asyncio.Event()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(slow(in_flight, next_began), following(in_flight, next_began))

    asyncio.run(both())
    assert order == ["next 7", "straggler"]


def test_whoever_finds_no_room_for_long_goes_on_without_it() -> None:
    """A message that only waits would look stuck, and its process would be ended for it."""

    async def waits() -> tuple[int, int]:
        in_flight = InFlight(2)
        async with await in_flight.take(2, within_seconds=PATIENCE_SECONDS):
            none = await in_flight.take(1, within_seconds=0.01)
        async with await in_flight.take(3, within_seconds=PATIENCE_SECONDS) as room:
            return none.places, room.places

    assert asyncio.run(waits()) == (0, 2)


def test_whoever_loses_a_place_while_it_waits_for_company_waits_for_the_next() -> None:
    """A message that came back without room long before its time would be sent again for nothing."""

    async def loses() -> int:
        in_flight = InFlight(8)
        async with await in_flight.take(7, within_seconds=PATIENCE_SECONDS) as held:
            waiting = asyncio.create_task(in_flight.take(8, within_seconds=PATIENCE_SECONDS))
            await asyncio.sleep(0)
            other = await in_flight.take(1, within_seconds=PATIENCE_SECONDS)
            async with other:
                await asyncio.wait({waiting}, timeout=4 * COMPANY_SECONDS)
                await held.keep(0)
                return (await waiting).places

    assert asyncio.run(loses()) == 7
