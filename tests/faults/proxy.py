"""A proxy between any two parts, over TCP or a Unix socket, whose fault is switched while connections are open.

It runs an event loop on a thread of its own. PostgreSQL's Unix socket is a file ``.s.PGSQL.5432`` in a folder, and the
database's URL names the folder: see ``postgresql_socket``.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

T = TypeVar("T")

CHUNK_BYTES = 65_536
_AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER with a time of 0: closing sends RST instead of FIN (socket(7))."""

Direction = Literal["to_upstream", "to_client"]


@dataclass(frozen=True, slots=True)
class Tcp:
    """An address by host and port; port 0 takes a free one."""

    port: int = 0
    host: str = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Unix:
    """An address by path."""

    path: Path


Address = Tcp | Unix


@dataclass(frozen=True, slots=True)
class Clean:
    """Everything passes as it came."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Each piece of data waits before it is passed on; ``seed`` draws the jitter."""

    milliseconds: float
    jitter_milliseconds: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class BlackHole:
    """Connections are accepted, what is sent is swallowed, and nothing ever comes back.

    ``forgotten_after``: so many seconds later the server ends its sides of the connections, as its keepalive does,
    and the clients never learn of it.
    """

    forgotten_after: float | None = None


@dataclass(frozen=True, slots=True)
class Reset:
    """Open connections are reset, and so is each new one."""


@dataclass(frozen=True, slots=True)
class NoMore:
    """Open connections go on, and each new one is reset: the server has too many."""


@dataclass(frozen=True, slots=True)
class CutAfter:
    """Each connection passes so many bytes more in that direction and is then reset."""

    bytes: int
    direction: Direction


@dataclass(frozen=True, slots=True)
class Refuse:
    """Before an HTTP server: it answers every request itself, that it will not do what is asked."""


Fault = Clean | Latency | BlackHole | Reset | NoMore | CutAfter | Refuse

_REFUSAL = b"HTTP/1.1 422 Unprocessable Content\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Counts:
    """What passed since the start: connections that were accepted, and bytes that were handed on."""

    connections: int
    to_upstream: int
    to_client: int

    def since(self, earlier: Counts) -> Counts:
        """The difference to what was counted earlier."""
        return Counts(
            self.connections - earlier.connections,
            self.to_upstream - earlier.to_upstream,
            self.to_client - earlier.to_client,
        )


def postgresql_socket(folder: Path) -> Unix:
    """The Unix socket of the PostgreSQL whose URL says ``?host=folder``."""
    return Unix(folder / ".s.PGSQL.5432")


@dataclass(eq=False)
class _Link:
    """One connection through the proxy."""

    client: asyncio.StreamWriter
    upstream: asyncio.StreamWriter | None = None
    swallowed: bool = False
    left: int = 0
    """What may pass before the cut, while the fault is one."""

    def reset(self) -> None:
        """End both sides at once, with RST where the protocol has it."""
        for writer in (self.client, self.upstream):
            if writer is None:
                continue
            with contextlib.suppress(OSError):
                found: socket.socket | None = writer.get_extra_info("socket")
                if found is not None and found.family != socket.AF_UNIX:
                    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            writer.transport.abort()


@dataclass
class _Meter:
    connections: int = 0
    passed: dict[Direction, int] = field(default_factory=lambda: {"to_upstream": 0, "to_client": 0})
    hits: int = 0


