"""The history of circuit breakers as counters: how often they moved, and how long they have been open in all.

Moves are written a moment after they happened, so open seconds are told when they are ``SETTLED_SECONDS`` old: what was
told is kept and never taken back, whoever tells it next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.adapters.postgresql.database import Connection, Database, was_outrun
from app.adapters.postgresql.fact_counts import ADD, COUNTING
from app.data_plane.breaker_time import Move, open_seconds
from app.data_plane.breakers import BreakerName, BreakerReading
from app.kernel.errors import TransientError
from app.telemetry import metric_names as names

SETTLED_SECONDS = 5.0
"""How long after it a second of a breaker is told."""
_MICROSECONDS = 1_000_000

_MOMENT = """
SELECT pg_try_advisory_xact_lock(%s), clock_timestamp(), breakers_until FROM fact_counts_position
"""
# A loose index scan: a few reads for each breaker, however often they moved.
_KNOWN = """
WITH RECURSIVE known AS (
    (SELECT provider, model FROM breaker_changes ORDER BY provider, model LIMIT 1)
    UNION ALL
    SELECT next.provider, next.model FROM known, LATERAL (
        SELECT c.provider, c.model FROM breaker_changes c
        WHERE (c.provider, c.model) > (known.provider, known.model) ORDER BY c.provider, c.model LIMIT 1
    ) next
)
"""
_NAMES = f"{_KNOWN} SELECT provider, model FROM known"  # noqa: S608 - of the text above
# The last move before the time, and all that came after it.
_MOVES = f"""{_KNOWN}
SELECT known.provider, known.model, moves.to_state, moves.at FROM known, LATERAL (
    (SELECT c.to_state, c.at FROM breaker_changes c WHERE c.provider = known.provider AND c.model = known.model
     AND c.at <= %(since)s ORDER BY c.at DESC LIMIT 1)
    UNION ALL
    SELECT c.to_state, c.at FROM breaker_changes c WHERE c.provider = known.provider AND c.model = known.model
     AND c.at > %(since)s
) moves ORDER BY known.provider, known.model, moves.at
"""  # noqa: S608 - likewise
_OPEN = "SELECT labels, value FROM fact_counts WHERE metric = %s"
_CHANGES = "SELECT provider, model, to_state, count(*) FROM breaker_changes GROUP BY 1, 2, 3"


@dataclass(frozen=True, slots=True)
class BreakerHistory:
    """What the moves of all breakers come to."""

    open_seconds: Mapping[BreakerName, float]
    """Up to ``SETTLED_SECONDS`` ago."""
    changes: Mapping[tuple[BreakerName, str], int]
    """By breaker and where to."""
    last: Mapping[BreakerName, Move]


class PostgresqlBreakerHistory:
    """Reads, and adds up, under the role ``interlock_metrics``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def names(self) -> frozenset[BreakerName]:
        """Every breaker that ever moved. Raises TransientError."""
        with self._database.transaction() as connection:
            return frozenset(BreakerName(*row) for row in connection.execute(_NAMES))

    def read(self, readings: Mapping[BreakerName, BreakerReading] | None = None) -> BreakerHistory:
        """The history as of now. Raises TransientError.

        Args:
            readings: where Redis says that breakers stand. It knows of moves before they are written here.
        """
        try:
            return self._read(readings or {})
        except TransientError as error:
            if not was_outrun(error):
                raise
            return self._read(readings or {})

    def _read(self, readings: Mapping[BreakerName, BreakerReading]) -> BreakerHistory:
        with self._database.transaction() as connection:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            row = connection.execute(_MOMENT, [COUNTING]).fetchone()
            assert row is not None, "the migration has put it there"
            alone, now, since = bool(row[0]), row[1], row[2]
            moves = _moves(connection, since)
            changes = {
                (BreakerName(provider, model), to): int(count)
                for provider, model, to, count in connection.execute(_CHANGES)
            }
            last = {name: listed[-1] for name, listed in moves.items()}
            for name, reading in readings.items():
                if name in moves:
                    moves[name] += _not_written(reading, last[name])
            totals = self._add_up(connection, moves, since, now, keep=alone)
        return BreakerHistory(totals, changes, last)

    def _add_up(
        self,
        connection: Connection,
        moves: Mapping[BreakerName, list[Move]],
        since: datetime | None,
        now: datetime,
        *,
        keep: bool,
    ) -> dict[BreakerName, float]:
        found = connection.execute(_OPEN, [names.CIRCUIT_OPEN_SECONDS])
        stored = {BreakerName(*labels): int(value) for labels, value in found}
        added: dict[BreakerName, int] = {}
        if keep:
            settled = now - timedelta(seconds=SETTLED_SECONDS)
            if since is not None:
                settled = max(settled, since)
            for name, listed in moves.items():
                added[name] = round(open_seconds(listed, since, settled) * _MICROSECONDS)
            rows = [
                (names.CIRCUIT_OPEN_SECONDS, [name.provider, name.model], count)
                for name, count in sorted(added.items())
                if count
            ]
            with connection.cursor() as cursor:
                cursor.executemany(ADD, rows)
            connection.execute("UPDATE fact_counts_position SET breakers_until = %s", [settled])
        return {name: (stored.get(name, 0) + added.get(name, 0)) / _MICROSECONDS for name in moves}


def _not_written(reading: BreakerReading, last: Move) -> Sequence[Move]:
    """What Redis knows beyond the last written move: a later one, or that it has forgotten the breaker."""
    if reading.since is not None and reading.since > last.at:
        return [Move(reading.state, reading.since)]
    if reading.state != "open" and last.to_state == "open" and reading.now > last.at:
        # Nobody knows when it ended, so nothing is counted.
        return [Move(reading.state, last.at)]
    return ()


def _moves(connection: Connection, since: datetime | None) -> dict[BreakerName, list[Move]]:
    moves: dict[BreakerName, list[Move]] = {}
    for provider, model, to, at in connection.execute(_MOVES, {"since": since or "-infinity"}):
        moves.setdefault(BreakerName(provider, model), []).append(Move(to, at))
    return moves
