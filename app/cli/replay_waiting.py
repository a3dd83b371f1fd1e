"""Waiting for what comes out of requested replays, and of the orchestrations that they are about."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.adapters.postgresql.reading import WAITS_FOR_PEOPLE
from app.cli.replay_at_hand import ReplayAtHand
from app.data_plane.replay.register import ReplayRow
from app.data_plane.replay.request import Requested
from app.kernel.errors import TransientError
from app.kernel.facts import TERMINAL

_OVER = TERMINAL | WAITS_FOR_PEOPLE
POLL_SECONDS = 0.2
QUIET_SECONDS = 15.0
"""How long nobody may take a replay that is due, before a person is told that nobody does."""


class NotTakenError(TransientError):
    """No worker serves the queue of replays."""

    code = "not_taken"


@dataclass(frozen=True, slots=True)
class CameOut:
    """What came out of one replay so far: its row, and the orchestration that it is about or has started."""

    row: ReplayRow
    orchestration_id: str
    status: str

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes of it by itself."""
        return self.row.finished_at is not None and (self.row.state != "done" or self.status in _OVER)

    @property
    def is_good(self) -> bool:
        """Whether it was carried out, and what it is about has not given up again."""
        return self.row.state == "done" and self.status not in {"dead_lettered", "failed"}


def wait(
    at_hand: ReplayAtHand,
    requested: Sequence[Requested],
    *,
    seconds: float,
    tell: Callable[[int], None] = lambda _over: None,
) -> list[CameOut]:
    """What came out, in the order of the requests; after so many seconds as far as it has come by then.

    Args:
        seconds: how long is waited once the last of them is due.
        tell: told how many are over, each time that is looked at.

    Raises NotTakenError when nobody takes what is due; the replays stay requested.
    """
    end = heard = time.monotonic()
    before = -1
    while True:
        came_out = look(at_hand, requested)
        over = sum(one.is_over for one in came_out)
        tell(over)
        if over == len(came_out):
            return came_out
        waiting = [one.row.replay_id for one in came_out if one.row.finished_at is None]
        standing = at_hand.replays.standing(waiting)
        due = [key for key, one in standing.items() if one.due and not one.attempts]
        now = time.monotonic()
        if any(not one.due for one in standing.values()):
            end = now
        if not due or len(waiting) != before:
            heard, before = now, len(waiting)
        if now - heard > QUIET_SECONDS:
            raise _not_taken(due, now - heard)
        if now - end > seconds:
            return came_out
        if due:
            at_hand.desk.ring()
        time.sleep(POLL_SECONDS)


def look(at_hand: ReplayAtHand, requested: Sequence[Requested]) -> list[CameOut]:
    """What came out so far, in the order of the requests."""
    tenants = sorted({one.subject.tenant_id for one in requested})
    rows = at_hand.replays.named(tenants, [one.replay_id for one in requested])
    about = {key: row.new_orchestration_id or row.orchestration_id for key, row in rows.items()}
    states = at_hand.reading.states(sorted(set(about.values())))
    return [
        CameOut(rows[one.replay_id], about[one.replay_id], states.get(about[one.replay_id], ""))
        for one in requested
    ]


def _not_taken(due: Sequence[str], seconds: float) -> NotTakenError:
    return NotTakenError(
        f"For {seconds:.0f} s no worker has taken {len(due)} replays that are due, such as {due[0]}.",
        "They stay requested. Start a worker of the queue `replay` (`python -m app up` has one), and look at what"
        " came out with `python -m app audit replays`.",
    )
