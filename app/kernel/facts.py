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

from app.kernel.release import Channel
from interlock.canonical import JsonObject, canonical_bytes
from interlock.identity import Lane

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


class BaseFact(BaseModel):
    """What every fact has: a kind, and whether it came from outside."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    outside: ClassVar[bool] = True


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


class DeliveryStarted(BaseFact):
    """An attempt at an action is about to be sent; committed before the call."""

    kind: Literal["delivery_started"] = "delivery_started"
    action_id: str
    attempt: int


class DeliveryConfirmed(BaseFact):
    """The target took the action."""

    kind: Literal["delivery_confirmed"] = "delivery_confirmed"
    action_id: str
    attempt: int
    http_status: int
    receipt_digest: str
    repeated: bool = False
    """The target says that it had applied this key before."""


class DeliveryRetried(BaseFact):
    """An attempt failed in a way that may pass; the next one is due later."""

    kind: Literal["delivery_retried"] = "delivery_retried"
    action_id: str
    attempt: int
    reason: str
    ambiguous: bool = Field(default=False, exclude_if=lambda value: not value)
    """Nobody knows whether the attempt was applied: it may be repeated only while the target keeps its key."""


class DeliveryFailed(BaseFact):
    """The action gave up."""

    kind: Literal["delivery_failed"] = "delivery_failed"
    action_id: str
    attempt: int
    reason: str


class DeliveryInDoubt(BaseFact):
    """The action may or may not have been applied; a probe or a person must tell."""

    kind: Literal["delivery_in_doubt"] = "delivery_in_doubt"
    action_id: str
    attempt: int
    reason: str


class DeliveryProbed(BaseFact):
    """The target was asked what became of an action that is in doubt."""

    kind: Literal["delivery_probed"] = "delivery_probed"
    action_id: str
    attempt: int
    probe: int
    """Counts the probes of this action from 1."""
    answer: Literal["applied", "not_applied", "unknown"]
    reason: str
    receipt_digest: str


class ActionSettled(BaseFact):
    """A person says what became of an action that was in doubt."""

    kind: Literal["action_settled"] = "action_settled"
    action_id: str
    attempt: int
    """The one that was in doubt."""
    applied: bool
    actor: str
    reason_digest: str


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


class ActionAuthorised(BaseFact):
    """The policy permits the action; its intent and key are committed before anything is sent."""

    kind: Literal["action_authorised"] = "action_authorised"
    outside: ClassVar[bool] = False
    action_id: str
    name: str
    position: int
    tool: str
    target: str
    arguments_digest: str
    idempotency_key: str
    policies: tuple[str, ...]


class ActionDenied(BaseFact):
    """No policy permits the action, a policy forbids it, or its arguments do not fit the tool."""

    kind: Literal["action_denied"] = "action_denied"
    outside: ClassVar[bool] = False
    action_id: str
    name: str
    position: int
    tool: str
    target: str
    arguments_digest: str
    reason: str
    policies: tuple[str, ...]


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
    | OrchestrationClosed,
    Field(discriminator="kind"),
]


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


RunFact = Annotated[
    ModelAsked
    | ModelAnswered
    | ModelFailed
    | BudgetRefused
    | AnswerRejected
    | ProviderHop
    | ProposalMade
    | RunFailed
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
