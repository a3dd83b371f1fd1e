"""Calls of many that go as one: whoever comes while a call is under way goes with the next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from app.data_plane.orchestration.holding import hold

Q = TypeVar("Q")
A = TypeVar("A")


class Together(Generic[Q, A]):
    """Carries single questions to a call that takes a batch, off the event loop. For one event loop.

    Args:
        call: answers a batch, in its order. It must be safe to repeat, and is repeated for a while when it fails for a
            passing reason; what it raises after that is raised to all of the batch.
        most: of one batch.
    """

    def __init__(self, call: Callable[[Sequence[Q]], Sequence[A]], *, most: int = 256) -> None:
        self._call = call
        self._most = most
        self._waiting: list[tuple[Q, asyncio.Future[A]]] = []
        self._carrying: asyncio.Task[None] | None = None

    async def ask(self, question: Q) -> A:
        """The answer to this one. Raises what the batch's call raised."""
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, answer))
        if self._carrying is None:
            self._carrying = asyncio.create_task(self._carry())
        # Whoever is cancelled meanwhile leaves the others' batch as it is.
        return await asyncio.shield(answer)

    async def _carry(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                await self._answer(batch)
        finally:
            self._carrying = None

    async def _answer(self, batch: Sequence[tuple[Q, asyncio.Future[A]]]) -> None:
        try:
            questions = [question for question, _ in batch]
            answers = await hold(lambda: self._call(questions))
        except Exception as error:  # noqa: BLE001 - passed on to everybody who waits for it, and to nobody else
            for _, waiting in batch:
                _settle(waiting, error)
            return
        for (_, waiting), answer in zip(batch, answers, strict=True):
            if not waiting.done():
                waiting.set_result(answer)


def _settle(waiting: asyncio.Future[A], error: Exception) -> None:
    if not waiting.done():
        waiting.set_exception(error)
        # Nobody may be waiting any more: that is no error that was missed.
        waiting.exception()
