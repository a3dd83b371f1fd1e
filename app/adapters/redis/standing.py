"""What Redis says of now, for gauges: messages that wait, workers that gave a sign of life, where breakers stand."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import redis

from app.adapters.redis.breaker_states import BreakerStates
from app.data_plane.breakers import BreakerName, BreakerReading
from app.kernel.errors import TransientError

SIGNS = "interlock:workers:seen"
"""A sorted set: by worker's node name the second, on Redis's clock, of its last sign of life."""

UP_SECONDS = 10.0
"""How old a sign may be; workers give one every two seconds, with Celery's heartbeat."""

FORGOTTEN_SECONDS = 900.0
"""How long a worker that was lost is told of as down."""

PRIORITIES = ("", "\x06\x163", "\x06\x166", "\x06\x169")
"""What kombu's Redis transport adds to a queue's name for each of its steps of priority."""


@dataclass(frozen=True, slots=True)
class RedisStanding:
    """What there is now."""

    lengths: Mapping[str, int]
    """Messages by queue."""
    workers: Mapping[str, bool]
    """By node name: whether it lives."""
    breakers: Mapping[BreakerName, BreakerReading]


class SignsOfLife:
    """A worker's, in Redis: which nodes there are, and which were lost. Safety rests on none of it."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def give(self, node: str) -> None:
        """This node lives. Raises redis.RedisError."""
        self._client.eval(
            "local t = redis.call('TIME') return redis.call('ZADD', KEYS[1], t[1], ARGV[1])", 1, SIGNS, node
        )

    def leave(self, node: str) -> None:
        """This node ends as it should, and nobody misses it. Raises redis.RedisError."""
        self._client.zrem(SIGNS, node)


class RedisReading:
    """Reads; the only thing that it removes are the signs of workers that were lost long ago."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._states = BreakerStates(client)

    def read(self, queues: Sequence[str], breakers: Collection[BreakerName]) -> RedisStanding:
        """Everything in a few round trips. Raises TransientError."""
        try:
            return self._read(queues, breakers)
        except (redis.RedisError, OSError) as error:
            raise TransientError(
                f"Redis did not answer ({type(error).__name__}).",
                "Check that Redis is up (`python -m app status`).",
            ) from error

    def _read(self, queues: Sequence[str], breakers: Collection[BreakerName]) -> RedisStanding:
        seconds = int(self._client.time()[0])
        pipeline = self._client.pipeline(transaction=False)
        for queue in queues:
            for suffix in PRIORITIES:
                pipeline.llen(queue + suffix)
        pipeline.zremrangebyscore(SIGNS, "-inf", seconds - FORGOTTEN_SECONDS)
        pipeline.zrange(SIGNS, 0, -1, withscores=True)
        *lengths, _, signs = pipeline.execute()
        step = len(PRIORITIES)
        return RedisStanding(
            lengths={
                queue: sum(lengths[index * step : (index + 1) * step]) for index, queue in enumerate(queues)
            },
            workers={node.decode(errors="replace"): seconds - seen <= UP_SECONDS for node, seen in signs},
            breakers=self._states.read(breakers),
        )
