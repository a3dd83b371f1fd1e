"""The proxy over plain sockets: a fault that is not what it says would prove nothing."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.eventually import assert_eventually
from tests.faults.proxy import (
    Address,
    BlackHole,
    Clean,
    Counts,
    CutAfter,
    Latency,
    NoMore,
    Proxy,
    Refuse,
    Reset,
    Tcp,
    Unix,
    postgresql_socket,
)

Connect = Callable[[], socket.socket]


@contextmanager
def echo_server(address: Address) -> Iterator[Address]:
    """Answers each byte with itself, and an end of sending with an end."""
    family = socket.AF_UNIX if isinstance(address, Unix) else socket.AF_INET
    with socket.socket(family) as listener:
        listener.bind(str(address.path) if isinstance(address, Unix) else (address.host, address.port))
        listener.listen()

        def serve(connection: socket.socket) -> None:
            with connection:
                try:
                    while data := connection.recv(65_536):
                        connection.sendall(data)
                except OSError:
                    return

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield address if isinstance(address, Unix) else Tcp(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture(params=["tcp", "unix"])
def proxy(request: pytest.FixtureRequest, home: Path) -> Iterator[Proxy]:
    """A proxy in front of an echo, once over each protocol."""
    is_unix = request.param == "unix"
    with (
        echo_server(Unix(home / "echo") if is_unix else Tcp()) as upstream,
        Proxy(postgresql_socket(home) if is_unix else Tcp(), upstream) as running,
    ):
        yield running


@pytest.fixture
def connect(proxy: Proxy) -> Iterator[Connect]:
    """Opens connections through the proxy; a second without an answer is none."""
    opened: list[socket.socket] = []

    def open_one() -> socket.socket:
        address = proxy.address
        client = socket.socket(socket.AF_UNIX if isinstance(address, Unix) else socket.AF_INET)
        opened.append(client)
        client.settimeout(5.0)
        client.connect(str(address.path) if isinstance(address, Unix) else (address.host, address.port))
        return client

    yield open_one
    for client in opened:
        client.close()


def echoed(client: socket.socket, data: bytes) -> bytes:
    """What comes back, up to the length of what was sent."""
    client.sendall(data)
    back = b""
    while len(back) < len(data):
        more = client.recv(65_536)
        if not more:
            break
        back += more
    return back


def is_dead(client: socket.socket) -> bool:
    """Whether the connection has ended, by a reset or by an end."""
    try:
        client.sendall(b"?")
        return client.recv(1) == b""
    except (ConnectionResetError, BrokenPipeError):
        return True


def test_without_a_fault_everything_passes_both_ways_and_is_counted(proxy: Proxy, connect: Connect) -> None:
    before = proxy.counts()
    data = bytes(range(256)) * 4096
    client = connect()
    writer = threading.Thread(target=client.sendall, args=(data,))
    writer.start()
    back = b""
    while len(back) < len(data):
        back += client.recv(65_536)
    writer.join()
    assert back == data
    client.shutdown(socket.SHUT_WR)
    assert client.recv(1) == b"", "an end of sending passes, too"
    assert proxy.counts().since(before) == Counts(1, len(data), len(data))


def test_latency_delays_what_passes_by_a_seeded_jitter(proxy: Proxy, connect: Connect) -> None:
    client = connect()
    proxy.switch(Latency(40, 10, seed=7))
    began = time.monotonic()
    assert echoed(client, b"slow") == b"slow"
    assert time.monotonic() - began >= 0.06, "forth and back, each at least 30 ms"
    assert proxy.hits() == 2


def test_a_black_hole_swallows_on_open_and_on_new_connections_and_they_are_dead_after_it(
    proxy: Proxy, connect: Connect
) -> None:
    """The other side never learns of it: neither an answer nor an end."""
    old = connect()
    assert echoed(old, b"before") == b"before"
    proxy.switch(BlackHole())
    new = connect()
    passed = proxy.counts()
    for client in (old, new):
        client.sendall(b"lost")
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.settimeout(5.0)
    now = proxy.counts()
    assert (now.to_upstream, now.to_client) == (passed.to_upstream, passed.to_client)
    assert_eventually(lambda: proxy.hits() >= 2)
    proxy.switch(Clean())
    assert is_dead(old)
    assert is_dead(new)
    assert echoed(connect(), b"after") == b"after"


def test_a_black_hole_is_forgotten_by_the_server_and_the_client_never_learns_of_it(home: Path) -> None:
    """As when a host is cut off for longer than the server's keepalive."""
    ended = threading.Event()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(home / "server"))
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection, suppress(ConnectionResetError):
                connection.recv(1)
            ended.set()

        threading.Thread(target=serve, daemon=True).start()
        with Proxy(Tcp(), Unix(home / "server")) as proxy:
            assert isinstance(proxy.address, Tcp)
            with socket.create_connection(("127.0.0.1", proxy.address.port), timeout=5) as client:
                assert_eventually(lambda: proxy.counts().connections == 1)
                proxy.switch(BlackHole(forgotten_after=0.1))
                assert ended.wait(10)
                client.sendall(b"lost")
                client.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    client.recv(1)
                client.settimeout(5.0)
                proxy.switch(Clean())
                assert is_dead(client)


