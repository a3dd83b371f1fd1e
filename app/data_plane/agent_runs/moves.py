"""What a run does next: which provider is asked, whether it is asked again, or that there is nobody left. Pure.

It is known from the run's facts alone, so that whoever finds a run can carry it on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.kernel.facts import (
    AnswerRejected,
    AnyFact,
    BudgetRefused,
    ModelAnswered,
    ModelAsked,
    ModelFailed,
    ProviderHop,
    ToolAnswered,
    ToolCalled,
    ToolFailed,
)

SLOW = "slow"
"""The reason of a hop that leaves nobody: a second provider is asked beside the first."""
BREAKER_OPEN = "breaker_open"
FORCED_OPEN = "forced_open"
"""An operator keeps its breaker open."""
OUT_OF_BUDGET = "out_of_budget"
INVALID_ANSWER = "invalid_answer"
CANCELLED = "cancelled"
"""Its answer was waited for no longer: the stage's limit came, or another provider answered first. It is no failure."""

MOST_QUESTIONS = 2
"""To one provider, not counting the re-ask: a second one when it said when, or when another was faster than it."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask this provider, when its time has come."""

    provider: str
    again: AnswerRejected | None = None
    """The re-ask: why its answer was no proposal."""
    wait_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Nobody is left to be asked."""

    failure: str
    """A stable code: ``invalid_answer``, ``out_of_budget``, ``provider_unavailable``."""
    detail: str


@dataclass(slots=True)
class _Standing:
    """What is known of each provider."""

    ended: dict[str, str]
    """By provider: why it is not asked any more."""
    questions: dict[str, int]
    asking: str = ""
    """Who was asked last."""
    rejected: AnswerRejected | None = None
    """The last thing that happened was that an answer was no proposal."""
    asked_again: bool = False
    calling: str = ""
    """Whose answer called tools, and who is told what came of it."""

    @property
    def failed(self) -> list[str]:
        """Those that were asked and gave no answer: they may be asked a second time."""
        others = {BREAKER_OPEN, FORCED_OPEN, OUT_OF_BUDGET, INVALID_ANSWER}
        return [
            name for name, reason in self.ended.items() if reason not in others and name in self.questions
        ]


def next_move(
    providers: Sequence[str],
    facts: Iterable[AnyFact],
    *,
    waits: Mapping[str, float],
    seconds_left: float,
) -> Ask | GiveUp:
    """The next move of a run with these facts.

    Args:
        providers: the agent's, in order.
        waits: in how many seconds a provider says that it may be asked again, for those that said so.
        seconds_left: until the stage's limit.
    """
    standing = _fold(facts)
    if standing.calling:
        return Ask(standing.calling)
    if standing.rejected is not None and not standing.asked_again:
        return Ask(standing.rejected.provider, again=standing.rejected)
    for provider in providers:
        if provider not in standing.ended and standing.questions.get(provider, 0) < MOST_QUESTIONS:
            return Ask(provider)
    for wait, provider in sorted((waits[name], name) for name in standing.failed if name in waits):
        if wait < seconds_left and standing.questions[provider] < MOST_QUESTIONS:
            return Ask(provider, wait_seconds=max(0.0, wait))
    return _give_up(providers, standing)


def untried(providers: Sequence[str], facts: Iterable[AnyFact]) -> tuple[str, ...]:
    """The providers that may still be asked for a first time, in order."""
    standing = _fold(facts)
    return tuple(name for name in providers if name not in standing.ended and name not in standing.questions)


def leave(
    providers: Sequence[str],
    facts: Sequence[AnyFact],
    left: str,
    reason: str,
    *,
    waits: Mapping[str, float],
    seconds_left: float,
) -> tuple[ProviderHop, Ask | GiveUp]:
    """The fact that a provider is left, and the move after it."""
    provisional = ProviderHop(left=left, to="", reason=reason)
    move = next_move(providers, [*facts, provisional], waits=waits, seconds_left=seconds_left)
    to = move.provider if isinstance(move, Ask) else ""
    return ProviderHop(left=left, to=to, reason=reason), move


def _fold(facts: Iterable[AnyFact]) -> _Standing:
    standing = _Standing({}, {})
    for fact in facts:
        if not isinstance(fact, _OF_CALLS):
            standing.rejected, standing.calling = None, ""
        match fact:
            case ModelAsked():
                standing.asking = fact.provider
                standing.asked_again |= fact.again
                if not fact.again:
                    standing.questions[fact.provider] = standing.questions.get(fact.provider, 0) + 1
            case ToolCalled():
                # Each turn of a conversation is a question of its own; nobody is asked too often for that.
                standing.calling, standing.questions = standing.asking, {}
            case ModelAnswered():
                standing.asking = fact.provider
            case ModelFailed() if fact.code != CANCELLED:
                standing.ended[fact.provider] = fact.code
            case BudgetRefused():
                standing.asking = fact.provider
                standing.ended[fact.provider] = OUT_OF_BUDGET
            case AnswerRejected():
                standing.ended[fact.provider] = INVALID_ANSWER
                standing.asking, standing.rejected = fact.provider, fact
            case ProviderHop(left=left, reason=reason) if reason != SLOW:
                standing.ended[left] = reason
                standing.asking = left
    return standing


_OF_CALLS = (ToolCalled, ToolAnswered, ToolFailed)


def _give_up(providers: Sequence[str], standing: _Standing) -> GiveUp:
    reasons = [f"{name}: {standing.ended[name]}" for name in providers if name in standing.ended]
    codes = set(standing.ended.values())
    failure = "provider_unavailable"
    if INVALID_ANSWER in codes:
        failure = INVALID_ANSWER
    elif codes == {OUT_OF_BUDGET}:
        failure = OUT_OF_BUDGET
    return GiveUp(failure, "; ".join(reasons)[:300])
