"""What commits say of steps, for metrics: how each claimed one ended, and how long after its claim."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from app.data_plane.ports import Change, Committed, Verdict
from app.kernel.facts import (
    AnyFact,
    DeliveryFailed,
    DeliveryInDoubt,
    RunFailed,
    StepGaveUp,
)
from app.telemetry import metrics

_FAILURES = (DeliveryFailed, DeliveryInDoubt, RunFailed, StepGaveUp)


def observe(changes: Sequence[Change], committed: Committed) -> None:
    """Tell how the steps ended that these changes were recorded of; one that is still held has not."""
    until = metrics.now()
    for change, verdict in zip(changes, committed.verdicts, strict=True):
        claim = change.claim
        if claim is None or verdict is not Verdict.RECORDED or change.settle == "keep":
            continue
        metrics.step_ended(claim.queue.value, _outcome(change), max(0.0, until - claim.claimed_at))


def _outcome(change: Change) -> str:
    if change.settle != "finish":
        return "again"
    facts = [
        fact for append in (change.orchestration, change.run) if append is not None for fact in append.facts
    ]
    return "failed" if _has_failed(facts) else "done"


def _has_failed(facts: Iterable[AnyFact]) -> bool:
    return any(isinstance(fact, _FAILURES) for fact in facts)
