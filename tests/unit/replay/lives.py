"""Orchestrations of the branching workflow that gave up in one way or another, as pure code and the plans see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from app.data_plane.orchestration.recorder import Loaded
from app.data_plane.ports import History
from app.data_plane.replay.register import Mode, ReplayRow, ReplayState
from app.kernel.clock import to_text
from app.kernel.facts import (
    AnyFact,
    DeliveryConfirmed,
    DeliveryFailed,
    DeliveryInDoubt,
    DeliveryRetried,
    DeliveryStarted,
    Recorded,
    StepGaveUp,
)
from app.kernel.release import Release, Target
from tests.branching_workflow import ORCHESTRATION, Example, branching_release

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
"""When every fact was recorded, unless a life says otherwise."""


def release_with(**promises: object) -> Release:
    """The branching workflow, whose target ``tracker`` promises this."""
    release = branching_release()
    template = release.template
    tracker = Target(name="tracker", **{"honours_keys": True, **promises})  # type: ignore[arg-type]
    targets = tuple(tracker if target.name == "tracker" else target for target in template.targets)
    return Release(
        template=template.model_copy(update={"targets": targets}),
        agents=release.agents,
        providers=release.providers,
        policy=release.policy,
        tools=release.tools,
    )


def decided(release: Release | None = None) -> Example:
    """A decision that asks for ``record`` at the tracker, ``notify`` at the pager, and something that is denied."""
    example = Example(release)
    example.decide_with("high")
    return example


def action(example: Example, name: str) -> str:
    """The action's id."""
    return next(key for key, one in example.state.actions_by_id.items() if one.proposed.name == name)


def started(key: str, attempt: int = 1) -> DeliveryStarted:
    return DeliveryStarted(action_id=key, attempt=attempt)


def confirmed(key: str, attempt: int = 1) -> DeliveryConfirmed:
    return DeliveryConfirmed(action_id=key, attempt=attempt, http_status=201, receipt_digest="0" * 64)


def failed(key: str, attempt: int = 1) -> DeliveryFailed:
    return DeliveryFailed(action_id=key, attempt=attempt, reason="refused (status 400)")


def in_doubt(key: str, attempt: int = 1) -> DeliveryInDoubt:
    return DeliveryInDoubt(action_id=key, attempt=attempt, reason="no answer")


def unheard_of(key: str, attempt: int = 1) -> DeliveryRetried:
    return DeliveryRetried(action_id=key, attempt=attempt, reason="no answer", ambiguous=True)


def gave_up(queue: str = "dispatch", code: str = "lost_worker") -> StepGaveUp:
    return StepGaveUp(step_id="step_1", queue=queue, code=code, attempts=5)


def happen(example: Example, *facts: AnyFact) -> Example:
    for fact in facts:
        example.happen(fact)
    return example


def one_failed_one_confirmed() -> Example:
    """``record`` is confirmed, ``notify`` was given up: the plainest dead letter."""
    example = decided()
    record, notify = action(example, "record"), action(example, "notify")
    return happen(example, started(record), confirmed(record), started(notify), failed(notify))


def unheard_of_and_gave_up(release: Release | None = None, name: str = "record") -> Example:
    """Nobody knows of the first attempt at one action, the other is confirmed, and then workers were lost."""
    example = decided(release)
    key, other = action(example, name), action(example, "notify" if name == "record" else "record")
    return happen(example, started(other), confirmed(other), started(key), unheard_of(key), gave_up())


def history(example: Example, later: dict[int, datetime] | None = None) -> History:
    """What the store would read; ``later`` says when single facts were recorded, by their place."""
    at = later or {}
    facts = tuple(
        Recorded(ORCHESTRATION, seq, to_text(at.get(seq, BEGAN)), fact)
        for seq, fact in enumerate(example.facts)
    )
    return History(ORCHESTRATION, "demo", example.state.release.digest, None, facts, len(facts))


def loaded(example: Example) -> Loaded:
    return Loaded(history(example), example.state, example.contents)


def replayed(
    mode: Mode = "resume",
    state: ReplayState = "done",
    actor: str = "alice",
    minutes: int = 0,
    new: str = "",
) -> ReplayRow:
    """A replay in the register."""
    at = BEGAN + timedelta(minutes=minutes)
    row = ReplayRow(
        replay_id=f"rpl_{actor}",
        tenant_id="demo",
        orchestration_id=ORCHESTRATION,
        dead_letter_id="",
        mode=mode,
        release="0" * 64,
        actor=actor,
        reason_digest="1" * 64,
        plan_digest="2" * 64,
        state=state,
        outcome="resumed" if state == "done" else "",
        new_orchestration_id=new,
        requested_at=at,
        finished_at=at + timedelta(seconds=1),
    )
    return replace(row, finished_at=None) if state == "requested" else row


def names(facts: Sequence[AnyFact]) -> list[str]:
    """What kinds of facts these are."""
    return [fact.kind for fact in facts]
