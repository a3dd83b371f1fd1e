"""Whom a run asks next follows from its facts alone, and every run comes to an end."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from app.data_plane.agent_runs.moves import MOST_QUESTIONS, Ask, GiveUp, leave, next_move
from app.kernel.facts import (
    AnswerRejected,
    AnyFact,
    BudgetRefused,
    ModelAnswered,
    ModelAsked,
    ModelFailed,
    ProviderHop,
)

PROVIDERS = ("first", "second", "third")


def asked(provider: str, position: int = 0, *, again: bool = False) -> ModelAsked:
    return ModelAsked(position=position, provider=provider, model="m", prompt_digest="0" * 64, again=again)


def answered(provider: str, position: int = 0) -> ModelAnswered:
    return ModelAnswered(
        position=position,
        provider=provider,
        model="m",
        answer_digest="0" * 64,
        input_tokens=1,
        output_tokens=1,
        started_at="",
        duration_ms=1,
    )


def failed(provider: str, code: str = "provider_failed", position: int = 0) -> ModelFailed:
    return ModelFailed(position=position, provider=provider, code=code, fate="transient")


def rejected(provider: str, position: int = 0) -> AnswerRejected:
    return AnswerRejected(
        position=position, provider=provider, path="label", reason="no such label", parser="p/1"
    )


def refused(provider: str) -> BudgetRefused:
    return BudgetRefused(
        provider=provider, model="m", level="tenant", unit="calls", limit=1, taken=1, asked=1
    )


def move(facts: Sequence[AnyFact], waits: dict[str, float] | None = None, left: float = 30.0) -> Ask | GiveUp:
    return next_move(PROVIDERS, facts, waits=waits or {}, seconds_left=left)


def test_the_agents_providers_are_asked_in_their_order() -> None:
    assert move([]) == Ask("first")
    assert move([asked("first"), failed("first")]) == Ask("second")


def test_a_provider_whose_breaker_is_open_is_passed_over() -> None:
    assert move([ProviderHop(left="first", to="second", reason="breaker_open")]) == Ask("second")


def test_a_provider_that_no_budget_has_room_for_is_passed_over() -> None:
    """A cheaper one may fit."""
    assert move([refused("first")]) == Ask("second")


def test_a_rejected_answer_is_asked_for_again_once_and_with_its_reason() -> None:
    facts = [asked("first"), answered("first"), rejected("first")]
    assert move(facts) == Ask("first", again=rejected("first"))
    again = [*facts, asked("first", 1, again=True), answered("first", 1), rejected("first", 1)]
    assert move(again) == Ask("second"), "one re-ask, whatever comes of it"
    third = [*again, asked("second", 2), answered("second", 2), rejected("second", 2)]
    assert move(third) == Ask("third"), "one re-ask in a run, not for each provider"


def test_a_provider_that_said_when_it_may_be_asked_again_is_waited_for_when_nobody_else_is_left() -> None:
    facts: list[AnyFact] = [fact for name in PROVIDERS for fact in (asked(name), failed(name))]
    assert move(facts, {"second": 2.0, "third": 5.0}) == Ask("second", wait_seconds=2.0)
    assert isinstance(move(facts, {"second": 2.0}, left=1.0), GiveUp), "not beyond the stage's limit"
    twice = [*facts, asked("second", 3), failed("second", position=3)]
    assert isinstance(move(twice, {"second": 2.0}), GiveUp), "and not for ever"


def test_a_hedge_leaves_nobody() -> None:
    hedged: list[AnyFact] = [ProviderHop(left="first", to="second", reason="slow")]
    assert move(hedged) == Ask("first")
    assert move([*hedged, asked("second", 1), failed("second", position=1)]) == Ask("first")


def test_the_end_says_what_became_of_each_provider() -> None:
    facts: list[AnyFact] = [refused("first"), asked("second"), failed("second", "provider_busy")]
    end = move([*facts, ProviderHop(left="third", to="", reason="breaker_open")])
    assert end == GiveUp(
        "provider_unavailable", "first: out_of_budget; second: provider_busy; third: breaker_open"
    )
    assert move([refused(name) for name in PROVIDERS]) == GiveUp(
        "out_of_budget", "first: out_of_budget; second: out_of_budget; third: out_of_budget"
    )


def test_a_turn_names_who_comes_next_and_the_end_nobody() -> None:
    hop, after = leave(PROVIDERS, [asked("first"), failed("first")], "first", "x", waits={}, seconds_left=1)
    assert (hop.to, after) == ("second", Ask("second"))
    facts = [ProviderHop(left=name, to="", reason="breaker_open") for name in PROVIDERS[:2]]
    hop, after = leave(PROVIDERS, facts, "third", "breaker_open", waits={}, seconds_left=1)
    assert (hop.left, hop.to, hop.reason) == ("third", "", "breaker_open")
    assert isinstance(after, GiveUp)


outcomes = st.sampled_from(["answer", "fail", "refuse", "open"])


@given(
    st.lists(outcomes, min_size=40, max_size=40), st.dictionaries(st.sampled_from(PROVIDERS), st.floats(0, 9))
)
def test_every_run_comes_to_an_end_whatever_comes_of_its_questions(
    fates: list[str], waits: dict[str, float]
) -> None:
    """Each provider is asked at most twice, and one of them once more."""
    facts: list[AnyFact] = []
    for questions, fate in enumerate(fates):
        found = move(facts, waits)
        if isinstance(found, GiveUp):
            break
        name = found.provider
        match fate:
            case "open" if found.again is None:
                facts.append(ProviderHop(left=name, to="", reason="breaker_open"))
            case "refuse":
                facts.append(refused(name))
            case "fail":
                facts += [asked(name, questions, again=found.again is not None), failed(name)]
            case _:
                facts += [asked(name, questions, again=found.again is not None), rejected(name, questions)]
    assert isinstance(move(facts, waits), GiveUp)
    first = [fact for fact in facts if isinstance(fact, ModelAsked) and not fact.again]
    assert all(sum(fact.provider == name for fact in first) <= MOST_QUESTIONS for name in PROVIDERS)
    assert sum(isinstance(fact, ModelAsked) and fact.again for fact in facts) <= 1
