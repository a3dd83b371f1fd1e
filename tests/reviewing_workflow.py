"""The branching workflow with a person, or a rule, where no proposal is valid.

``classify`` and ``settle`` wait for a person, for an hour and for a minute; of ``deep`` and ``quick`` a rule makes the
outcome: the classified level, and one that fails when the event does not say how high it is.
"""

from __future__ import annotations

from functools import lru_cache

from app.kernel.facts import ReviewExpired, ReviewResolved
from app.kernel.release import Release, Review
from tests.branching_workflow import Example, branching_release

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
