"""Locks in Redis, in front of PostgreSQL: one round trip for a batch, a random owner, compare-and-delete.

Redis may forget them at any moment. They save the truth contention and carry no promise.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import redis

from app.data_plane.ports import Held
from app.kernel.errors import TransientError

_PREFIX = "interlock:lock:"
_ACQUIRE = """
local taken = {}
for index, key in ipairs(KEYS) do
    if redis.call('SET', key, ARGV[1], 'NX', 'PX', ARGV[2]) then taken[#taken + 1] = index end
end
return taken
"""
_RELEASE = """
for _, key in ipairs(KEYS) do
    if redis.call('GET', key) == ARGV[1] then redis.call('DEL', key) end
end
"""


class RedisFrontLock:
    """``FrontLock`` over Redis."""

    def __init__(self, client: redis.Redis) -> None:
        self._acquire = client.register_script(_ACQUIRE)
        self._release = client.register_script(_RELEASE)

    def acquire(self, names: Sequence[str], seconds: float) -> Held:
        """Take what is free, in one round trip. Raises TransientError when Redis does not answer."""
        token = secrets.token_hex(16)
        try:
            taken = self._acquire(
                keys=[_PREFIX + name for name in names], args=[token, max(1, int(seconds * 1000))]
            )
        except redis.RedisError as error:
            raise TransientError(f"Redis did not lock ({type(error).__name__}).") from error
        return Held(tuple(names[index - 1] for index in taken), token)

    def release(self, held: Held) -> None:
        """Give back what is still ours. Raises TransientError when Redis does not answer."""
        try:
            self._release(keys=[_PREFIX + name for name in held.names], args=[held.token])
        except redis.RedisError as error:
            raise TransientError(f"Redis did not unlock ({type(error).__name__}).") from error
