"""A real TCP server on loopback that answers each connection as a test says, byte by byte."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Behaviour = Callable[["Exchange"], Awaitable[None]]


@dataclass
class Exchange:
    """One request as it came, and the way back."""

    head: str
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    server: ScriptedServer

    async def answer(self, raw: str) -> None:
        """Send these bytes; a newline stands for CRLF."""
        self.writer.write(raw.replace("\n", "\r\n").encode())
        await self.writer.drain()

    async def answer_json(self, status: str, body: str, *headers: str) -> None:
        """Send a whole answer with a JSON body."""
        lines = [
            f"HTTP/1.1 {status}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            *headers,
        ]
        await self.answer("\n".join(lines) + "\n\n" + body)

    async def wait_until_the_client_closes(self) -> None:
        """Answer nothing."""
        while await self.reader.read(1024):
            pass
        self.server.closed_by_client.set()


@dataclass
class ScriptedServer:
    """What the test sees of the server."""

    url: str = ""
    port: int = 0
    heads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    closed_by_client: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def scripted_server(
    behaviour: Behaviour, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[ScriptedServer]:
    """Serve until the block ends; each request goes to ``behaviour``."""
    seen = ScriptedServer()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode("latin-1"):
                length = next(
                    (
                        int(line.split(":")[1])
                        for line in head.split("\r\n")
                        if line.lower().startswith("content-length")
                    ),
                    0,
                )
                body = await reader.readexactly(length)
                seen.heads.append(head)
                seen.bodies.append(body)
                seen.asked.set()
                await behaviour(Exchange(head, body, reader, writer, seen))
                if writer.is_closing():
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, host, port, ssl=tls)
    seen.port = server.sockets[0].getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    seen.url = f"{'http' if tls is None else 'https'}://{shown}:{seen.port}"
    try:
        yield seen
    finally:
        server.close()
