"""A person says that nothing is to be done about a message that gave up: what a row from a journal is never told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from app.data_plane.dead_letters.letters import DeadLetterRow
from app.kernel.errors import ConflictError, PermanentError
from app.telemetry.redaction import redact

LONGEST_ACTOR = 200
LONGEST_REASON = 4_000


class UnexplainedError(PermanentError):
    """It is not said who settles it, or why."""

    code = "unexplained_change"


class NotSettleableError(ConflictError):
    """What it is about is in a journal, where only a replay or a settled action changes it; or it is not open."""

    code = "not_settleable"


class Settling(Protocol):
    """Where dead letters are settled."""

    def settle(self, rows: Sequence[DeadLetterRow], actor: str, reason: str) -> tuple[str, ...]:
        """Close those of these rows that are open and come from messages; the ids of those that it closed."""
        ...


def settle(letters: Settling, rows: Sequence[DeadLetterRow], actor: str, reason: str) -> tuple[str, ...]:
    """Close the rows of messages, with who and why; the ids of those that were still open.

    Raises:
        UnexplainedError: the actor or the reason is missing, or too long.
        NotSettleableError: a row follows from a journal, or the only one is closed already.
    """
    actor, reason = actor.strip(), reason.strip()
    if not actor or not reason or len(actor) > LONGEST_ACTOR or len(reason) > LONGEST_REASON:
        raise UnexplainedError(
            "It is not said who settles it and why, or at too great a length.",
            f"Give --actor (up to {LONGEST_ACTOR} characters) and --reason (up to {LONGEST_REASON}); they are kept.",
        )
    for row in rows:
        check(row)
    settled = letters.settle(rows, redact(actor), redact(reason))
    if rows and not settled:
        raise NotSettleableError(
            "Somebody else has settled it meanwhile.", "Look at it with `dead-letters show`."
        )
    return settled


def check(row: DeadLetterRow) -> None:
    """Raises NotSettleableError unless the row is an open one of a message."""
    if not row.message_digest:
        raise NotSettleableError(
            f"{row.dead_letter_id} follows from an orchestration's journal, where nobody's word closes it.",
            f"Read what a replay does: `python -m app dead-letters plan {row.dead_letter_id}`; an action in doubt is"
            " settled with `python -m app actions settle`.",
        )
    if row.state != "open":
        by = f" by {row.settled_by}" if row.state == "settled" and row.settled_by else ""
        raise NotSettleableError(
            f"{row.dead_letter_id} is {row.state} already{by}.", "Nothing needs to be done."
        )
