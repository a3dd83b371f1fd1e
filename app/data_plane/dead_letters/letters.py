"""Dead letters: work that gave up, one row for each cause and step, or cause and message.

A repetition counts ``times`` and opens the row again. A row has no content: ids, codes, and words of ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from app.kernel.errors import Fate
from interlock.canonical import digest

State = Literal["open", "replayed", "settled"]

NO_TENANT = "-"
"""Whose a message is that nobody can be believed to have sent; no tenant can be called so."""


class Cause(StrEnum):
    """Why work gave up."""

    FAILED_STEP = "failed_step"
    LOST_WORKER = "lost_worker"
    TIME_LIMIT = "time_limit"
    FAILED_DELIVERY = "failed_delivery"
    IN_DOUBT = "in_doubt"
    NO_DECISION = "no_decision"
    UNKNOWN_TASK = "unknown_task"
    UNDECODABLE_MESSAGE = "undecodable_message"
    REJECTED_MESSAGE = "rejected_message"


@dataclass(frozen=True, slots=True)
class DeadLetterRow:
    """One dead letter. What is not known is empty; times are RFC 3339 in UTC."""

    dead_letter_id: str
    tenant_id: str
    event_id: str
    orchestration_id: str
    run_id: str
    workflow: str
    step_id: str
    queue: str
    cause: Cause
    code: str
    fate: Fate
    what: str
    remedy: str
    first_at: str
    last_at: str
    state: State = "open"
    times: int = 1
    message_digest: str = ""
    """SHA-256 of the message's body, where the row comes from a message and not from a journal."""
    settled_by: str = ""
    settled_because: str = ""
    """Who last said, and why, that nothing is to be done about a message."""


def dead_letter_id(subject: str, cause: Cause) -> str:
    """The id of what gave up for that cause; ``subject`` is a step's id, or names a message."""
    return f"dlr_{digest([subject, cause.value])[:32]}"


def repeated(before: DeadLetterRow, again: DeadLetterRow) -> DeadLetterRow:
    """The row after it gave up again."""
    return replace(
        again,
        first_at=min(before.first_at, again.first_at),
        last_at=max(before.last_at, again.last_at),
        times=before.times + again.times,
        settled_by=before.settled_by,
        settled_because=before.settled_because,
    )
