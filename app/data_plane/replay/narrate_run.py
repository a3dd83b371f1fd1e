"""The way of a run in plain sentences: whom it asked, what came back, and why it turned to somebody else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from app.data_plane.budgets.costs import UNPRICED_NANO_USD
from app.data_plane.budgets.reservations import NANO_USD
from app.data_plane.replay.visible import visible
from app.kernel.facts import (
    AnswerRejected,
    AnyFact,
    BudgetRefused,
    ModelAnswered,
    ModelFailed,
    ProposalMade,
    ProviderHop,
    RunFailed,
    StepLapsed,
    ToolAnswered,
    ToolCalled,
    ToolFailed,
)

_REASONS = {
    "breaker_open": "the breaker is open",
    "forced_open": "an operator keeps the breaker open",
    "out_of_budget": "a budget has no room for it",
    "invalid_answer": "no answer was a proposal",
}

_WHY_NOT = {
    "denied": "the policy denied it",
    "not_approved": "people were asked, and did not consent",
    "not_delivered": "its target did not take it",
    "outcome_unknown": "nobody knows whether it was applied",
    "tool_result_invalid": "what came back is not what the tool declares",
}

Calls = Mapping[tuple[int, int], str]
"""By question and number: the tool that was called."""


def tell_run(facts: Iterable[AnyFact]) -> tuple[str, ...]:
    """One sentence for each fact that says something about the way."""
    known = tuple(facts)
    calls = {(one.position, one.call): one.tool for one in known if isinstance(one, ToolCalled)}
    return tuple(sentence for fact in known if (sentence := tell_step(fact, calls)))


def tell_step(fact: AnyFact, calls: Calls | None = None) -> str:
    """The sentence of one fact of a run; empty where it says nothing about the way.

    Args:
        calls: the tools that the run has called, so that an answer can name its own.
    """
    match fact:
        case ToolCalled() | ToolAnswered() | ToolFailed():
            return _tell_of_a_call(fact, calls or {})
        case ModelAnswered():
            return (
                f"{fact.provider} ({fact.model}) answered in {fact.duration_ms} ms:"
                f" {_counted(fact)}{money(fact.nano_usd)}."
            )
        case ModelFailed():
            presumed = f"; {fact.tokens} tokens{money(fact.nano_usd)} are presumed" if fact.presumed else ""
            return f"{fact.provider} gave no answer: {fact.code}{presumed}."
        case AnswerRejected():
            where = f" at {fact.path}" if fact.path else ""
            return f"The answer of {fact.provider} is no proposal{where}: {fact.reason}."
        case BudgetRefused():
            limit, taken, asked = (amount(fact.unit, one) for one in (fact.limit, fact.taken, fact.asked))
            return (
                f"{fact.provider} was not asked: of {limit} for the {fact.level}, {taken} are taken, and up to"
                f" {asked} were needed."
            )
        case ProviderHop(reason="slow"):
            return f"{fact.to} was asked beside {fact.left}, which was slow."
        case ProviderHop():
            to = f"{fact.to} was turned to" if fact.to else "nobody was left to be asked"
            return f"{fact.left} was left, as {_REASONS.get(fact.reason, f'it gave no answer ({fact.reason})')}: {to}."
        case StepLapsed():
            return f"A worker was lost on it, number {fact.lapses}."
        case ProposalMade(repairs=repairs) if repairs:
            return f"The answer was repaired: {', '.join(repairs)}."
        case RunFailed():
            return f"It ended without a proposal: {fact.failure}."
    return ""


def _tell_of_a_call(fact: ToolCalled | ToolAnswered | ToolFailed, calls: Calls) -> str:
    if isinstance(fact, ToolCalled):
        at = f" at {fact.target}" if fact.target else ""
        return f"It called {visible(fact.tool)}{at}: {verdict_in_words(fact)}."
    tool = visible(calls.get((fact.position, fact.call), f"call {fact.call} of question {fact.position}"))
    # An effect's time is told by its deliveries.
    took = f" in {fact.duration_ms} ms" if fact.duration_ms else ""
    if isinstance(fact, ToolAnswered):
        return f"{tool} answered{took}: {fact.result_digest[:12]}."
    return f"{tool} gave no result{took}: {why_not(fact)}."


def verdict_in_words(called: ToolCalled) -> str:
    """What the gateway said of a call."""
    policies = ", ".join(called.policies)
    match called.verdict:
        case "permitted":
            return f"permitted by {policies or 'its policy'}"
        case "handed_over":
            return f"handed over as the action {called.action_id}"
    return f"denied, {visible(called.reason)}" + (f" ({policies})" if policies else "")


def why_not(failed: ToolFailed) -> str:
    """Why a call has no result."""
    return _WHY_NOT.get(failed.code, f"{failed.code} ({failed.fate})")


def _counted(fact: ModelAnswered) -> str:
    if fact.presumed:
        return "it did not say how many tokens, and the worst is presumed"
    return f"{fact.input_tokens} + {fact.output_tokens} tokens"


def amount(unit: str, number: int) -> str:
    """An amount of a budget with its unit, as people say it."""
    match unit:
        case "nano_usd":
            return "any amount" if number >= UNPRICED_NANO_USD else f"${number / NANO_USD:.6f}"
        case "milliseconds":
            return f"{number / 1000:g} s"
    return f"{number:,} {unit}"


def money(nano_usd: int) -> str:
    """`` for $0.000123``; nothing where it is free."""
    return f" for ${nano_usd / NANO_USD:.6f}" if nano_usd else ""


def total(facts: Iterable[AnyFact]) -> tuple[int, int]:
    """What the run cost: tokens, and billionths of a US dollar; what is presumed counts."""
    tokens = nano_usd = 0
    for fact in facts:
        match fact:
            case ModelAnswered():
                tokens += fact.input_tokens + fact.output_tokens
                nano_usd += fact.nano_usd
            case ModelFailed():
                tokens += fact.tokens
                nano_usd += fact.nano_usd
    return tokens, nano_usd
