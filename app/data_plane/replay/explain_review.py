"""``reviews show``: what a person must know to complete a stage; from the record alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import orjson

from app.data_plane.orchestration.reviews import NotInReviewError, UnknownStageError, waiting
from app.data_plane.replay.explain import StageTold, Voice, explain
from app.data_plane.replay.record import Record, read_chain
from app.kernel.clock import to_text
from app.kernel.facts import (
    OrchestrationStarted,
    Recorded,
    ReviewExpired,
    ReviewRequested,
    ReviewResolved,
    SnapshotTaken,
)
from app.kernel.release import Release
from app.kernel.schema_words import FieldTold, fields_of
from app.telemetry.redaction import redact_value
from interlock.canonical import JsonValue

State = Literal["waiting", "resolved", "expired", "ended"]


@dataclass(frozen=True, slots=True)
class ReviewStory:
    """One stage that a person was asked to complete. Secrets of a known form are left out of its content."""

    orchestration_id: str
    tenant_id: str
    workflow: str
    stage: str
    state: State
    """``ended``: the orchestration ended for another reason, and nobody is asked any more."""
    since: str
    expires: str
    """Empty when it does not wait any more."""
    means: str
    agents: tuple[Voice, ...]
    event_id: str
    event_type: str
    source: str
    event: object
    """The normalised event, as the agents' prompts are made from it; None when it was erased."""
    snapshot: object
    earlier: dict[str, object]
    """The outcomes of the stages that this one comes after, directly or not."""
    fields: tuple[FieldTold, ...]
    outcome: object
    """What a person made of it."""
    can_be_done: tuple[str, ...]


def explain_review(record: Record, release: Release, stage: str, now: datetime) -> ReviewStory:
    """What is known of the review of that stage; without a name, of the only one that waits, else of the last one.

    Raises:
        UnknownStageError: the workflow has no such stage.
        NotInReviewError: no person was asked to complete it; or several stages wait, and none is named.
    """
    facts = read_chain(record.chain)
    stage = _chosen(record, release, stage, facts)
    waits = waiting(facts).get(stage)
    told = explain(record, release)
    stages = {one.name: one for one in told.stages}
    started = next(one.fact for one in facts if isinstance(one.fact, OrchestrationStarted))
    snapshot = next((one.fact for one in facts if isinstance(one.fact, SnapshotTaken)), None)
    state, means = _state(stage, facts, told.status)
    if waits is not None:
        overdue = now >= waits.until
        means = "it should have been completed, and is about to end" if overdue else "it waits for a person"
    key = record.orchestration_id
    return ReviewStory(
        orchestration_id=key,
        tenant_id=record.tenant_id,
        workflow=release.workflow,
        stage=stage,
        state="waiting" if waits is not None else state,
        since=to_text(waits.since) if waits is not None else _requested_at(stage, facts),
        expires=to_text(waits.until) if waits is not None else "",
        means=means,
        agents=stages[stage].voices,
        event_id=started.event_id,
        event_type=started.event_type,
        source=started.source,
        event=_content(record, started.event_digest),
        snapshot=_content(record, snapshot.snapshot_digest) if snapshot is not None else None,
        earlier=_earlier(release, stage, stages),
        fields=fields_of(release.template.stage(stage).proposal),
        outcome=redact_value(stages[stage].outcome),
        can_be_done=_can_be_done(key, stage) if waits is not None else (),
    )


def _chosen(record: Record, release: Release, stage: str, facts: Sequence[Recorded]) -> str:
    key = record.orchestration_id
    known = {one.name for one in release.template.stages}
    if stage and stage not in known:
        raise UnknownStageError(
            f"{release.workflow} has no stage {stage!r}.", f"It has {', '.join(sorted(known))}."
        )
    asked = [one.fact.stage for one in facts if isinstance(one.fact, ReviewRequested)]
    waits = list(waiting(facts))
    if not stage and len(waits) > 1:
        raise NotInReviewError(
            f"{len(waits)} stages of {key} wait for a person: {', '.join(waits)}.", "Name one with --stage."
        )
    found = [name for name in (stage, *waits, *reversed(asked)) if name][:1]
    if not found or found[0] not in asked:
        what = f"stage {stage} of {key}" if stage else key
        raise NotInReviewError(
            f"No person was asked to complete {what}.", "`python -m app reviews list` names what waits."
        )
    return found[0]


def _state(stage: str, facts: Sequence[Recorded], status: str) -> tuple[State, str]:
    for recorded in facts:
        match recorded.fact:
            case ReviewResolved() as fact if fact.stage == stage:
                return "resolved", f"{fact.actor} completed it at {recorded.at}"
            case ReviewExpired() as fact if fact.stage == stage:
                return "expired", f"nobody completed it before {recorded.at}"
    return "ended", f"its orchestration ended before anybody completed it: {status}"


def _requested_at(stage: str, facts: Sequence[Recorded]) -> str:
    asked = (one for one in facts if isinstance(one.fact, ReviewRequested))
    return next(one.at for one in asked if getattr(one.fact, "stage", "") == stage)


def _earlier(release: Release, stage: str, stages: dict[str, StageTold]) -> dict[str, object]:
    return {name: redact_value(stages[name].outcome) for name in release.template.earlier(stage)}


def _can_be_done(orchestration: str, stage: str) -> tuple[str, ...]:
    return (
        f"Complete it: `python -m app reviews resolve {orchestration} --stage {stage} --outcome @FILE --actor NAME"
        " --reason WHY`; with --dry-run it only tells what would follow.",
        f"Or end it: `python -m app runs cancel {orchestration} --actor NAME --reason WHY`. Without either it ends"
        " failed when the review expires.",
    )


def _content(record: Record, digest: str) -> object:
    body = record.contents.get(digest)
    if body is None:
        return None
    value: JsonValue = orjson.loads(body)
    return redact_value(value)
