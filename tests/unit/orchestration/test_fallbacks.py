"""Promise: whatever the models do, a stage ends in a typed outcome, by a rule or a person, or in a clear failure."""

from __future__ import annotations

import pytest

from app.data_plane.contents import Contents
from app.data_plane.orchestration.decide import outstanding
from app.data_plane.orchestration.progress import progress
from app.data_plane.orchestration.state import evolve, initial
from app.data_plane.orchestration.steps import called_for, over, to_go_on
from app.data_plane.ports import Queue
from app.kernel.errors import DefectError
from app.kernel.facts import (
    CancelRequested,
    OrchestrationResumed,
    ReviewRequested,
    StageDecided,
    StepGaveUp,
    encode,
)
from app.kernel.release import Release
from interlock.identity import review_id
from tests.branching_workflow import AGENTS, ORCHESTRATION, Example, branching_release
from tests.reviewing_workflow import HOUR, awaiting, expired, resolved, reviewing_release, without_proposals

RESUMED = OrchestrationResumed(replay_id="rpl_1", actor="ines", reason_digest="0" * 64)


def by_rule(**rule: str) -> Release:
    """The classifying stage's outcome by this rule."""
    release = branching_release()
    first, *others = release.template.stages
    changed = first.model_copy(update={"fallback": None, "fallback_rule": rule})
    template = release.template.model_copy(update={"stages": (changed, *others)})
    return release.model_copy(update={"template": template})


def unanswered(release: Release | None = None) -> Example:
    """No agent of the first stage has a valid proposal."""
    example = Example(release or reviewing_release())
    example.begin()
    without_proposals(example, "classify")
    return example


def decided(example: Example, stage: str = "classify") -> StageDecided:
    found = example.state.stages[stage].decided
    assert found is not None, example.facts[-1]
    return found


class TestRules:
    """A rule computes the outcome from what is known, or the orchestration ends and says why."""

    def test_the_outcome_is_computed_from_event_snapshot_and_stages(self) -> None:
        release = by_rule(level='event.issue.title.contains("example") ? "high" : "low"')
        example = unanswered(release)
        outcome = decided(example)
        assert example.contents.value(outcome.outcome_digest) == {"level": "high"}
        assert (outcome.winner, outcome.degraded, outcome.fallback) == (None, True, "rule")

    def test_a_rule_reads_the_outcomes_of_stages_that_were_settled_before(self) -> None:
        example = unanswered()
        example.happen(resolved(example, "classify", "high"))
        without_proposals(example, "deep")
        assert example.contents.value(decided(example, "deep").outcome_digest) == {"level": "high"}

    @pytest.mark.parametrize(
        ("rule", "reason"),
        [
            ({"level": "event.issue.absent"}, "fallback rule: field level: "),
            ({"level": '"huge"'}, "fallback rule: its outcome is no valid proposal (level)"),
            ({"level": "1"}, "fallback rule: its outcome is no valid proposal (level)"),
            ({"level": "null"}, "fallback rule: its outcome is no valid proposal (level)"),
            ({}, "fallback rule: its outcome is no valid proposal (level)"),
        ],
    )
    def test_an_error_or_an_outcome_that_does_not_fit_ends_it_with_a_reason(
        self, rule: dict[str, str], reason: str
    ) -> None:
        example = unanswered(by_rule(**rule))
        assert example.state.closed is not None
        assert example.state.closed.status == "failed"
        assert example.state.closed.reason.startswith(f"stage classify: {reason}")
        assert outstanding(example.state) == ()

    def test_the_decision_by_a_rule_is_flagged_degraded(self) -> None:
        example = unanswered(by_rule(level='"low"'))
        for stage in ("quick", "settle"):
            for agent in example.state.release.template.stage(stage).agents:
                example.fold(stage, agent, "low")
        assert example.state.decision is not None
        assert example.state.decision.degraded


