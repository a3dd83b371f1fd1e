"""Replays from the command line: the desk over the database at hand, and what a name on the command line means."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.adapters.postgresql.database import Database
from app.adapters.postgresql.reading import Reading
from app.adapters.postgresql.replays import PostgresqlReplays
from app.adapters.postgresql.store import PostgresqlStore
from app.cli.recording_at_hand import recording_at_hand
from app.data_plane.ports import Carrier, Queue, StageCanvas
from app.data_plane.replay.refusals import NotReplayableError, UnknownOrchestrationError
from app.data_plane.replay.register import REPLAY_PREFIX, ReplayRow
from app.data_plane.replay.request import ReplayDesk, Subject
from app.kernel.clock import SystemClock
from app.kernel.errors import NotFoundError

SHORTEST_BEGINNING = 8


class UnknownReplayError(NotFoundError):
    """No replay goes by that id."""

    code = "unknown_replay"


class LateCarrier:
    """A carrier that is made when it first rings: planning a replay needs neither Celery nor Redis."""

    def __init__(self) -> None:
        self._made: Carrier | None = None

    def ring(self, queue: Queue) -> None:
        """See ``Carrier.ring``."""
        self._carrier().ring(queue)

    def publish(self, canvas: StageCanvas) -> None:
        """See ``Carrier.publish``."""
        self._carrier().publish(canvas)

    def _carrier(self) -> Carrier:
        if self._made is None:
            from app.bootstrap import doorbells

            self._made = doorbells()
        return self._made


class Doorbells(LateCarrier):
    """Rings also for the runs of a stage: without a service a canvas would wait for Redis, and a ring does not."""

    def publish(self, canvas: StageCanvas) -> None:  # noqa: ARG002 - a ring says only where
        """See ``Carrier.publish``."""
        self.ring(Queue.AGENT_RUNS)


@dataclass(frozen=True, slots=True)
class ReplayAtHand:
    """What the replay commands work with."""

    database: Database
    reading: Reading
    store: PostgresqlStore
    replays: PostgresqlReplays
    desk: ReplayDesk

    def subject(self, name: str) -> Subject:
        """The orchestration of that id, or of the only id that begins so.

        Raises:
            UnknownOrchestrationError: there is none, or there are several.
            NotReplayableError: it is the id of a replay.
        """
        if name.startswith(REPLAY_PREFIX):
            raise _itself_a_replay(name, self.replays.beginning(self.reading.tenants(), name))
        if len(name.removeprefix("orc_")) < SHORTEST_BEGINNING:
            raise UnknownOrchestrationError(
                f"{name!r} is too short for an id.", f"Give {SHORTEST_BEGINNING} characters or more of it."
            )
        found = self.reading.named(name if name.startswith("orc_") else f"orc_{name}")
        if len(found) > 1:
            raise UnknownOrchestrationError(
                f"More than one id begins with {name!r}.", f"Such as {', '.join(found)}."
            )
        if not found:
            raise UnknownOrchestrationError(
                f"There is no orchestration {name!r}.", "Look at `python -m app runs list`."
            )
        return Subject(self.reading.views(found)[found[0]].row.tenant_id, found[0])

    def replay(self, name: str) -> ReplayRow:
        """The replay of that id, or of the only id that begins so. Raises UnknownReplayError."""
        whole = name if name.startswith(REPLAY_PREFIX) else f"{REPLAY_PREFIX}{name}"
        found = self.replays.beginning(self.reading.tenants(), whole)
        if len(whole) < len(REPLAY_PREFIX) + SHORTEST_BEGINNING or not found:
            raise UnknownReplayError(
                f"There is no replay {name!r}.", "Look at `python -m app audit replays`."
            )
        if len(found) > 1:
            ids = ", ".join(row.replay_id for row in found)
            raise UnknownReplayError(f"More than one id begins with {name!r}.", f"Such as {ids}.")
        return found[0]


def _itself_a_replay(name: str, found: tuple[ReplayRow, ...]) -> NotReplayableError:
    original = found[0].orchestration_id if len(found) == 1 else ""
    remedy = f"Replay its original: {original}." if original else "Name an orchestration, or a dead letter."
    return NotReplayableError(f"{name} is itself a replay.", remedy)


@contextmanager
def replaying_at_hand(tenant: str | None = None) -> Iterator[ReplayAtHand]:
    """The desk over the database at hand; errors as in ``database_at_hand``."""
    with recording_at_hand(tenant) as at_hand:
        clock = SystemClock()
        store, replays = PostgresqlStore(at_hand.database, clock), PostgresqlReplays(at_hand.database)
        desk = ReplayDesk(store, at_hand.recorder, replays, at_hand.releases, LateCarrier(), clock)
        yield ReplayAtHand(at_hand.database, at_hand.reading, store, replays, desk)
