"""What the API answers to whoever sent events."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from app.api.problems import Problem
from app.data_plane.ingestion.accept import Accepted


class EventAnswer(BaseModel):
    """One event that is committed: the sender may forget it."""

    event_id: str
    orchestrations: list[str]
    state: Literal["accepted", "unrouted", "duplicate"]


class RefusedEvent(BaseModel):
    """One event of a batch that was refused, and why."""

    event_id: str
    problem: Problem


class BatchAnswer(BaseModel):
    """One answer for each event of a batch, in order."""

    events: list[EventAnswer | RefusedEvent]


def answer(accepted: Accepted) -> EventAnswer:
    """The answer for an accepted event."""
    return EventAnswer(
        event_id=accepted.event_id,
        orchestrations=list(accepted.orchestration_ids),
        state=accepted.state,
    )
