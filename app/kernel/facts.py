"""Facts: what happened to an orchestration, append-only, small, and without content.

Content (payloads, prompts, answers, arguments) lives in the payload store; a fact holds its digest.
*Outside* facts tell what the world did and are recorded once. *Derived* facts follow from them by pure code,
so that replaying the outside facts must give the same derived ones: this is what ``verify`` checks.
A field that is added to a kind of fact is left out at its default (``exclude_if``): an older worker beside a newer one
can read whatever does not need it.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from app.kernel.action_facts import (
    ActionAuthorised,
    ActionDenied,
    ActionSettled,
    ApprovalDenied,
    ApprovalExpired,
    ApprovalGranted,
    ApprovalRequested,
    ApprovalSuperseded,
    CallProposed,
    DeliveryConfirmed,
    DeliveryFailed,
    DeliveryInDoubt,
    DeliveryProbed,
    DeliveryRetried,
    DeliveryStarted,
)
from app.kernel.base_fact import BaseFact
from app.kernel.release import Channel
from app.kernel.run_facts import (
    AnswerRejected,
    BudgetRefused,
    ModelAnswered,
    ModelAsked,
    ModelFailed,
    ProposalMade,
    ProviderHop,
    RunFailed,
    ToolAnswered,
    ToolCalled,
    ToolFailed,
)
from interlock.canonical import JsonObject, canonical_bytes
from interlock.identity import Lane

__all__ = [
    "TERMINAL",
    "ActionAuthorised",
    "ActionDenied",
    "ActionSettled",
    "AnswerRejected",
    "AnyFact",
    "ApprovalDenied",
    "ApprovalExpired",
    "ApprovalGranted",
    "ApprovalRequested",
    "ApprovalSuperseded",
    "BaseFact",
    "BudgetRefused",
    "CallProposed",
    "CancelRequested",
    "DecisionMade",
    "DeliveryConfirmed",
    "DeliveryFailed",
    "DeliveryInDoubt",
    "DeliveryProbed",
    "DeliveryRetried",
    "DeliveryStarted",
    "Fact",
    "ModelAnswered",
    "ModelAsked",
    "ModelFailed",
    "OrchestrationClosed",
    "OrchestrationResumed",
    "OrchestrationStarted",
    "OrchestrationStatus",
    "ProposalMade",
    "ProviderHop",
    "Recorded",
    "ReviewExpired",
    "ReviewRequested",
    "ReviewResolved",
    "RunFact",
    "RunFailed",
    "RunFolded",
    "SnapshotTaken",
    "StageDecided",
    "StageSkipped",
    "StageStarted",
    "StepGaveUp",
    "StepLapsed",
    "ToolAnswered",
    "ToolCalled",
    "ToolFailed",
    "chain_hash",
    "decode",
    "encode",
]

OrchestrationStatus = Literal[
    "running",
    "waiting_for_release",
    "awaiting_approval",
    "in_review",
    "completed",
    "failed",
    "dead_lettered",
    "cancelled",
]
TERMINAL: frozenset[str] = frozenset({"completed", "failed", "dead_lettered", "cancelled"})


class OrchestrationStarted(BaseFact):
    """An event was accepted for a workflow and pinned to a release."""

    kind: Literal["orchestration_started"] = "orchestration_started"
    workflow: str
    release: str
    channel: Channel
    lane: Lane
    ordinal: int
    source: str
    event_id: str
    event_type: str
    raw_digest: str
    event_digest: str
    """Digest of the normalised event, which is what everything after it reads."""
    normaliser: str
    """Name and version of the normaliser, as ``github/1``."""
    replay_of: str = Field(default="", exclude_if=lambda value: not value)
    """The orchestration that this one is a rerun of."""


class SnapshotTaken(BaseFact):
    """The template's lookups were answered; nothing after this reads their sources again."""

    kind: Literal["snapshot_taken"] = "snapshot_taken"
    snapshot_digest: str


class RunFolded(BaseFact):
    """A run is final; its own chain of facts ends in ``chain_hash``."""

    kind: Literal["run_folded"] = "run_folded"
    stage: str
    agent: str
    run_id: str
    proposal_digest: str | None
    failure: str | None
    """Why there is no proposal, as a stable code (``invalid_answer``, ``provider_unavailable``, ``timed_out``)."""
    chain_length: int
    chain_hash: str


class OrchestrationResumed(BaseFact):
    """A person had a dead-lettered orchestration go on from where it gave up; what is confirmed is not sent again."""

    kind: Literal["orchestration_resumed"] = "orchestration_resumed"
    replay_id: str
    actor: str
    reason_digest: str


class ReviewResolved(BaseFact):
    """A person completed a stage whose agents gave no valid proposal."""

    kind: Literal["review_resolved"] = "review_resolved"
    stage: str
    outcome_digest: str
    actor: str
    reason_digest: str


class ReviewExpired(BaseFact):
    """Nobody completed the stage in time."""

    kind: Literal["review_expired"] = "review_expired"
    stage: str


