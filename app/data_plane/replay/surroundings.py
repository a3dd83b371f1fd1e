"""What counts for a person's consent beside the orchestration's own facts: who is behind it, and what is in force."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from app.data_plane.ports import Releases
from app.data_plane.replay.record import Record, read_chain
from app.data_plane.replay.register import ReplayRow, Replays
from app.kernel.errors import InterlockError, TransientError
from app.kernel.facts import OrchestrationStarted
from app.kernel.release import Policy


@dataclass(frozen=True, slots=True)
class Behind:
    """Somebody who stands behind what is proposed, and why so."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the record of an orchestration does not hold.

    Args:
        policy: the one that is in force for the workflow now; None where nobody knows.
        people: who stands behind the event, or its rerun.
        where: by target: its address, or the reference that names it.
    """

    policy: Policy | None = None
    people: tuple[Behind, ...] = ()
    where: Mapping[str, str] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Of the people."""
        return tuple(one.name for one in self.people)


def policy_in_force(releases: Releases, workflow: str) -> Policy | None:
    """The policy of the release that takes the workflow's events now; None when none does.

    Raises TransientError when that release cannot be loaded here: then nobody here knows what is in force.
    """
    routed = [one for one in releases.routes() if (one.workflow, one.channel) == (workflow, "stable")]
    try:
        return releases.get(routed[0].release).policy if routed else None
    except InterlockError as error:
        raise TransientError(
            f"The policy that is in force for {workflow} cannot be read here; nothing was recorded.",
            "Run this with the version of Interlock that published its release.",
        ) from error


def people_behind(record: Record, replays: Replays) -> tuple[Behind, ...]:
    """Who sent the event, and who asked for this rerun of it."""
    facts = read_chain(record.chain)
    started = facts[0].fact if facts else None
    if not isinstance(started, OrchestrationStarted):
        return ()
    people = _senders(record, started)
    if started.replay_of:
        rows = replays.of([record.tenant_id], [started.replay_of]).get(started.replay_of, ())
        people += _who_asked(record, rows)
    return tuple(people)


def _senders(record: Record, started: OrchestrationStarted) -> list[Behind]:
    body = record.contents.get(started.event_digest)
    event = orjson.loads(body) if body is not None else None
    sender = event.get("sender") if isinstance(event, dict) else None
    names = [sender.get(key) for key in ("login", "name")] if isinstance(sender, dict) else [sender]
    return [Behind(name, "sent the event") for name in names if isinstance(name, str) and name.strip()]


def _who_asked(record: Record, rows: Sequence[ReplayRow]) -> list[Behind]:
    return [
        Behind(row.actor, "asked for this rerun")
        for row in rows
        if row.new_orchestration_id == record.orchestration_id
    ]
