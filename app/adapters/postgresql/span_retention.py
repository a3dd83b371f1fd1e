"""Spans that are old enough are removed by the service itself, a batch at a time: nobody has to think of it."""

from __future__ import annotations

import time
from collections.abc import Callable

from app.adapters.postgresql.database import Database

BATCH = 10_000
"""Spans in one transaction, which is over in about a tenth of a second."""
BATCHES = 3
"""At once; whoever does it has other work to do."""
PAUSE_SECONDS = 60.0
"""Between two looks that left nothing behind."""

_REMOVING = 0x7370616E73676F6E  # "spansgon": the advisory lock of the one removal at a time
_ALONE = "SELECT pg_try_advisory_xact_lock(%s)"
_REMOVE = """
DELETE FROM spans WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM spans
    WHERE end_ns < (extract(epoch FROM clock_timestamp()) * 1000000000 - %s)::bigint ORDER BY end_ns LIMIT %s))
"""


class SpanRetention:
    """Removes spans by their age.

    Args:
        database: under the role ``interlock_retention``.
        hours: how long spans are kept after their end.
        clock: monotonic seconds.
    """

    def __init__(self, database: Database, hours: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._nanoseconds = int(hours * 3600 * 1_000_000_000)
        self._clock = clock
        self._again_at = float("-inf")

    def remove_old(self) -> int:
        """Remove some of what is too old, if it is time to look again; returns how many spans.

        Raises TransientError when the database does not answer.
        """
        now = self._clock()
        if now < self._again_at:
            return 0
        self._again_at = now + PAUSE_SECONDS
        removed = 0
        for _ in range(BATCHES):
            count = self._remove_batch()
            removed += count
            if count < BATCH:
                return removed
        # More are waiting: the next message goes on.
        self._again_at = now
        return removed

    def _remove_batch(self) -> int:
        with self._database.transaction() as connection:
            row = connection.execute(_ALONE, [_REMOVING]).fetchone()
            if row is None or not row[0]:
                return 0
            return connection.execute(_REMOVE, [self._nanoseconds, BATCH]).rowcount
