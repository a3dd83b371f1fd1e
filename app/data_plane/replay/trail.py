"""The audit trail of replays: what one of them had sent, told from the facts that were recorded after it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.data_plane.ports import History
from app.data_plane.replay.register import ReplayRow
from app.kernel.facts import AnyFact, DeliveryConfirmed, DeliveryStarted, OrchestrationResumed


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of the effects after one replay began, until another one did.

    Args:
        actions: those that were sent, each once.
        confirmed: how many of them their targets took.
        again: how many of them had been sent before it; of a rerun none, as its keys are new.
    """

    actions: tuple[str, ...] = ()
    confirmed: int = 0
    again: int = 0


def sent_by(row: ReplayRow, histories: dict[str, History]) -> Sent | None:
    """What the replay had sent; None when its record cannot be read any more.

    Args:
        histories: of its orchestration, and of the one that it started.
    """
    history = histories.get(row.new_orchestration_id or row.orchestration_id)
    if history is None or not history.readable:
        return None
    facts = [recorded.fact for recorded in history.facts]
    before, after = _divided(facts, "" if row.new_orchestration_id else row.replay_id)
    actions = tuple(dict.fromkeys(_started(after)))
    taken = {fact.action_id for fact in after if isinstance(fact, DeliveryConfirmed)}
    earlier = set(_started(before))
    return Sent(actions, len(taken.intersection(actions)), len(earlier.intersection(actions)))


def _divided(facts: Sequence[AnyFact], replay_id: str) -> tuple[list[AnyFact], list[AnyFact]]:
    """The facts before a replay began, and those until the next one; all belong to what a rerun started."""
    before: list[AnyFact] = []
    after: list[AnyFact] = []
    current = ""
    for fact in facts:
        if isinstance(fact, OrchestrationResumed):
            if current == replay_id and after:
                break
            current = fact.replay_id
        (after if current == replay_id else before).append(fact)
    return before, after


def _started(facts: Sequence[AnyFact]) -> Iterator[str]:
    return (fact.action_id for fact in facts if isinstance(fact, DeliveryStarted))
