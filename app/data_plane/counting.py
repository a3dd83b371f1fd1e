"""What each fact of a journal adds to the counters that are read from journals: pure, so that a recount gives the same.

A counter's labels are in the order of ``LABELS``. What a fact does not say itself (its orchestration's workflow, its
action's target, the model that was asked) is looked up by whoever counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from app.data_plane.dead_letters.from_facts import CONCERNED, Owner, opened
from app.data_plane.ports import Queue
from app.kernel.facts import (
    AnswerRejected,
    ApprovalDenied,
    ApprovalExpired,
    ApprovalGranted,
    ApprovalRequested,
    ApprovalSuperseded,
    BaseFact,
    DecisionMade,
    DeliveryConfirmed,
    DeliveryFailed,
    DeliveryInDoubt,
    DeliveryRetried,
    ModelAnswered,
    ModelAsked,
    OrchestrationClosed,
    OrchestrationStarted,
    ProviderHop,
    Recorded,
    StepLapsed,
)
from app.telemetry import metric_names as names

LABELS: Final[Mapping[str, tuple[str, ...]]] = {
    names.FACTS: ("kind",),
    names.RETRIES: ("queue", "cause"),
    names.ORCHESTRATIONS_STARTED: ("workflow", "lane", "channel"),
    names.ORCHESTRATIONS_CLOSED: ("workflow", "status"),
    names.DECISIONS: ("workflow", "release", "channel", "degraded"),
    names.DEAD_LETTERS: ("queue", "cause"),
    names.DELIVERIES: ("target", "outcome"),
    names.APPROVALS: ("answer",),
    names.PROVIDER_HOPS: ("left", "to", "reason"),
    names.MODEL_TOKENS: ("gen_ai_request_model", "gen_ai_token_type"),
}
"""The counters that journals feed, each with its labels."""

UNKNOWN: Final = "unknown"
"""What cannot be looked up any more, as retention removed it; and the kind of a fact that a newer version wrote."""

_RELEASE_CHARACTERS = 12
_NOBODY = Owner("", "", "", "")
_OUTCOMES = {
    DeliveryConfirmed: "confirmed",
    DeliveryRetried: "retried",
    DeliveryFailed: "failed",
    DeliveryInDoubt: "in_doubt",
}
OUTCOMES: Final = tuple(_OUTCOMES.values())
"""What comes of an attempt at a delivery."""

_ANSWERS = {
    ApprovalRequested: "requested",
    ApprovalGranted: "granted",
    ApprovalDenied: "denied",
    ApprovalExpired: "expired",
    ApprovalSuperseded: "superseded",
}
_OF_ORCHESTRATIONS = (OrchestrationClosed, DecisionMade)
_OF_ACTIONS = tuple(_OUTCOMES)


def _kind_of(fact: type[BaseFact]) -> str:
    return str(fact.model_fields["kind"].default)


_READ = (
    *(AnswerRejected, ModelAnswered, ModelAsked, OrchestrationStarted, ProviderHop, StepLapsed),
    *_OF_ORCHESTRATIONS,
    *_OF_ACTIONS,
    *_ANSWERS,
    *CONCERNED,
)
PLAIN: Final = frozenset(_kind_of(one) for one in BaseFact.__subclasses__() if one not in _READ)
"""The kinds of facts that count as one of their kind and as nothing else: their bodies need not be read."""


class Pinned(NamedTuple):
    """What an orchestration was started with."""

    workflow: str
    release: str
    channel: str


_UNPINNED = Pinned(UNKNOWN, UNKNOWN, UNKNOWN)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be looked up before facts can be counted."""

    orchestrations: set[str] = field(default_factory=set)
    actions: set[str] = field(default_factory=set)
    questions: set[tuple[str, int]] = field(default_factory=set)
    """Chain and number of the facts that say which model was asked."""

    def add(self, recorded: Recorded) -> None:
        """What this fact does not say itself."""
        fact = recorded.fact
        if isinstance(fact, _OF_ORCHESTRATIONS):
            self.orchestrations.add(recorded.chain_id)
        elif isinstance(fact, _OF_ACTIONS):
            self.actions.add(fact.action_id)
        elif isinstance(fact, ModelAnswered):
            self.questions.add((recorded.chain_id, recorded.seq - 1))


@dataclass(frozen=True, slots=True)
class Known:
    """What was looked up; what is absent counts as ``unknown``."""

    orchestrations: Mapping[str, Pinned]
    targets: Mapping[str, str]
    """By action."""
    models: Mapping[tuple[str, int], str]
    """By the chain and the number of the question."""


class Count(NamedTuple):
    """So much is added to one counter."""

    metric: str
    labels: tuple[str, ...]
    amount: int = 1


def counts(recorded: Recorded, known: Known) -> Iterator[Count]:
    """All that one fact adds."""
    fact = recorded.fact
    yield Count(names.FACTS, (fact.kind,))
    match fact:
        case DeliveryRetried():
            yield Count(names.RETRIES, (Queue.DISPATCH.value, fact.kind))
        case AnswerRejected():
            yield Count(names.RETRIES, (Queue.AGENT_RUNS.value, fact.kind))
        case StepLapsed():
            yield Count(names.RETRIES, (fact.queue, fact.kind))
        case OrchestrationStarted():
            yield Count(names.ORCHESTRATIONS_STARTED, (fact.workflow, fact.lane, fact.channel))
        case OrchestrationClosed():
            pinned = known.orchestrations.get(recorded.chain_id, _UNPINNED)
            yield Count(names.ORCHESTRATIONS_CLOSED, (pinned.workflow, fact.status))
        case DecisionMade():
            pinned = known.orchestrations.get(recorded.chain_id, _UNPINNED)
            release, degraded = pinned.release[:_RELEASE_CHARACTERS], str(fact.degraded).lower()
            yield Count(names.DECISIONS, (pinned.workflow, release, pinned.channel, degraded))
        case ProviderHop():
            yield Count(names.PROVIDER_HOPS, (fact.left, fact.to or "fallback", fact.reason))
        case ModelAnswered():
            model = known.models.get((recorded.chain_id, recorded.seq - 1), UNKNOWN)
            yield Count(names.MODEL_TOKENS, (model, "input"), fact.input_tokens)
            yield Count(names.MODEL_TOKENS, (model, "output"), fact.output_tokens)
    if isinstance(fact, _OF_ACTIONS):
        target = known.targets.get(fact.action_id, UNKNOWN)
        yield Count(names.DELIVERIES, (target, _OUTCOMES[type(fact)]))
    if (answer := _ANSWERS.get(type(fact))) is not None:
        yield Count(names.APPROVALS, (answer,))
    if type(fact) in CONCERNED and (row := opened(_NOBODY, recorded)) is not None:
        yield Count(names.DEAD_LETTERS, (row.queue, row.cause.value))
