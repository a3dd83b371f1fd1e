"""A provider on loopback that fails or answers as a test says, and writes down when each request came."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self


@dataclass
class CountingProvider:
    """A real HTTP server on a thread of its own, for as long as the ``with`` block lasts."""

    answers: bool = True
    """Whether it answers 200, or fails with 503."""
    seconds: float = 0.05
    """How long a request takes."""
    holding: bool = False
    """No request is answered, until it is false again."""
    held: int = 0
    """How many requests wait for that."""
    keep_next: bool = False
    """The next request is kept as long as ``keeping`` holds, and answered then whatever becomes of the others."""
    keeping: bool = False
    admitted: list[float] = field(default_factory=list)
    """When requests of a closed breaker came, in monotonic seconds."""
    probes: list[float] = field(default_factory=list)
    """When probes came: each request says in its path which it is."""
    port: int = 0

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="provider", daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=512), self._loop
        ).result(10)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            came = self.probes if head.startswith(b"GET /probe ") else self.admitted
            came.append(time.monotonic())
            status = b"200 OK" if await self._answers() else b"503 Service Unavailable"
            writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answers(self) -> bool:
        if self.keep_next:
            self.keep_next, self.keeping = False, True
            while self.keeping:  # noqa: ASYNC110 - a test's thread says so
                await asyncio.sleep(0.01)
            return True
        while self.holding:
            self.held += 1
            await asyncio.sleep(0.01)
            self.held -= 1
        answers = self.answers
        await asyncio.sleep(self.seconds)
        return answers
