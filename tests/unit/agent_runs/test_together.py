"""Many that ask at once cost one call, and each gets its own answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from app.data_plane.agent_runs.together import Together
from app.kernel.errors import DefectError


def test_whoever_comes_while_a_call_is_under_way_goes_with_the_next() -> None:
    batches: list[list[int]] = []
    first_is_under_way, go_on = threading.Event(), threading.Event()

    def double(batch: Sequence[int]) -> list[int]:
        batches.append(list(batch))
        first_is_under_way.set()
        assert go_on.wait(30)
        return [2 * number for number in batch]

    async def many() -> list[int]:
        together = Together(double)
        one = asyncio.create_task(together.ask(1))
        await asyncio.to_thread(first_is_under_way.wait, 30)
        others = [asyncio.create_task(together.ask(number)) for number in (2, 3, 4)]
        await asyncio.sleep(0)
        go_on.set()
        return [await one, *(await asyncio.gather(*others))]

    assert asyncio.run(many()) == [2, 4, 6, 8]
    assert batches == [[1], [2, 3, 4]]


def test_one_that_is_cancelled_leaves_the_others_their_answers() -> None:
    release = threading.Event()

    def echo(batch: Sequence[int]) -> Sequence[int]:
        assert release.wait(30)
        return batch

    async def two() -> int:
        together = Together(echo)
        cancelled, other = asyncio.create_task(together.ask(1)), asyncio.create_task(together.ask(2))
        await asyncio.sleep(0)
        cancelled.cancel()
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        return await other

    assert asyncio.run(two()) == 2


def test_what_the_call_raises_is_raised_to_everybody_who_waits_for_it() -> None:
    def broken(batch: Sequence[int]) -> Sequence[int]:
        raise DefectError(f"{len(batch)} at once")

    async def two() -> list[int | BaseException]:
        together = Together(broken)
        return await asyncio.gather(together.ask(1), together.ask(2), return_exceptions=True)

    first, second = asyncio.run(two())
    assert isinstance(first, DefectError)
    assert isinstance(second, DefectError)
