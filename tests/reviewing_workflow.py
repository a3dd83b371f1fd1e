"""The branching workflow with a person, or a rule, where no proposal is valid.

``classify`` and ``settle`` wait for a person, for an hour and for a minute; of ``deep`` and ``quick`` a rule makes the
outcome: the classified level, and one that fails when the event does not say how high it is.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import cast

from app.data_plane.orchestration.advance import Advancer
from app.data_plane.orchestration.recorder import Loaded, Plan, Recorder, Work
from app.data_plane.orchestration.reviews import Resolution, Resolved, resolve
from app.data_plane.ports import Carrier, Lookups, Releases, Store
from app.kernel.facts import AnyFact, ReviewExpired, ReviewResolved, RunFolded, SnapshotTaken
from app.kernel.release import Release, Review
from interlock.canonical import digest_bytes
from interlock.identity import review_id, run_id
from tests.accepted_events import accepted_event, orchestration_of
from tests.branching_workflow import Example, branching_release
from tests.doubtful_workflow import EMPTY, OneRelease, Rung

HOUR = 3600.0
FALLBACKS: dict[str, dict[str, object]] = {
    "classify": {"fallback": None, "fallback_review": Review(expires_seconds=HOUR)},
    "deep": {"fallback": None, "fallback_rule": {"level": "stages.classify.level"}},
    "quick": {"fallback": None, "fallback_rule": {"level": "event.issue.level"}},
    "settle": {"fallback": None, "fallback_review": Review(expires_seconds=60)},
}


@lru_cache(maxsize=1)
def reviewing_release() -> Release:
    """The release of the workflow above."""
    release = branching_release()
    stages = tuple(stage.model_copy(update=FALLBACKS[stage.name]) for stage in release.template.stages)
    template = release.template.model_copy(update={"stages": stages})
    return release.model_copy(update={"template": template})


def awaiting(example: Example) -> list[str]:
    """The stages that wait for a person."""
    return [name for name, stage in example.state.stages.items() if stage.awaits_a_person]


def without_proposals(example: Example, stage: str) -> None:
    """All runs of a stage are final, and none has a proposal."""
    for agent in example.state.release.template.stage(stage).agents:
        example.fold(stage, agent, None)


def resolved(example: Example, stage: str, level: str, actor: str = "ines") -> ReviewResolved:
    """The fact that a person completed the stage."""
    return ReviewResolved(
        stage=stage,
        outcome_digest=example.contents.add({"level": level}),
        actor=actor,
        reason_digest=example.contents.add({"actor": actor, "reason": "read it"}),
    )


def expired(stage: str) -> ReviewExpired:
    """The fact that nobody did."""
    return ReviewExpired(stage=stage)


def silent_release(expires_seconds: float = HOUR) -> Release:
    """The same with a provider that has no answer for anybody, and so long for the first review."""
    release = reviewing_release()
    first, *others = release.template.stages
    review = Review(expires_seconds=expires_seconds)
    stages = (first.model_copy(update={"fallback_review": review}), *others)
    script = release.providers["script"].model_copy(update={"rules": ()})
    template = release.template.model_copy(update={"stages": stages})
    return release.model_copy(update={"template": template, "providers": {"script": script}})


class InReview:
    """An orchestration of the silent workflow in a store, whose first stage waits for a person."""

    def __init__(self, store: Store, release: Release | None = None, event_id: str = "1") -> None:
        release = release or silent_release()
        self.carrier = Rung()
        releases = cast(Releases, OneRelease(release))
        self.store = store
        self.recorder = Recorder(store, releases, cast(Carrier, self.carrier), shortcut=False)
        self.advancer = Advancer(
            store, self.recorder, cast(Lookups, None), cast(Carrier, self.carrier), batch_size=9
        )
        event = accepted_event(event_id, release=release.digest)
        store.accept([event])
        self.id = orchestration_of(event)
        self.happen(SnapshotTaken(snapshot_digest=digest_bytes(EMPTY)), {digest_bytes(EMPTY): EMPTY})
        self.fail("classify")

    @property
    def step(self) -> str:
        """The step that ends the first stage's wait."""
        return review_id(self.id, "classify")

    @property
    def loaded(self) -> Loaded:
        """What is known of it."""
        return self.recorder.load(["demo"], [self.id])[self.id]

    def happen(self, fact: AnyFact, contents: dict[str, bytes] | None = None) -> None:
        """Let a fact from outside be recorded."""
        self.recorder.record([Work("demo", self.id, None, lambda _: Plan((fact,), contents or {}))])

    def fail(self, stage: str) -> None:
        """All runs of a stage are final, and none has a proposal."""
        for agent in self.loaded.state.release.template.stage(stage).agents:
            self.happen(
                RunFolded(
                    stage=stage,
                    agent=agent,
                    run_id=run_id(self.id, stage, agent),
                    proposal_digest=None,
                    failure="provider_unavailable",
                    chain_length=1,
                    chain_hash="0" * 64,
                )
            )

    def resolution(self, level: str = "high", actor: str = "ines", stage: str = "") -> Resolution:
        """What a person makes of the stage."""
        return Resolution("demo", self.id, {"level": level}, actor, "read it", stage)

    def resolve(self, level: str = "high", actor: str = "ines", stage: str = "") -> Resolved:
        """Have a person complete the stage, now."""
        return resolve(self.recorder, self.resolution(level, actor, stage), datetime.now(UTC))
