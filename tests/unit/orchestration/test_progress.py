"""``progress`` by example: what follows from a fact by pure code alone."""

from __future__ import annotations

import pytest

from app.data_plane.orchestration.decide import Deliver, TakeSnapshot
from app.data_plane.orchestration.progress import decision_digest
from app.kernel.facts import ActionDenied, SnapshotTaken, StageDecided, StageSkipped
from tests.branching_workflow import AGENTS, Example


def kinds(example: Example) -> list[str]:
    return [fact.kind for fact in example.facts]


def test_the_facts_from_outside_come_first_and_bring_the_derived_ones_with_them() -> None:
    example = Example()
    assert example.happen(example.started()).effects == (TakeSnapshot(),)
    step = example.happen(SnapshotTaken(snapshot_digest=example.contents.add({})))
    assert [fact.kind for fact in step.facts] == ["snapshot_taken", "stage_started"]


@pytest.mark.parametrize(("level", "skipped"), [("high", "quick"), ("low", "deep")])
def test_a_branch_whose_condition_does_not_hold_is_a_fact(level: str, skipped: str) -> None:
    example = Example()
    example.decide_with(level)
    (fact,) = [fact for fact in example.facts if isinstance(fact, StageSkipped)]
    assert (fact.stage, fact.reason) == (skipped, "condition_false")


def test_the_fallback_answers_for_a_stage_without_a_valid_proposal_and_says_so() -> None:
    example = Example()
    example.begin()
    for agent in AGENTS:
        example.fold("classify", agent, None)
    (decided,) = [fact for fact in example.facts if isinstance(fact, StageDecided)]
    assert (decided.winner, decided.degraded) == (None, True)
    assert example.contents.value(decided.outcome_digest) == {"level": "low"}


def test_a_stage_without_a_fallback_fails_the_orchestration_with_its_reason() -> None:
    example = Example()
    example.begin()
    for agent in AGENTS:
        example.fold("classify", agent, "high")
    for agent in ("alpha", "beta"):
        example.fold("deep", agent, None)
    assert example.state.status == "failed"
    assert example.state.closed is not None
    assert "stage deep: no valid proposal (alpha: provider_unavailable" in example.state.closed.reason


def test_an_action_that_no_policy_permits_is_denied_and_never_asked_for() -> None:
    """Promise 4: nothing happens that the release does not allow."""
    example = Example()
    example.decide_with("high")
    (denied,) = [fact for fact in example.facts if isinstance(fact, ActionDenied)]
    assert denied.name == "forbidden"
    assert Deliver(denied.action_id) not in example.happen(denied).effects


def test_the_decision_digest_does_not_know_in_which_order_the_runs_came() -> None:
    """Promise 3: the digest covers what was proposed, never when."""
    digests = set()
    for order in (AGENTS, AGENTS[::-1], ("beta", "alpha", "gamma")):
        example = Example()
        example.begin()
        for agent in order:
            example.fold("classify", agent, "low" if agent == "alpha" else "high")
        for stage in ("deep", "settle"):
            for agent in order:
                example.fold(stage, agent, "high")
        assert example.state.decision is not None
        digests.add(example.state.decision.decision_digest)
    assert len(digests) == 1


def test_the_decision_digest_tells_apart_what_it_rests_on() -> None:
    one, other = Example(), Example()
    one.decide_with("high")
    other.decide_with("low")
    assert one.state.decision is not None
    assert other.state.decision is not None
    assert one.state.decision.decision_digest != other.state.decision.decision_digest
    recomputed = decision_digest(one.state, one.state.decision.outcome_digest)
    assert recomputed == one.state.decision.decision_digest


def test_a_fact_that_cannot_follow_brings_nothing() -> None:
    example = Example()
    example.decide_with("low")
    before = kinds(example)
    for fact in tuple(example.facts):
        step = example.happen(fact)
        assert (step.facts, step.effects) == ((), ())
    assert kinds(example) == before
