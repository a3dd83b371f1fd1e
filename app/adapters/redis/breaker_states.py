"""Where circuit breakers stand, shared in Redis and moved by pybreaker.

pybreaker is the state machine: it decides whether a question passes, and when a breaker opens, half-opens and closes.
What its own lock and its Redis storage would get wrong (1.4.1, from its source) has a remedy each:

- ``CircuitBreaker.call`` holds the breaker's lock while the guarded function runs, so calls would go one by one. Here
  no model is called inside: each bit of bookkeeping makes a CircuitBreaker of its own over one reading, admits a
  generator function that never runs, and later tells another CircuitBreaker what came of the question.
- In half-open it lets every call through. Here a probe needs a token in Redis, set where there is none, with an expiry:
  one at a time in the whole fleet, and when its holder dies the next one goes when the interval is over.
- It counts an outcome whenever it comes: a call that began before the opening opens it again (and prolongs it), or
  closes it. Here every move gives the breaker a new *turn*, and an outcome counts only in the turn that admitted it.
- ``CircuitRedisStorage`` keeps ``opened_at`` in whole seconds of the process's own clock, so that a breaker is tried up
  to a second early, and early or late by how much two clocks differ. Here it is milliseconds of Redis's clock.
- It reads and writes each field by itself (three round trips for a failure, eight for an opening, with races in
  between), sets the state without looking at what it was, and logs a stack trace for each command that fails. Here
  each look, each outcome and each move is one script; a move happens only from the turn that was read, so one process
  makes it and knows that it did; and errors are the caller's. The fields are one hash: Redis forgets all of them or
  none.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Generator, Iterable
from datetime import UTC, datetime, timedelta
from typing import cast, get_args

import pybreaker
import redis

from app.data_plane.breakers import BreakerChange, BreakerName, BreakerReading, BreakerState
from app.data_plane.models import Admission, Told
from app.kernel.release import BreakerPolicy

_log = logging.getLogger(__name__)

STATE_PREFIX = "interlock:breaker:state:"
PROBE_PREFIX = "interlock:breaker:probe:"
KEPT_SECONDS = 86_400
"""How long Redis keeps a breaker that nobody asks; longer than any breaker stays open."""
_KEPT_MS = KEPT_SECONDS * 1000

_NOW = "local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"
_READ = """
local held = redis.call('HMGET', KEYS[1], 'state', 'turn', 'failures', 'since')
local state, turn, failures, since = held[1] or 'closed', held[2] or '', tonumber(held[3] or '0'), held[4] or ''
"""
_LOOK = f"""{_NOW}{_READ}
return {{state, turn, failures, since, now, redis.call('EXISTS', KEYS[2])}}
"""

# ARGV: the token of the admission, its turn, what came of it, how long the hash is kept.
_TELL = f"""{_NOW}{_READ}
if turn ~= ARGV[2] then return false end
if ARGV[3] == 'neither' then
    if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
    return false
end
if ARGV[3] == 'failed' then
    failures = redis.call('HINCRBY', KEYS[1], 'failures', 1)
    redis.call('PEXPIRE', KEYS[1], ARGV[4])
elseif failures > 0 and state == 'closed' then
    redis.call('HSET', KEYS[1], 'failures', 0)
end
return {{state, turn, failures, since, now, redis.call('EXISTS', KEYS[2])}}
"""

# ARGV: the turn it moves from, the state it moves to, the new turn, a probe's token, how long that lasts, and the hash.
# Returns nothing where somebody was faster, 0 for a further probe of the same turn, or when it moved.
_MOVE = f"""{_NOW}{_READ}
if turn ~= ARGV[1] then return false end
if ARGV[2] == 'half-open' then
    if not redis.call('SET', KEYS[2], ARGV[4], 'NX', 'PX', ARGV[5]) then return false end
    if state == 'half-open' then return 0 end
else
    redis.call('DEL', KEYS[2])
