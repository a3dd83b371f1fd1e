"""A relay in front of a database's Unix socket that counts what its callers send, by who they say they are."""

from __future__ import annotations

import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

SOCKET = ".s.PGSQL.5432"
_NAME = b"application_name"


class CountingRelay:
    """Passes every byte on, and counts those that callers send by their ``application_name``."""

    def __init__(self, behind: Path, listener: socket.socket) -> None:
        self._behind = behind
        self._listener = listener
        self._lock = threading.Lock()
        self._sent: Counter[str] = Counter()
        self._open: set[socket.socket] = set()

    def sent(self, *but: str) -> int:
        """Bytes that were sent to the database so far, except by the applications named."""
        with self._lock:
            return sum(size for name, size in self._sent.items() if name not in but)

    def serve(self) -> None:
        """Accept callers until the listener is closed."""
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(caller,), daemon=True).start()

    def close(self) -> None:
        """Take no more callers and let go of those that are here."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for one in self._open:
                _shut(one)

    def _pass_on(self, caller: socket.socket) -> None:
        with caller, socket.socket(socket.AF_UNIX) as database:
            database.connect(str(self._behind))
            with self._lock:
                self._open |= {caller, database}
            threading.Thread(target=_copy, args=(database, caller), daemon=True).start()
            name = ""
            while data := _received(caller):
                name = name or _application(data)
                with self._lock:
                    self._sent[name] += len(data)
                database.sendall(data)
            _shut(database)
            with self._lock:
                self._open -= {caller, database}


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := _received(source):
            sink.sendall(data)
    _shut(sink)


def _received(source: socket.socket) -> bytes:
    try:
        return source.recv(65536)
    except OSError:
        return b""


def _shut(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


def _application(startup: bytes) -> str:
    """The name in a startup message: postgresql.org/docs/current/protocol-message-formats.html."""
    length, _version = struct.unpack("!II", startup[:8])
    words = startup[8:length].split(b"\0")
    return words[words.index(_NAME) + 1].decode() if _NAME in words else "?"


@contextmanager
def counting_relay(database_url: str, folder: Path) -> Iterator[tuple[CountingRelay, str]]:
    """The relay, until the block ends, and the database's address through it."""
    (behind,) = parse_qs(urlsplit(database_url).query)["host"]
    folder.mkdir(parents=True, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / SOCKET))
    listener.listen(64)
    relay = CountingRelay(Path(behind) / SOCKET, listener)
    threading.Thread(target=relay.serve, daemon=True).start()
    try:
        yield relay, database_url.partition("?")[0] + "?host=" + quote(str(folder), safe="")
    finally:
        relay.close()
