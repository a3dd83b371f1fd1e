"""One HTTP/1.1 connection to a target, on asyncio and httptools.

Why not an HTTP client library: against the sink with 64 requests in flight, httpx2 took 1,680 microseconds
of CPU for a request and this takes 125: the difference between 600 deliveries a second on one core and
several thousand. It does what a delivery needs: a POST with a short answer; no redirects, cookies, proxies or
content encodings. Message framing (RFC 9112) is llhttp's, by way of httptools.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import NamedTuple

import httptools

from app.adapters.targets.addresses import is_permitted
from app.kernel.errors import TransientError

MAX_ANSWER_BYTES = 65_536
"""Status line, headers and body together; what goes beyond is not read."""


class Origin(NamedTuple):
    """Scheme, host and port: what an allowlist and a pool of connections go by."""

    scheme: str
    host: str
    port: int


class NotSentError(TransientError):
    """No connection came about, so nothing was sent. ``code`` says which step failed."""

    def __init__(self, code: str, origin: Origin) -> None:
        super().__init__(f"No connection to {origin.host}:{origin.port} came about ({code}).")
        self.code = code


class RefusedError(NotSentError):
    """Nothing was sent, and trying again cannot help: it must not go there, or it is not who it should be."""


class NoAnswerError(TransientError):
    """The request was sent, or a part of it, and no whole answer came back.

    Args:
        code: ``connection_lost``, ``malformed_answer`` or ``timed_out``.
        status: the answer's status when the headers at least were whole, else 0.
    """

    def __init__(self, code: str, status: int = 0) -> None:
        super().__init__(f"The request was sent and no whole answer came back ({code}).")
        self.code = code
        self.status = status


@dataclass(slots=True)
class Answer:
    """A target's answer. ``truncated`` when its body went beyond ``MAX_ANSWER_BYTES``."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    truncated: bool = False


class Connection(asyncio.Protocol):
    """A connection that carries one exchange at a time; ``reusable`` says whether it can carry another."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Answer] | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._answer = Answer()
        self._size = 0
        self._headers_complete = False
        self.reusable = True
        self.idle_since = 0.0

    async def exchange(self, request: bytes) -> Answer:
        """Send ``request`` and wait for the answer; a cancelled exchange closes the connection.

        Raises:
            NoAnswerError: the connection ended, or what came back is not HTTP.
        """
        assert self._transport is not None
        assert self._waiter is None, "one exchange at a time"
        self._answer, self._size, self._headers_complete = Answer(), 0, False
        self._parser = httptools.HttpResponseParser(self)
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            self._transport.write(request)
            return await self._waiter
        except BaseException:
            self.abort()
            raise
        finally:
            self._waiter = None

    @property
    def status(self) -> int:
        """The answer's status, once its headers are whole; 0 before."""
        return self._answer.status if self._headers_complete else 0

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        if self._parser is None or not self._is_waiting():
            # Nobody asked: whatever this is, the next answer could not be told from it.
            self.abort()
            return
        self._size += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail("malformed_answer")
            return
        if self._size > MAX_ANSWER_BYTES:
            self._stop_reading()

    def eof_received(self) -> bool:
        """Called by the event loop: the target sends no more; the transport may close."""
        self.reusable = False
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self.reusable = False
        framed = "content-length" in self._answer.headers or "transfer-encoding" in self._answer.headers
        if exc is None and self._headers_complete and not framed:
            self._succeed()  # RFC 9112, 6.3: such a body ends where the connection does
        else:
            self._fail("connection_lost")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        if not self._is_waiting():
            self.reusable = False  # a second answer to one request
            return
        if self._headers_complete:
            return  # a trailer must not overrule a header (RFC 9110, 6.5)
        self._answer.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        if self._parser is None or not self._is_waiting():
            return
        self._answer.status = self._parser.get_status_code()
        self._headers_complete = self._answer.status >= 200

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        if not self._is_waiting():
            return
        room = MAX_ANSWER_BYTES - len(self._answer.body)
        self._answer.body += body[:room]

    def on_message_complete(self) -> None:
        """Called by the parser."""
        if self._parser is None or not self._is_waiting():
            return
        if not self._headers_complete:
            self._answer = Answer()  # 1xx: the real answer follows
            return
        self.reusable = self.reusable and self._parser.should_keep_alive()
        self._succeed()

    def _is_waiting(self) -> bool:
        return self._waiter is not None and not self._waiter.done()

    def _stop_reading(self) -> None:
        if not self._is_waiting():
            return
        if not self._headers_complete:
            self._fail("malformed_answer")
            return
        self._answer.truncated = True
        self._succeed()
        self.abort()

    def _succeed(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(self._answer)

    def _fail(self, code: str) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(NoAnswerError(code, self.status))
        self.abort()


async def connect(origin: Origin, networks: frozenset[str], tls: ssl.SSLContext | None) -> Connection:
    """A new connection to ``origin``; ``tls`` is None for plain HTTP.

    Args:
        networks: where else than to public addresses it may lead, as ``127.0.0.0/8``.

    Raises:
        RefusedError: with code ``address_not_allowed``, ``invalid_network`` or ``certificate_not_verified``.
        NotSentError: with code ``name_not_resolved``, ``tls_failed`` or ``connection_refused``.
    """
    loop = asyncio.get_running_loop()
    last: Exception | None = None
    for address in await _resolve(origin, networks):
        try:
            # The address and never the name, which may lead elsewhere when it is asked for again.
            _, connection = await loop.create_connection(
                Connection,
                address,
                origin.port,
                ssl=tls,
                server_hostname=origin.host if tls is not None else None,
            )
        except OSError as error:
            last = error
        else:
            return connection
    if isinstance(last, ssl.SSLCertVerificationError):
        raise RefusedError("certificate_not_verified", origin) from last
    raise NotSentError(
        "tls_failed" if isinstance(last, ssl.SSLError) else "connection_refused", origin
    ) from last


async def _resolve(origin: Origin, networks: frozenset[str]) -> list[str]:
    """The one place where a target's name becomes addresses, and where they are looked at before any is used.

    Of a name that leads to permitted addresses and to others, the others are as if they were not there.
    """
    try:
        allowed = [ip_network(network) for network in networks]
    except ValueError as error:
        raise RefusedError("invalid_network", origin) from error
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            origin.host, origin.port, type=socket.SOCK_STREAM
        )
    except (OSError, UnicodeError) as error:
        raise NotSentError("name_not_resolved", origin) from error
    addresses = [str(sockaddr[0]) for *_, sockaddr in found]
    permitted = [address for address in addresses if is_permitted(ip_address(address), allowed)]
    if not permitted:
        raise RefusedError("address_not_allowed", origin)
    return permitted