class TestReviews:
    """A person completes the stage, or time does; other branches go on meanwhile."""

    def test_without_a_valid_proposal_a_person_is_asked_and_the_orchestration_is_in_review(self) -> None:
        example = unanswered()
        (asked,) = [fact for fact in example.facts if isinstance(fact, ReviewRequested)]
        assert (asked.stage, asked.expires_seconds) == ("classify", HOUR)
        assert example.state.status == "in_review"
        assert outstanding(example.state) == ()

    def test_one_valid_proposal_is_enough_for_nobody_to_be_asked(self) -> None:
        example = Example(reviewing_release())
        example.begin()
        for agent, level in zip(AGENTS, (None, "high", None), strict=True):
            example.fold("classify", agent, level)
        assert (decided(example).winner, decided(example).fallback) == ("beta", "")
        assert example.state.status == "running"

    def test_the_wait_is_a_step_that_is_due_when_it_expires(self) -> None:
        """Every wait ends by expiry, and none holds a worker."""
        example = unanswered()
        asked = [fact for fact in example.facts if isinstance(fact, ReviewRequested)]
        (step,) = called_for(example.state, asked)
        assert step.step_id == review_id(ORCHESTRATION, "classify")
        assert (step.queue, step.stage, step.due_in_seconds) == (Queue.ORCHESTRATION, "classify", HOUR)
        assert to_go_on(example.state) == (step,)

    def test_what_a_person_says_becomes_the_outcome_and_the_orchestration_goes_on(self) -> None:
        example = unanswered()
        before = example.state
        said = resolved(example, "classify", "high")
        step = example.happen(said)
        assert [fact.kind for fact in step.facts][:4] == [
            "review_resolved",
            "stage_decided",
            "stage_started",
            "stage_skipped",
        ]
        outcome = decided(example)
        assert (outcome.winner, outcome.degraded, outcome.fallback) == (None, True, "review")
        assert outcome.outcome_digest == said.outcome_digest
        assert example.state.status == "running"
        assert over(before, example.state) == (review_id(ORCHESTRATION, "classify"),)

    def test_the_decision_rests_on_the_reviewed_outcome_and_is_degraded(self) -> None:
        """Promise 3: another word of the person, another digest."""
        digests = set()
        for level in ("high", "low"):
            example = unanswered()
            for agent in AGENTS:
                assert not example.fold("classify", agent, level).facts, "too late to propose"
            example.happen(resolved(example, "classify", "high"))
            for agent in ("alpha", "beta"):
                example.fold("deep", agent, "high")
            without_proposals(example, "settle")
            example.happen(resolved(example, "settle", level))
            assert example.state.decision is not None
            assert example.state.decision.degraded
            digests.add(example.state.decision.decision_digest)
        assert len(digests) == 2

    def test_the_second_answer_and_a_late_expiry_change_nothing(self) -> None:
        example = unanswered()
        example.happen(resolved(example, "classify", "high"))
        state = example.state
        for late in (resolved(example, "classify", "low", "otto"), expired("classify")):
            assert example.happen(late).facts == ()
        assert example.state is state

    def test_a_review_that_expires_ends_it_failed_and_says_which(self) -> None:
        example = unanswered()
        before = example.state
        example.happen(expired("classify"))
        assert example.state.closed is not None
        assert example.state.closed.status == "failed"
        assert example.state.closed.reason == (
            "stage classify: review expired: nobody completed it within 3600 s"
        )
        assert over(before, example.state) == (review_id(ORCHESTRATION, "classify"),)
        assert example.happen(resolved(example, "classify", "high")).facts == ()

    def test_an_answer_that_is_no_valid_proposal_decides_nothing(self) -> None:
        """Whoever recorded it: what the release does not allow does not become an outcome."""
        example = unanswered()
        example.happen(resolved(example, "classify", "huge"))
        assert example.state.closed is not None
        assert (
            example.state.closed.reason == "stage classify: review: its outcome is no valid proposal (level)"
        )

    def test_an_answer_whose_content_is_lost_is_no_answer(self) -> None:
        example = unanswered()
        said = resolved(example, "classify", "high")
        with pytest.raises(DefectError):
            progress(example.state, said, Contents({}))

    def test_nobody_asked_is_nobody_answered(self) -> None:
        """A word about a stage that no person was asked about is none."""
        example = Example(reviewing_release())
        example.begin()
        for fact in (resolved(example, "classify", "high"), expired("classify")):
            assert evolve(example.state, fact) is example.state
        other = initial(ORCHESTRATION, "demo", branching_release())
        assert evolve(other, ReviewRequested(stage="classify", expires_seconds=1)) is other

    def test_cancelling_ends_the_wait(self) -> None:
        example = unanswered()
        before = example.state
        example.happen(CancelRequested(actor="ines", reason_digest="0" * 64))
        assert example.state.status == "cancelled"
        assert over(before, example.state) == (review_id(ORCHESTRATION, "classify"),)

    def test_another_branch_that_gives_up_ends_the_wait_and_resuming_asks_again_for_as_long(self) -> None:
        example = unanswered()
        before = example.state
        example.happen(StepGaveUp(step_id="run_1", queue="agent_runs", code="defect", attempts=5))
        assert example.state.status == "dead_lettered"
        assert over(before, example.state) == (review_id(ORCHESTRATION, "classify"),)
        example.happen(RESUMED)
        assert example.state.status == "in_review"
        assert awaiting(example) == ["classify"]
        (step,) = to_go_on(example.state)
        assert (step.step_id, step.due_in_seconds) == (review_id(ORCHESTRATION, "classify"), HOUR)


def test_what_a_safe_default_decided_has_the_bytes_that_it_always_had() -> None:
    """Old facts and new ones of the same kind are one: the field is left out where it says nothing."""
    example = unanswered(branching_release())
    fact = decided(example)
    assert fact.fallback == ""
    assert b"fallback" not in encode("orc_1", 0, "", fact).replace(b"majority", b"")
