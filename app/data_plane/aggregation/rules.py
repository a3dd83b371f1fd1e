"""Aggregation rules, named and versioned: proposals in, one outcome out.

Proposals come in the template's order of agents, never in the order of their arrival. Every tie is broken by that
order, so a rule has one answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.kernel.release import Aggregation
from interlock.canonical import JsonObject, canonical_bytes


@dataclass(frozen=True, slots=True)
class Proposal:
    """What one agent's run returned, or why it returned nothing."""

    agent: str
    value: JsonObject | None
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Vote:
    """What one proposal counted for."""

    agent: str
    side: str
    """Canonical JSON of the voted fields; empty for a run without a proposal."""
    weight: int


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome, who won, and every vote behind it; no winner when no proposal is valid."""

    rule: str
    winner: str | None
    outcome: JsonObject | None
    votes: tuple[Vote, ...]
    reason: str

    def as_json(self) -> JsonObject:
        """The votes and their reason, for the payload store."""
        return {
            "rule": self.rule,
            "winner": self.winner,
            "reason": self.reason,
            "votes": [{"agent": vote.agent, "side": vote.side, "weight": vote.weight} for vote in self.votes],
        }


def aggregate(rule: Aggregation, proposals: Sequence[Proposal]) -> Result:
    """Apply the rule. Raises KeyError for a rule or version that does not exist (publishing refuses those)."""
    name = f"{rule.rule}/{rule.version}"
    weigh = _WEIGHTS[name]
    votes = tuple(
        Vote(proposal.agent, _side(rule, proposal), weigh(rule, proposal)) if proposal.value is not None
        else Vote(proposal.agent, "", 0)
        for proposal in proposals
    )  # fmt: skip
    valid = [proposal for proposal in proposals if proposal.value is not None]
    if not valid:
        failures = ", ".join(f"{proposal.agent}: {proposal.failure}" for proposal in proposals)
        return Result(name, None, None, votes, f"no valid proposal ({failures})")
    if rule.rule == "first_valid":
        return Result(name, valid[0].agent, valid[0].value, votes, f"{valid[0].agent} is the first valid one")
    return _by_votes(name, valid, votes)


def _by_votes(name: str, valid: Sequence[Proposal], votes: tuple[Vote, ...]) -> Result:
    tally: dict[str, int] = {}
    for vote in votes:
        if vote.side:
            tally[vote.side] = tally.get(vote.side, 0) + vote.weight
    best = max(tally.values())
    # Dictionaries keep the order of insertion: the first side with the most votes is the template's first.
    side = next(key for key, weight in tally.items() if weight == best)
    sides = {vote.agent: vote.side for vote in votes}
    winner = next(proposal for proposal in valid if sides[proposal.agent] == side)
    total = sum(tally.values())
    tied = sum(1 for weight in tally.values() if weight == best) > 1
    reason = f"{best} of {total} for {side}" + (", a tie broken by the template's order" if tied else "")
    return Result(name, winner.agent, winner.value, votes, reason)


def _side(rule: Aggregation, proposal: Proposal) -> str:
    value = proposal.value or {}
    fields = rule.over or tuple(sorted(value))
    return canonical_bytes({name: value.get(name) for name in fields}).decode()


def _one(_rule: Aggregation, _proposal: Proposal) -> int:
    return 1


def _declared(rule: Aggregation, proposal: Proposal) -> int:
    return rule.weights.get(proposal.agent, 1)


_WEIGHTS: dict[str, Callable[[Aggregation, Proposal], int]] = {
    "first_valid/1": _one,
    "majority/1": _one,
    "weighted/1": _declared,
}