end
redis.call('HSET', KEYS[1], 'state', ARGV[2], 'turn', ARGV[3], 'since', string.format('%.0f', now))
if ARGV[2] == 'closed' then redis.call('HSET', KEYS[1], 'failures', 0) end
redis.call('PEXPIRE', KEYS[1], ARGV[6])
return now
"""


class _ProviderFailedError(Exception):
    """What pybreaker is told for a failure; it never leaves this module."""


class _Sheet(pybreaker.CircuitBreakerStorage):
    """pybreaker's storage for one bit of bookkeeping: one reading, on which it writes where it wants to move."""

    def __init__(self, reading: BreakerReading) -> None:
        super().__init__("interlock")
        self._state: str = reading.state
        self._failures = reading.failures
        self._successes = 0
        # By Redis's clock, then brought to that of this process, which pybreaker compares it with.
        since = reading.since or reading.now
        self._opened_at = datetime.now(UTC) - max(timedelta(0), reading.now - since)
        self.moved_to: BreakerState | None = None

    @property
    def state(self) -> str:
        """What was read, or where pybreaker moved."""
        return self._state

    @state.setter
    def state(self, state: str) -> None:
        self._state = state
        self.moved_to = cast(BreakerState, state)

    def increment_counter(self) -> None:
        """Nothing: the script that told of the failure has counted it, in the same round trip."""

    def reset_counter(self) -> None:
        """In the reading only: the script has done it."""
        self._failures = 0

    def increment_success_counter(self) -> None:
        """A probe's success; one is enough to close."""
        self._successes += 1

    def reset_success_counter(self) -> None:
        """See ``increment_success_counter``."""
        self._successes = 0

    @property
    def counter(self) -> int:
        """Failures in a row."""
        return self._failures

    @property
    def success_counter(self) -> int:
        """Of probes."""
        return self._successes

    @property
    def opened_at(self) -> datetime | None:
        """When it opened."""
        return self._opened_at

    @opened_at.setter
    def opened_at(self, datetime: datetime) -> None:
        """Nothing: the script that moves it writes the time, by Redis's clock."""


def _not_run() -> Generator[None, None, None]:
    """What pybreaker admits. It makes the generator and leaves it, as its own ``calling`` does before the block."""
    yield


def _fail() -> None:
    raise _ProviderFailedError


def _succeed() -> None:
    return