class CancelRequested(BaseFact):
    """A person asked to end the orchestration; what is unsent stays unsent."""

    kind: Literal["cancel_requested"] = "cancel_requested"
    actor: str
    reason_digest: str


class StepGaveUp(BaseFact):
    """A step could not be done, however often it was tried: the orchestration ends here, for a person to look at."""

    kind: Literal["step_gave_up"] = "step_gave_up"
    step_id: str
    queue: str
    code: str
    """The error's stable code; ``defect`` for a fault of Interlock's own."""
    attempts: int


class StepLapsed(BaseFact):
    """A lease ended without a result: its worker died, or was too slow, and whatever it writes later does not count."""

    kind: Literal["step_lapsed"] = "step_lapsed"
    step_id: str
    queue: str
    lapses: int
    """How many leases of this step have ended so."""


class StageStarted(BaseFact):
    """A stage's condition held and its agents were called for."""

    kind: Literal["stage_started"] = "stage_started"
    outside: ClassVar[bool] = False
    stage: str
    agents: tuple[str, ...]


class StageSkipped(BaseFact):
    """A stage's condition did not hold, or could not be evaluated."""

    kind: Literal["stage_skipped"] = "stage_skipped"
    outside: ClassVar[bool] = False
    stage: str
    reason: str


class ReviewRequested(BaseFact):
    """No proposal was valid, and the stage's fallback is a person: the orchestration waits for one."""

    kind: Literal["review_requested"] = "review_requested"
    outside: ClassVar[bool] = False
    stage: str
    expires_seconds: float


class StageDecided(BaseFact):
    """A stage's proposals were aggregated."""

    kind: Literal["stage_decided"] = "stage_decided"
    outside: ClassVar[bool] = False
    stage: str
    rule: str
    """Name and version, as ``majority/1``."""
    winner: str | None
    """The agent whose proposal became the outcome; None when the fallback answered."""
    degraded: bool
    outcome_digest: str
    votes_digest: str
    fallback: Literal["", "rule", "review"] = Field(default="", exclude_if=lambda value: not value)
    """Which fallback answered when nobody won; empty for the safe default."""


class DecisionMade(BaseFact):
    """All stages are settled: the typed decision and the digest of everything it rests on."""

    kind: Literal["decision_made"] = "decision_made"
    outside: ClassVar[bool] = False
    decision_digest: str
    outcome_digest: str
    degraded: bool
    actions: int


class OrchestrationClosed(BaseFact):
    """The end: nothing follows it."""

    kind: Literal["orchestration_closed"] = "orchestration_closed"
    outside: ClassVar[bool] = False
    status: Literal["completed", "failed", "dead_lettered", "cancelled"]
    reason: str


Fact = Annotated[
    OrchestrationStarted
    | SnapshotTaken
    | RunFolded
    | DeliveryStarted
    | DeliveryConfirmed
    | DeliveryRetried
    | DeliveryFailed
    | DeliveryInDoubt
    | DeliveryProbed
    | ActionSettled
    | ReviewResolved
    | ReviewExpired
    | OrchestrationResumed
    | CancelRequested
    | StepGaveUp
    | StepLapsed
    | StageStarted
    | StageSkipped
    | ReviewRequested
    | StageDecided
    | DecisionMade
    | ActionAuthorised
    | ActionDenied
    | CallProposed
    | ApprovalRequested
    | ApprovalGranted
    | ApprovalDenied
    | ApprovalExpired
    | ApprovalSuperseded
    | OrchestrationClosed,
    Field(discriminator="kind"),
]


RunFact = Annotated[
    ModelAsked
    | ModelAnswered
    | ModelFailed
    | BudgetRefused
    | AnswerRejected
    | ProviderHop
    | ProposalMade
    | RunFailed
    | ToolCalled
    | ToolAnswered
    | ToolFailed
    | StepLapsed,
    Field(discriminator="kind"),
]

AnyFact = Fact | RunFact


@dataclass(frozen=True, slots=True)
class Recorded:
    """A fact in its place in a chain, as the journal holds it."""

    chain_id: str
    seq: int
    at: str
    fact: AnyFact


def encode(chain_id: str, seq: int, at: str, fact: BaseFact) -> bytes:
    """The canonical bytes of a fact in its place; the chain's hash is over these."""
    body: JsonObject = {
        "chain": chain_id,
        "seq": seq,
        "at": at,
        "fact": fact.model_dump(mode="json"),
    }
    return canonical_bytes(body)


def decode(body: bytes) -> Recorded:
    """A fact in its place, from its canonical bytes. Raises pydantic.ValidationError for what is no fact."""
    return _RECORDED.validate_json(body).recorded()


class _Place(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    chain: str
    seq: int
    at: str
    fact: AnyFact = Field(discriminator="kind")

    def recorded(self) -> Recorded:
        return Recorded(chain_id=self.chain, seq=self.seq, at=self.at, fact=self.fact)


_RECORDED: TypeAdapter[_Place] = TypeAdapter(_Place)


def chain_hash(previous: bytes, body: bytes) -> bytes:
    """The hash of a fact in its chain: SHA-256 over the hash before it (none for the first) and its canonical bytes."""
    return sha256(previous + body).digest()
