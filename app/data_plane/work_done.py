"""What became of the steps that one message claimed: the text of a task's result is made of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.data_plane.ports import Claim


@dataclass(frozen=True, slots=True)
class WorkDone:
    """How many steps were claimed, how many of them failed, and whose they were.

    Args:
        failed: of a delivery: it was not confirmed; of a replay: it was refused, or failed.
        orchestration_ids: each once, in the order of their claims.
    """

    steps: int = 0
    failed: int = 0
    orchestration_ids: tuple[str, ...] = ()


def done(claims: Sequence[Claim], failed: int) -> WorkDone:
    """What was done about these claims."""
    return WorkDone(len(claims), failed, tuple(dict.fromkeys(claim.orchestration_id for claim in claims)))


def together(parts: Iterable[WorkDone]) -> WorkDone:
    """What one message came to in several parts."""
    listed = list(parts)
    named = dict.fromkeys(key for part in listed for key in part.orchestration_ids)
    return WorkDone(sum(part.steps for part in listed), sum(part.failed for part in listed), tuple(named))
