"""A server that no delivery may reach, and that knows for certain whether one did.

It listens on IPv4 and IPv6 loopback on one port and counts connections. A witness connects to it after each delivery:
as connections are taken in their order, none that came before the witness can have been missed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.integration.scripted_server import ScriptedServer, scripted_server
from tests.integration.targets.deliveries import answers

CREATED = "HTTP/1.1 201 Created\nContent-Length: 0\n\n"


class Inside:
    """A server that nobody may reach, on both kinds of loopback."""

    def __init__(self, servers: tuple[ScriptedServer, ...]) -> None:
        self._servers = servers
        self.port = servers[0].port

    async def was_reached(self) -> bool:
        """Whether anybody connected before this call."""
        for host in ("127.0.0.1", "::1"):
            reader, writer = await asyncio.open_connection(host, self.port)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            await reader.readline()
            writer.close()
        return any(server.connections != 1 or server.bodies != [b""] for server in self._servers)


@asynccontextmanager
async def inside() -> AsyncIterator[Inside]:
    """Serve until the block ends."""
    async with (
        scripted_server(answers(CREATED)) as first,
        scripted_server(answers(CREATED), host="::1", port=first.port) as second,
    ):
        yield Inside((first, second))
