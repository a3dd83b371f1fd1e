"""Guards: whatever a target answers, an attempt ends, in bounded memory, and its receipt does not guess (promise 2).

What was sent and not answered whole is unknown: the effect may have happened. A status that came whole counts, however
long the rest is. Each server goes on until it sees the connection close, so each test ends only if it is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import chain, count, repeat

import pytest

from app.adapters.targets.connection import MAX_ANSWER_BYTES
from app.adapters.targets.http import HttpTargets, TargetAddress
from app.data_plane.ports import ProbeAnswer, Receipt
from tests.integration.scripted_server import Behaviour, Exchange, scripted_server
from tests.integration.targets.deliveries import DELIVERY, LOCAL, PROBE, OneAddress, answers

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
KILOBYTE = b"x" * 1024


def sends(pieces: Iterator[bytes], *, every: float = 0.0) -> Behaviour:
    """Sends the pieces, one after another, until the client closes."""

    async def behave(exchange: Exchange) -> None:
        with suppress(ConnectionError):
            for piece in pieces:
                exchange.writer.write(piece)
                await exchange.writer.drain()
                await asyncio.sleep(every)
            while await exchange.reader.read(1024):
                pass
        exchange.server.closed_by_client.set()
        exchange.writer.close()

    return behave


def receipt_and_answer(behaviour: Behaviour, seconds: float) -> tuple[Receipt, ProbeAnswer, int]:
    """What comes of a delivery and of a probe, and how many connections the server saw; both see theirs closed."""

    async def run() -> tuple[Receipt, ProbeAnswer, int]:
        async with scripted_server(behaviour) as server:
            targets = HttpTargets(OneAddress(TargetAddress(server.url, networks=LOCAL)))
            [receipt] = await targets.deliver([replace(DELIVERY, timeout_seconds=seconds)])
            await asyncio.wait_for(server.closed_by_client.wait(), 30)
            server.closed_by_client.clear()
            [answer] = await targets.probe([replace(PROBE, timeout_seconds=seconds)])
            await asyncio.wait_for(server.closed_by_client.wait(), 30)
            await targets.close()
            return receipt, answer, server.connections

    return asyncio.run(run())


ENDLESS_HEADS: dict[str, Callable[[], Iterator[bytes]]] = {
    "a status line": lambda: chain([b"HTTP/1.1 200 "], repeat(KILOBYTE)),
    "a header's name": lambda: chain([OK], repeat(KILOBYTE)),
    "a header's value": lambda: chain([OK, b"X: "], repeat(KILOBYTE)),
    "headers": lambda: chain([OK], (b"X-%d: y\r\n" % number for number in count())),
    "one header again and again": lambda: chain([OK], repeat(b"X: y\r\n" * 100)),
    "answers that something follows": lambda: repeat(b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n" * 10),
    "permission to go on": lambda: repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 10),
    "empty lines": lambda: repeat(b"\r\n" * 100),
}


@pytest.mark.parametrize("what", ENDLESS_HEADS)
def test_an_endless_head_is_cut_off_and_unknown(what: str) -> None:
    behaviour_of = ENDLESS_HEADS[what]
    receipt, answer, _ = receipt_and_answer(lambda exchange: sends(behaviour_of())(exchange), seconds=30)
    assert receipt == Receipt("unknown", reason="malformed_answer")
    assert answer == ProbeAnswer("unknown", reason="malformed_answer")


ENDLESS_BODIES: dict[str, Callable[[], Iterator[bytes]]] = {
    "a body without a length": lambda: chain([OK, b"\r\n"], repeat(KILOBYTE)),
    "a body of a great length": lambda: chain(
        [OK, b"Content-Length: 999999999999\r\n\r\n"], repeat(KILOBYTE)
    ),
    "chunks": lambda: chain([CHUNKED], repeat(b"400\r\n" + KILOBYTE + b"\r\n")),
    "one great chunk": lambda: chain([CHUNKED, b"ffffffff\r\n"], repeat(KILOBYTE)),
    "chunks of one byte": lambda: chain([CHUNKED], repeat(b"1\r\nx\r\n" * 200)),
    "a chunk's extension": lambda: chain([CHUNKED, b"1;"], repeat(KILOBYTE)),
    "trailers": lambda: chain([CHUNKED, b"0\r\n"], repeat(b"X-Trailer: y\r\n" * 100)),
    "a trailer's value": lambda: chain([CHUNKED, b"0\r\nX-Trailer: "], repeat(KILOBYTE)),
}


@pytest.mark.parametrize("what", ENDLESS_BODIES)
def test_an_endless_rest_is_cut_off_and_the_status_counts(what: str) -> None:
    """The target has said what became of it; what it says besides is kept as far as there is room."""
    behaviour_of = ENDLESS_BODIES[what]
    receipt, answer, connections = receipt_and_answer(
        lambda exchange: sends(behaviour_of())(exchange), seconds=30
    )
    assert (receipt.outcome, receipt.http_status) == ("confirmed", 200)
    assert (answer.answer, answer.http_status) == ("applied", 200)
    assert max(len(receipt.body), len(answer.body)) <= MAX_ANSWER_BYTES
    assert connections == 2, "a connection that still has something to say is not used again"


SLOW: dict[str, tuple[Callable[[], Iterator[bytes]], int]] = {
    "nothing": (lambda: iter(()), 0),
    "a status line": (lambda: chain([b"HTTP/1.1 200 "], repeat(b"x")), 0),
    "headers": (lambda: chain([OK], repeat(b"X: y\r\n")), 0),
    "answers that something follows": (lambda: repeat(b"HTTP/1.1 103 Hints\r\n\r\n"), 0),
    "a body": (lambda: chain([OK, b"Content-Length: 99999\r\n\r\n"], repeat(b"x")), 200),
    "a chunk": (lambda: chain([CHUNKED, b"ffff\r\n"], repeat(b"x")), 200),
    "a body that ends with the connection": (lambda: chain([OK, b"\r\n"], repeat(b"x")), 200),
}


@pytest.mark.parametrize("what", SLOW)
def test_what_comes_byte_by_byte_is_ended_by_the_deadline_of_the_whole(what: str) -> None:
    """Each byte comes in good time: a limit for each reading would wait for ever."""
    behaviour_of, status = SLOW[what]
    receipt, answer, _ = receipt_and_answer(
        lambda exchange: sends(behaviour_of(), every=0.01)(exchange), seconds=0.3
    )
    assert receipt == Receipt("unknown", http_status=status, reason="timed_out")
    assert answer == ProbeAnswer("unknown", http_status=status, reason="timed_out")


@pytest.mark.parametrize(
    "raw",
    [
        "Content-Length: 2\nContent-Length: 38\n\n{}",
        "Content-Length: 2\nContent-Length: 2\n\n{}",
        "Content-Length: 2, 2\n\n{}",
        "Content-Length: 2\nTransfer-Encoding: chunked\n\n2\n{}\n0\n\n",
        "Transfer-Encoding: chunked\nContent-Length: 2\n\n2\n{}\n0\n\n",
        "Content-Length: +2\n\n{}",
        "Content-Length: -2\n\n{}",
        "Content-Length: 0x2\n\n{}",
        "Content-Length: 2 2\n\n{}",
        "Content-Length: 99999999999999999999999\n\n{}",
        "Content-Length:\n\n{}",
        "Content-Length : 2\n\n{}",
        "X: y\n Content-Length: 2\n\n{}",
        "Transfer-Encoding: \x0bchunked\n\n2\n{}\n0\n\n",
        "Transfer-Encoding: chunked\n\n0x2\n{}\n0\n\n",
        "Transfer-Encoding: chunked\n\n-2\n{}\n0\n\n",
        "Transfer-Encoding: chunked\n\n2 \n{}\n0\n\n",
        "Transfer-Encoding: chunked\n\nfffffffffffffffff\n{}\n0\n\n",
        "Transfer-Encoding: chunked\n\n2\n{}x\n0\n\n",
        "X: y\0z\nContent-Length: 2\n\n{}",
        "X: y\rz\nContent-Length: 2\n\n{}",
        "Upgrade: other\nConnection: upgrade\n\n{}",
    ],
)
def test_an_answer_whose_end_can_be_read_in_two_ways_decides_nothing_and_ends_its_connection(
    raw: str,
) -> None:
    """Else what one reader takes for the rest of a body, another takes for the answer to the next action."""
    status = "101 Switching" if raw.startswith("Upgrade") else "200 OK"

    async def run() -> tuple[Receipt, Receipt, int]:
        script = iter([f"HTTP/1.1 {status}\n{raw}", "HTTP/1.1 409 Conflict\nContent-Length: 0\n\n"])

        async def behave(exchange: Exchange) -> None:
            await answers(next(script))(exchange)

        async with scripted_server(behave) as server:
            targets = HttpTargets(OneAddress(TargetAddress(server.url, networks=LOCAL)))
            [first] = await targets.deliver([DELIVERY])
            [second] = await targets.deliver([DELIVERY])
            await targets.close()
            return first, second, server.connections

    first, second, connections = asyncio.run(run())
    assert (first.outcome, first.reason) == ("unknown", "malformed_answer")
    assert second.http_status == 409
    assert connections == 2


@pytest.mark.parametrize("coding", ["identity", "xchunked", "chunked, identity", "gzip"])
def test_a_body_in_an_unknown_coding_has_no_end_and_is_unknown(coding: str) -> None:
    async def behave(exchange: Exchange) -> None:
        await exchange.answer(f"HTTP/1.1 200 OK\nTransfer-Encoding: {coding}\n\n2\n{{}}\n0\n\n")
        exchange.writer.close()

    async def run() -> Receipt:
        async with scripted_server(behave) as server:
            targets = HttpTargets(OneAddress(TargetAddress(server.url, networks=LOCAL)))
            [receipt] = await targets.deliver([DELIVERY])
            return receipt

    assert asyncio.run(run()) == Receipt("unknown", http_status=200, reason="connection_lost")


def test_a_trailer_overrules_no_header() -> None:
    """Who writes the end of a body, as a proxy that passes on another's words, does not speak for the target."""
    raw = "HTTP/1.1 429 Busy\nRetry-After: 5\nTransfer-Encoding: chunked\n\n2\n{}\n0\nRetry-After: 3600\n\n"

    async def run() -> Receipt:
        async with scripted_server(answers(raw)) as server:
            targets = HttpTargets(OneAddress(TargetAddress(server.url, networks=LOCAL)))
            [receipt] = await targets.deliver([DELIVERY])
            await targets.close()
            return receipt

    assert asyncio.run(run()).retry_after_seconds == 5.0
