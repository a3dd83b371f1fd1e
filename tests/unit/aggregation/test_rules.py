"""Aggregation rules by example, and the property they all keep: the order of arrival never matters."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.data_plane.aggregation.aggregate import fold_run
from app.data_plane.aggregation.rules import Proposal, aggregate
from app.kernel.facts import ModelAsked, ProposalMade, Recorded, RunFailed
from app.kernel.release import Aggregation
from tests.branching_workflow import AGENTS, Example

FIRST = Aggregation(rule="first_valid")
MAJORITY = Aggregation(rule="majority", over=("level",))
WEIGHTED = Aggregation(rule="weighted", over=("level",), weights={"gamma": 5})


def says(agent: str, level: str | None, **more: str) -> Proposal:
    return (
        Proposal(agent, None, "invalid_answer")
        if level is None
        else Proposal(agent, {"level": level, **more})
    )


def test_first_valid_takes_the_first_in_the_templates_order() -> None:
    result = aggregate(FIRST, [says("alpha", None), says("beta", "low"), says("gamma", "high")])
    assert (result.winner, result.outcome) == ("beta", {"level": "low"})


def test_majority_takes_the_side_with_most_votes_and_its_first_proposal_as_a_whole() -> None:
    result = aggregate(
        MAJORITY, [says("alpha", "low"), says("beta", "high", why="smoke"), says("gamma", "high", why="fire")]
    )
    assert (result.winner, result.outcome) == ("beta", {"level": "high", "why": "smoke"})
    assert result.reason.startswith("2 of 3")


def test_a_tie_goes_to_the_side_that_the_template_names_first_and_is_told() -> None:
    result = aggregate(MAJORITY, [says("alpha", None), says("beta", "low"), says("gamma", "high")])
    assert result.winner == "beta"
    assert "tie" in result.reason


def test_weighted_counts_declared_weights_and_one_for_the_others() -> None:
    result = aggregate(WEIGHTED, [says("alpha", "low"), says("beta", "low"), says("gamma", "high")])
    assert result.winner == "gamma"
    assert [vote.weight for vote in result.votes] == [1, 1, 5]


def test_without_a_valid_proposal_nobody_wins_and_every_failure_is_named() -> None:
    result = aggregate(MAJORITY, [says(agent, None) for agent in AGENTS])
    assert (result.winner, result.outcome) == (None, None)
    assert all(agent in result.reason for agent in AGENTS)


def test_the_votes_name_every_agent_also_those_without_a_proposal() -> None:
    result = aggregate(MAJORITY, [says("alpha", None), says("beta", "low")])
    assert [(vote.agent, vote.weight) for vote in result.votes] == [("alpha", 0), ("beta", 1)]


@given(
    st.sampled_from([FIRST, MAJORITY, WEIGHTED]),
    st.lists(st.sampled_from(["high", "low", None]), min_size=3, max_size=3),
    st.permutations(AGENTS),
)
def test_the_order_of_arrival_never_matters(
    rule: Aggregation, levels: list[str | None], arrival: list[str]
) -> None:
    """Promise 3: an orchestration folded in any order ends with the same votes and outcome."""
    stage = Example().state.release.template.stage("classify").model_copy(update={"aggregation": rule})
    proposals = {agent: says(agent, level) for agent, level in zip(AGENTS, levels, strict=True)}
    expected = aggregate(rule, [proposals[agent] for agent in AGENTS])
    arrived = {agent: proposals[agent] for agent in arrival}
    assert aggregate(rule, [arrived[agent] for agent in stage.agents]) == expected

    example = Example()
    example.begin()
    for agent in arrival:
        example.fold("classify", agent, levels[AGENTS.index(agent)])
    inorder = Example()
    inorder.begin()
    for agent, level in zip(AGENTS, levels, strict=True):
        inorder.fold("classify", agent, level)
    assert example.state.stages["classify"].decided == inorder.state.stages["classify"].decided
    assert inorder.state.stages["classify"].decided is not None


def recorded(*facts: ModelAsked | ProposalMade | RunFailed) -> list[Recorded]:
    return [Recorded("run_1", seq, "2026-01-01T00:00:00.000000Z", fact) for seq, fact in enumerate(facts)]


def test_a_runs_whole_chain_is_folded_into_one_fact() -> None:
    asked = ModelAsked(position=0, provider="script", model="scripted", prompt_digest="0" * 64)
    made = ProposalMade(proposal_digest="1" * 64, parser="strict_json/1")
    fact = fold_run("classify", "alpha", "run_1", recorded(asked, made), "ab")
    assert (fact.proposal_digest, fact.failure) == ("1" * 64, None)
    assert (fact.chain_length, fact.chain_hash) == (2, "ab")


def test_a_run_that_failed_or_left_nothing_has_a_reason() -> None:
    failed = RunFailed(failure="timed_out", detail="", parser="strict_json/1")
    assert fold_run("classify", "alpha", "run_1", recorded(failed), "ab").failure == "timed_out"
    assert fold_run("classify", "alpha", "run_1", [], "").failure == "missing"