class Proxy:
    """Forwards from ``listen`` to ``upstream`` for as long as the ``with`` block lasts."""

    def __init__(self, listen: Address, upstream: Address) -> None:
        self.address = listen
        self._upstream = upstream
        self._fault: Fault = Clean()
        self._jitter = random.Random(0)
        self._meter = _Meter()
        self._links: set[_Link] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None

    def start(self) -> None:
        """Listen. Raises OSError when the address is taken."""
        self._thread.start()
        self._server = self._call(self._listen())

    def stop(self) -> None:
        """End every connection and stop listening."""
        if self._server is not None:
            self._call(self._end(self._server))
            self._server = None
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def switch(self, fault: Fault) -> None:
        """From now on this fault, for open connections and new ones; ``Clean()`` ends it."""
        self._call(self._switch(fault))

    def counts(self) -> Counts:
        """What passed since the start."""
        passed = self._meter.passed
        return Counts(self._meter.connections, passed["to_upstream"], passed["to_client"])

    def hits(self) -> int:
        """How often the fault hit since it was switched on: connections reset or cut, pieces delayed or swallowed."""
        return self._meter.hits

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> asyncio.Server:
        if isinstance(self.address, Unix):
            self.address.path.unlink(missing_ok=True)
            return await asyncio.start_unix_server(self._accept, self.address.path)
        server = await asyncio.start_server(self._accept, self.address.host, self.address.port)
        self.address = Tcp(server.sockets[0].getsockname()[1], self.address.host)
        return server

    async def _end(self, server: asyncio.Server) -> None:
        server.close()
        for link in list(self._links):
            link.reset()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _switch(self, fault: Fault) -> None:
        self._fault = fault
        self._meter.hits = 0
        for link in list(self._links):
            if isinstance(fault, Reset):
                self._meter.hits += 1
                link.reset()
            elif link.swallowed and not isinstance(fault, BlackHole | Refuse):
                link.reset()  # what it swallowed is gone: nothing sensible can follow on it
            elif isinstance(fault, CutAfter):
                link.left = fault.bytes
        if isinstance(fault, Latency):
            self._jitter = random.Random(fault.seed)
        if isinstance(fault, BlackHole) and fault.forgotten_after is not None:
            self._loop.call_later(fault.forgotten_after, self._forget, fault)

    def _forget(self, fault: BlackHole) -> None:
        if self._fault is not fault:
            return
        for link in list(self._links):
            link.swallowed = True
            if link.upstream is not None:
                link.upstream.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(writer, left=self._fault.bytes if isinstance(self._fault, CutAfter) else 0)
        self._links.add(link)
        self._meter.connections += 1
        try:
            await self._serve(link, reader)
        except OSError:
            link.reset()
        finally:
            self._links.discard(link)
            writer.close()
            if link.upstream is not None:
                link.upstream.close()

    async def _serve(self, link: _Link, from_client: asyncio.StreamReader) -> None:
        if isinstance(self._fault, Reset | NoMore):
            self._meter.hits += 1
            link.reset()
            return
        if isinstance(self._fault, BlackHole):
            link.swallowed = True
            self._meter.hits += 1
            await _drain(from_client)
            return
        if isinstance(self._fault, Refuse):
            if await from_client.read(CHUNK_BYTES):
                self._refuse(link)
                await _drain(from_client)
            return
        from_upstream, link.upstream = await self._connect()
        await asyncio.gather(
            self._pump(link, from_client, link.upstream, "to_upstream"),
            self._pump(link, from_upstream, link.client, "to_client"),
        )

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._upstream, Unix):
            return await asyncio.open_unix_connection(self._upstream.path)
        return await asyncio.open_connection(self._upstream.host, self._upstream.port)

    async def _pump(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction
    ) -> None:
        while data := await reader.read(CHUNK_BYTES):
            fault = self._fault
            if isinstance(fault, BlackHole):
                link.swallowed = True
                self._meter.hits += 1
                continue
            if isinstance(fault, Refuse) and direction == "to_upstream":
                if not link.swallowed:
                    self._refuse(link)
                continue
            if isinstance(fault, Latency):
                self._meter.hits += 1
                await asyncio.sleep(self._delay(fault))
            is_last = isinstance(fault, CutAfter) and direction == fault.direction and len(data) >= link.left
            if is_last:
                data = data[: link.left]
            elif isinstance(fault, CutAfter) and direction == fault.direction:
                link.left -= len(data)
            self._meter.passed[direction] += len(data)
            writer.write(data)
            await writer.drain()
            if is_last:
                self._meter.hits += 1
                link.reset()
                return
        if link.swallowed and direction == "to_client":
            return  # the server has given it up, and nobody tells the client
        with contextlib.suppress(OSError, RuntimeError):
            writer.write_eof()

    def _refuse(self, link: _Link) -> None:
        """Once on each connection, which its client is asked to close: the rest of its request may still come."""
        link.swallowed = True
        self._meter.hits += 1
        link.client.write(_REFUSAL)

    def _delay(self, fault: Latency) -> float:
        jitter = self._jitter.uniform(-fault.jitter_milliseconds, fault.jitter_milliseconds)
        return max(0.0, fault.milliseconds + jitter) / 1000


async def _drain(reader: asyncio.StreamReader) -> None:
    while await reader.read(CHUNK_BYTES):
        continue
