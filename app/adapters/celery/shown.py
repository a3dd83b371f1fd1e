"""What a message and its task's result show of themselves, in Flower and in Celery's events: ids, and never content.

An operator finds an orchestration there by its id: Flower searches arguments and results for it.
"""

from __future__ import annotations

from collections.abc import Sequence

MOST_NAMED = 128
"""Orchestrations that one text names: two batches of the default size. Each is 36 characters long."""

LONGEST_RESULT = 6_000
"""Characters of a result that Celery's events carry; enough for that many ids and the words around them."""

NO_ARGUMENTS = "{}"


def named(orchestration_ids: Sequence[str]) -> str:
    """The ids, and how many more there are."""
    told = " ".join(orchestration_ids[:MOST_NAMED])
    left = len(orchestration_ids) - MOST_NAMED
    return f"{told} and {left} more" if left > 0 else told


def counted(words: str, orchestration_ids: Sequence[str]) -> str:
    """``3 runs, 1 failed: orc_1 orc_2``; the words alone when there is nothing to name."""
    return f"{words}: {named(orchestration_ids)}" if orchestration_ids else words
