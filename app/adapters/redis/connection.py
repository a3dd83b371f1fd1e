"""Redis clients whose time-outs, retries and pool size are ours.

redis-py 8 has a time-out of 5 s, hidden retries and a cap of 100 connections by default.
"""

from __future__ import annotations

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

SOCKET_SECONDS = 2.0


def connect(url: str, *, most_connections: int = 32, socket_seconds: float = SOCKET_SECONDS) -> redis.Redis:
    """A client without hidden retries: what fails, fails within ``socket_seconds``."""
    return redis.Redis.from_url(
        url,
        socket_timeout=socket_seconds,
        socket_connect_timeout=socket_seconds,
        retry=Retry(NoBackoff(), 0),
        max_connections=most_connections,
        health_check_interval=30,
    )
