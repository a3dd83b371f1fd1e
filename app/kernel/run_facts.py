"""Facts of a run: its own chain, folded into its orchestration's by one fact."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from app.kernel.base_fact import BaseFact


class ModelAsked(BaseFact):
    """A run called a model."""

    kind: Literal["model_asked"] = "model_asked"
    position: int
    """Counts the questions of this run from 0."""
    provider: str
    model: str
    prompt_digest: str
    again: bool = Field(default=False, exclude_if=lambda value: not value)
    """The one bounded re-ask: it says why the answer before it was no proposal."""
    hedge: bool = Field(default=False, exclude_if=lambda value: not value)
    """Asked beside another provider, which had not answered for long."""
    probe: bool = Field(default=False, exclude_if=lambda value: not value)
    """The one question that a half-open breaker lets through."""


class ModelAnswered(BaseFact):
    """A recording: the exact answer, kept before anyone interprets it."""

    kind: Literal["model_answered"] = "model_answered"
    position: int
    provider: str
    model: str
    """The model that answered, as it names itself."""
    answer_digest: str
    input_tokens: int
    output_tokens: int
    started_at: str
    duration_ms: int
    nano_usd: int = Field(default=0, exclude_if=lambda value: not value)
    """What it cost by the release's price table, in billionths of a US dollar."""
    presumed: bool = Field(default=False, exclude_if=lambda value: not value)
    """The provider did not say what it counted: tokens and cost are presumed at their worst."""
    calls: int = Field(default=0, exclude_if=lambda value: not value)
    """How many tools the answer calls. The recording of one that calls any is JSON: its text and its calls."""


class ModelFailed(BaseFact):
    """The provider gave no answer."""

    kind: Literal["model_failed"] = "model_failed"
    position: int
    provider: str
    code: str
    fate: Literal["transient", "permanent", "defect"]
    duration_ms: int = Field(default=0, exclude_if=lambda value: not value)
    tokens: int = Field(default=0, exclude_if=lambda value: not value)
    """What it cost all the same."""
    nano_usd: int = Field(default=0, exclude_if=lambda value: not value)
    presumed: bool = Field(default=False, exclude_if=lambda value: not value)
    """Nobody knows what the provider counted: the worst case is presumed, so that no budget is overspent."""


class BudgetRefused(BaseFact):
    """The verdict of a budget: the question was not asked, because its worst case would not fit."""

    kind: Literal["budget_refused"] = "budget_refused"
    provider: str
    model: str
    level: Literal["tenant", "orchestration", "run", "call"]
    unit: Literal["tokens", "nano_usd", "calls", "milliseconds"]
    limit: int
    taken: int
    """Spent, presumed and reserved so far."""
    asked: int
    """The worst case of this question."""


class AnswerRejected(BaseFact):
    """An answer was interpreted and is no proposal; the run goes on."""

    kind: Literal["answer_rejected"] = "answer_rejected"
    position: int
    """Of the question that it answers."""
    provider: str
    path: str
    reason: str
    parser: str


class ProviderHop(BaseFact):
    """The run turned from one provider to the next, or to its end when there is none."""

    kind: Literal["provider_hop"] = "provider_hop"
    left: str
    to: str
    """Empty at the end of the chain: the stage's deterministic fallback answers."""
    reason: str
    """A stable code: the error's, ``breaker_open``, ``out_of_budget``, ``invalid_answer``, ``slow`` (a hedge)."""


class ProposalMade(BaseFact):
    """The answer was interpreted and fits the stage's schema."""

    kind: Literal["proposal_made"] = "proposal_made"
    proposal_digest: str
    parser: str
    """Name and version of what read the answer, as ``tolerant_json/1``."""
    repairs: tuple[str, ...] = Field(default=(), exclude_if=lambda value: not value)
    """What the parser repaired, as stable codes."""


class RunFailed(BaseFact):
    """The run is final without a proposal."""

    kind: Literal["run_failed"] = "run_failed"
    failure: str
    detail: str
    parser: str


class ToolCalled(BaseFact):
    """A model called a tool: the verdict, before anything of it happens."""

    kind: Literal["tool_called"] = "tool_called"
    position: int
    """Of the question whose answer holds the call."""
    call: int
    """Counts the calls of that answer from 0."""
    tool: str
    """As the model wrote it, up to 100 characters."""
    target: str = Field(default="", exclude_if=lambda value: not value)
    arguments_digest: str
    """Of the canonical arguments; of the model's exact text where that is no JSON object."""
    provenance_digest: str = Field(default="", exclude_if=lambda value: not value)
    verdict: Literal["permitted", "denied", "handed_over"]
    """``handed_over``: it is an action now, whose verdict stands in the orchestration's chain."""
    policies: tuple[str, ...]
    reason: str = Field(default="", exclude_if=lambda value: not value)
    action_id: str = Field(default="", exclude_if=lambda value: not value)
    started_at: str


class ToolAnswered(BaseFact):
    """A recording: the tool's exact result, kept before any model sees it."""

    kind: Literal["tool_answered"] = "tool_answered"
    position: int
    call: int
    result_digest: str
    duration_ms: int


class ToolFailed(BaseFact):
    """The tool gave no result, or one that is not what it declares."""

    kind: Literal["tool_failed"] = "tool_failed"
    position: int
    call: int
    code: str
    fate: Literal["transient", "permanent", "defect"]
    duration_ms: int
