"""Time, as a port: the planes are handed a clock and never ask the machine."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where the wall-clock time comes from. It enters facts as ``at`` and never a digest of a decision."""

    def now(self) -> datetime:
        """The current time, in UTC and with its zone."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The current time, in UTC and with its zone."""
        return datetime.now(UTC)


def to_text(moment: datetime) -> str:
    """RFC 3339 with microseconds and ``Z``."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"
