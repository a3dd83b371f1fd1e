"""An event loop that answers for names as a test says, and knows where connections went.

Names that a test does not list are resolved by the system, and connections to loopback are real. One to anywhere
else is noted and refused, so that no test reaches beyond this machine, not even while the code is broken.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, TypeVar

T = TypeVar("T")

Answers = Sequence[Sequence[str]]
"""What a name leads to, the first time it is asked for, the second, ...; the last answer stands."""


class WatchedLoop(asyncio.SelectorEventLoop):
    """``asked`` are the names that were resolved, ``connected`` the addresses that were connected to."""

    def __init__(self, names: Mapping[str, Answers]) -> None:
        super().__init__()
        self._names = names
        self.asked: list[str] = []
        self.connected: list[str] = []

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        """Called by whoever resolves a name."""
        self.asked.append(str(host))
        answers = self._names.get(str(host))
        if answers is None:
            return await super().getaddrinfo(host, port, **options)
        addresses = answers[min(self.asked.count(str(host)), len(answers)) - 1]
        return [_entry(address, port) for address in addresses]

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Called for each connection that is made."""
        self.connected.append(str(address[0]))
        plain = ip_address(str(address[0]))
        plain = getattr(plain, "ipv4_mapped", None) or plain
        if not plain.is_loopback and not plain.is_unspecified:
            raise ConnectionRefusedError(f"a test was about to connect to {address[0]}")
        await super().sock_connect(sock, address)


def _entry(address: str, port: int) -> tuple[Any, ...]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    place = (address, port, 0, 0) if family == socket.AF_INET6 else (address, port)
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", place


def run_watched(
    test: Callable[[WatchedLoop], Coroutine[Any, Any, T]], names: Mapping[str, Answers] | None = None
) -> T:
    """Run ``test`` in a watched loop."""
    loop = WatchedLoop(names or {})
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(test(loop))