def test_no_more_connections_leaves_the_open_ones_alone(proxy: Proxy, connect: Connect) -> None:
    old = connect()
    assert echoed(old, b"before") == b"before"
    proxy.switch(NoMore())
    with suppress(ConnectionResetError):
        assert is_dead(connect())
    assert echoed(old, b"still") == b"still"
    proxy.switch(Clean())
    assert echoed(connect(), b"after") == b"after"


def test_a_reset_ends_open_and_new_connections_at_once(proxy: Proxy, connect: Connect) -> None:
    old = connect()
    assert echoed(old, b"before") == b"before"
    proxy.switch(Reset())
    assert proxy.hits() == 1
    assert is_dead(old)
    with suppress(ConnectionResetError):
        assert is_dead(connect())
    proxy.switch(Clean())
    assert echoed(connect(), b"after") == b"after"


def test_a_refusal_answers_each_connection_itself_and_nothing_of_it_reaches_the_server(
    proxy: Proxy, connect: Connect
) -> None:
    """Otherwise an effect that counts as refused would have been applied."""
    old = connect()
    assert echoed(old, b"before") == b"before"
    passed = proxy.counts().to_upstream
    proxy.switch(Refuse())
    for client in (old, connect()):
        client.sendall(b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n")
        assert client.recv(65_536).startswith(b"HTTP/1.1 422 ")
        client.sendall(b"body")
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(1)
    assert proxy.hits() == 2
    assert proxy.counts().to_upstream == passed
    proxy.switch(Clean())
    assert is_dead(old)
    assert echoed(connect(), b"after") == b"after"


@pytest.mark.parametrize("direction", ["to_upstream", "to_client"])
def test_a_cut_lets_exactly_so_many_bytes_more_pass_in_its_direction(
    proxy: Proxy, connect: Connect, direction: str
) -> None:
    client = connect()
    assert echoed(client, b"before") == b"before"
    before = proxy.counts()
    proxy.switch(CutAfter(10, "to_upstream" if direction == "to_upstream" else "to_client"))
    back = b""
    try:
        client.sendall(b"0123456789abcdef")
        while more := client.recv(64):
            back += more
    except (ConnectionResetError, BrokenPipeError):
        pass
    passed = proxy.counts().since(before)
    assert (passed.to_upstream if direction == "to_upstream" else passed.to_client) == 10
    assert len(back) <= 10
    assert proxy.hits() == 1
    assert is_dead(client)
    proxy.switch(Clean())
    assert echoed(connect(), b"after") == b"after"


def test_tcp_connections_are_reset_and_not_merely_closed() -> None:
    """What a crashed host's kernel answers with: the sender gets an error, not an end."""
    with (
        echo_server(Tcp()) as upstream,
        Proxy(Tcp(), upstream) as proxy,
        socket.create_connection(("127.0.0.1", proxy.address.port)) as client,  # type: ignore[union-attr]
    ):
        assert echoed(client, b"before") == b"before"
        proxy.switch(Reset())
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_a_client_of_a_dead_upstream_sees_an_end(home: Path) -> None:
    with Proxy(Tcp(), Unix(home / "nobody")) as proxy:
        assert isinstance(proxy.address, Tcp)
        with socket.create_connection(("127.0.0.1", proxy.address.port)) as client:
            client.settimeout(5.0)
            assert is_dead(client)
