"""Agents' runs as their own chains have them, and what of their calls stands in their orchestrations.

As ``records.py``: nothing here knows the product's code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Called:
    """A call that a run's model wrote, and the verdict on it."""

    verdict: str
    action_id: str
    arguments: str
    """Their digest."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a run was told of one of its calls; no code when it was given a result."""

    code: str
    at: float


@dataclass(frozen=True, slots=True)
class Proposed:
    """A call as its run handed it over to the orchestration."""

    action_id: str
    run_id: str
    tool: str
    target: str
    arguments: str


@dataclass(slots=True)
class Run:
    """One run's own chain. Calls by their place: the question's position, and the number in its answer."""

    run_id: str
    called: dict[tuple[int, int], Called] = field(default_factory=dict)
    told: dict[tuple[int, int], Told] = field(default_factory=dict)
    has_proposal: bool = False
    asked: dict[int, str] = field(default_factory=dict)
    """By position: the digest of what was asked first of all, so neither once more nor beside a slow provider."""
    answered: list[str] = field(default_factory=list)
    """The digests of the questions that were answered, in order."""
    chain_is_whole: bool = True

    def take(self, fact: Mapping[str, Any], at: float) -> None:
        """The next fact of its chain."""
        kind = fact["kind"]
        if kind == "model_asked":
            if not fact.get("again") and not fact.get("hedge"):
                self.asked[fact["position"]] = fact["prompt_digest"]
        elif kind == "model_answered":
            if fact["position"] in self.asked:
                self.answered.append(self.asked[fact["position"]])
        elif kind == "tool_called":
            called = Called(fact["verdict"], fact.get("action_id", ""), fact["arguments_digest"])
            self.called[fact["position"], fact["call"]] = called
        elif kind in {"tool_answered", "tool_failed"}:
            self.told[fact["position"], fact["call"]] = Told(fact.get("code", ""), at)
        elif kind == "proposal_made":
            self.has_proposal = True


def proposed_by(fact: Mapping[str, Any]) -> Proposed:
    """From the orchestration's fact that a run has called for an effect."""
    return Proposed(fact["action_id"], fact["run_id"], fact["tool"], fact["target"], fact["arguments_digest"])