class BreakerStates:
    """The breakers' bookkeeping: short blocking calls, of one round trip, or two where a breaker moves or is probed.

    Each raises redis.RedisError when Redis does not answer; ``admit`` and ``tell`` ValueError for what is no breaker's
    state.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._look = client.register_script(_LOOK)
        self._tell = client.register_script(_TELL)
        self._move = client.register_script(_MOVE)

    def admit(self, name: BreakerName, policy: BreakerPolicy) -> tuple[Admission, BreakerChange | None]:
        """Whether a question may be asked now, and the change that was made for it."""
        reading = _reading(self._look(keys=_keys(name)))
        sheet = _Sheet(reading)
        try:
            _breaker(sheet, policy).call(_not_run)
        except pybreaker.CircuitBreakerError:
            return Admission(False, reason="open"), None
        if sheet.state == "closed":
            return Admission(True, token=reading.turn), None
        # pybreaker lets everybody through who comes to a half-open breaker: only one has the token.
        if reading.probing:
            return Admission(False, reason="half-open"), None
        turn = secrets.token_hex(8) if sheet.moved_to is not None else reading.turn
        token = f"{turn}/{secrets.token_hex(8)}"
        moved = self._try_to_move(name, policy, reading, "half-open", turn, token)
        if moved is None:
            return Admission(False, reason="half-open"), None
        made = moved if sheet.moved_to is not None else 0
        reason = f"open for {policy.open_seconds:g} s"
        return Admission(True, probe=True, token=token), _change(
            name, reading, "half-open", turn, reason, made
        )

    def tell(
        self, name: BreakerName, policy: BreakerPolicy, admission: Admission, told: Told
    ) -> BreakerChange | None:
        """What came of an admitted question; the change that followed from it and was made here."""
        turn = admission.token.partition("/")[0]
        answer = self._tell(keys=_keys(name), args=[admission.token, turn, told, _KEPT_MS])
        if answer is None:
            return None
        reading = _reading(answer)
        sheet = _Sheet(reading)
        with contextlib.suppress(_ProviderFailedError):
            _breaker(sheet, policy).call(_fail if told == "failed" else _succeed)
        if sheet.moved_to is None:
            return None
        turn, to = secrets.token_hex(8), sheet.moved_to
        moved = self._try_to_move(name, policy, reading, to, turn, "")
        return _change(name, reading, to, turn, _why(reading, to), moved or 0)

    def read(self, names: Iterable[BreakerName]) -> dict[BreakerName, BreakerReading]:
        """Where these breakers stand, in one round trip; without those of which Redis holds something else."""
        wanted = list(names)
        with self._client.pipeline(transaction=False) as pipeline:
            for name in wanted:
                self._look(keys=_keys(name), client=pipeline)
            found = pipeline.execute()
        readings: dict[BreakerName, BreakerReading] = {}
        for name, answer in zip(wanted, found, strict=True):
            try:
                readings[name] = _reading(answer)
            except ValueError as error:
                _log.warning("the breaker of %s cannot be read: %s; delete %s", name, error, _keys(name)[0])
        return readings

    def kept(self) -> set[BreakerName]:
        """Every breaker of which Redis holds anything."""
        keys = self._client.scan_iter(match=f"{STATE_PREFIX}*", count=1000)
        parts = (key.decode().removeprefix(STATE_PREFIX).partition(":") for key in keys)
        return {BreakerName(provider, model) for provider, _, model in parts}

    def _try_to_move(
        self,
        name: BreakerName,
        policy: BreakerPolicy,
        reading: BreakerReading,
        to: BreakerState,
        turn: str,
        token: str,
    ) -> int | None:
        """When it moved, in milliseconds; 0 for a probe without a move; None where somebody was faster."""
        probe_ms = max(1, int(policy.open_seconds * 1000))
        moved = self._move(keys=_keys(name), args=[reading.turn, to, turn, token, probe_ms, _KEPT_MS])
        return int(moved) if moved is not None else None


def _breaker(sheet: _Sheet, policy: BreakerPolicy) -> pybreaker.CircuitBreaker:
    return pybreaker.CircuitBreaker(
        fail_max=policy.failures,
        reset_timeout=policy.open_seconds,
        state_storage=sheet,
        throw_new_error_on_trip=False,
    )


def _keys(name: BreakerName) -> list[str]:
    # A provider's name has no colon, so two breakers never share a key.
    own = f"{name.provider}:{name.model}"
    return [STATE_PREFIX + own, PROBE_PREFIX + own]


def _reading(answer: list[bytes | int]) -> BreakerReading:
    """What a script answered. Raises ValueError for what no script of these wrote."""
    state, turn, failures, since, now, probing = answer
    word = state.decode() if isinstance(state, bytes) else ""
    if word not in get_args(BreakerState):
        raise ValueError(f"{word!r} is no state of a circuit breaker")
    return BreakerReading(
        state=cast(BreakerState, word),
        turn=turn.decode() if isinstance(turn, bytes) else "",
        failures=int(failures),
        since=_since(since),
        now=_moment(int(now)),
        probing=bool(probing),
    )


def _since(value: bytes | int) -> datetime | None:
    try:
        return _moment(int(value)) if value else None
    except (OverflowError, OSError) as error:
        raise ValueError(f"{value!r} is no time") from error


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _change(
    name: BreakerName, reading: BreakerReading, to: BreakerState, turn: str, reason: str, moved: int
) -> BreakerChange | None:
    """The change, if it was made here. Its id is the turn that it began: there is one for each."""
    return BreakerChange(turn, name, reading.state, to, reason, _moment(moved)) if moved else None


def _why(reading: BreakerReading, to: BreakerState) -> str:
    if to == "closed":
        return "the probe was answered"
    return "the probe failed" if reading.state == "half-open" else f"{reading.failures} failures in a row"
