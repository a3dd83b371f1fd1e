"""Looks into Redis all the time, also while messages wait there, and keeps whatever it saw."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Self

import redis

from tests.canaries.service import Running

PAUSE_SECONDS = 0.1


class RedisWatch:
    """Every key and value of every database, a few times a second, for as long as the ``with`` block lasts."""

    def __init__(self, one: Running) -> None:
        self._one = one
        self._seen: dict[str, set[bytes]] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="redis-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(10)

    def seen(self) -> Mapping[str, bytes]:
        """What was seen, by key."""
        return {key: b"\n".join(values) for key, values in self._seen.copy().items()}

    def _watch(self) -> None:
        with self._one.redis() as client:
            while not self._ended.wait(PAUSE_SECONDS):
                try:
                    for key in client.scan_iter(count=1000):
                        self._seen.setdefault(key.decode(errors="replace"), set()).update(
                            [key, *_values(client, key)]
                        )
                except redis.RedisError:
                    continue


def _values(client: redis.Redis, key: bytes) -> Iterator[bytes]:
    match client.type(key):
        case b"string":
            yield client.get(key) or b""
        case b"list":
            yield from client.lrange(key, 0, -1)
        case b"set":
            yield from client.smembers(key)
        case b"hash":
            for name, value in client.hgetall(key).items():
                yield name + b" " + value
        case b"zset":
            yield from client.zrange(key, 0, -1)
        case b"stream":
            yield repr(client.xrange(key)).encode()
