"""How long a circuit breaker was open, from the history of its moves: pure.

Open is open: half-open lets a probe through and is not counted. What a person ordered is not counted either: a breaker
that is forced open moves on by itself underneath, and the questions that the order held back are counted as refusals.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

from app.data_plane.breakers import BreakerState


class Move(NamedTuple):
    """Where a breaker went, and when."""

    to_state: BreakerState
    at: datetime


def open_seconds(moves: Sequence[Move], since: datetime | None, until: datetime) -> float:
    """Of the seconds from ``since`` (the beginning, without it) to ``until``, those in which the breaker was open.

    Args:
        moves: in the order of time, from the last one before ``since`` on.
    """
    total = 0.0
    for move, end in pairwise([*moves, Move("closed", until)]):
        if move.to_state == "open":
            begins = move.at if since is None else max(move.at, since)
            total += max(0.0, (min(end.at, until) - begins).total_seconds())
    return total
