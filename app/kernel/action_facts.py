"""Facts of actions: what was asked for, what may happen, who consented, and what became of it."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from app.kernel.base_fact import BaseFact


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
    provenance_digest: str = Field(default="", exclude_if=lambda value: not value)
    """Of where each argument came from, as the policy saw it."""
    run_id: str = Field(default="", exclude_if=lambda value: not value)
    """The run whose model called the tool; empty for an action of the decision."""
    approved_by: tuple[str, ...] = Field(default=(), exclude_if=lambda value: not value)
    """The people who consented, where the policy wanted that."""


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
    provenance_digest: str = Field(default="", exclude_if=lambda value: not value)
    run_id: str = Field(default="", exclude_if=lambda value: not value)
    was_asked: bool = Field(default=False, exclude_if=lambda value: not value)
    """People were asked for their consent, and it did not come."""


class CallProposed(BaseFact):
    """A run's model calls a tool that writes or sends: an action, once the policy permits it."""

    kind: Literal["call_proposed"] = "call_proposed"
    action_id: str
    run_id: str
    stage: str
    agent: str
    position: int
    """Of the question whose answer holds the call."""
    call: int
    """Counts the calls of that answer from 0."""
    tool: str
    target: str
    arguments_digest: str
    provenance_digest: str
    made: int = Field(default=0, exclude_if=lambda value: not value)
    """How many calls of tools the run had made before."""
    spent_nano_usd: int = Field(default=0, exclude_if=lambda value: not value)
    """What its questions and calls had cost by then."""


class ApprovalRequested(BaseFact):
    """The policy permits the action only with a person's consent to exactly this."""

    kind: Literal["approval_requested"] = "approval_requested"
    outside: ClassVar[bool] = False
    action_id: str
    name: str
    position: int
    tool: str
    target: str
    arguments_digest: str
    idempotency_key: str
    policies: tuple[str, ...]
    """Those that want the consent."""
    provenance_digest: str
    action_digest: str
    """Of all that is consented to: the tool, the target, the arguments, the key, and the policy's version."""
    persons: int
    """How many must consent, no two the same."""
    expires_seconds: float
    run_id: str = Field(default="", exclude_if=lambda value: not value)


class ApprovalGranted(BaseFact):
    """A person consents, once, to the action with this digest."""

    kind: Literal["approval_granted"] = "approval_granted"
    action_id: str
    action_digest: str
    actor: str
    reason_digest: str


class ApprovalDenied(BaseFact):
    """A person says no."""

    kind: Literal["approval_denied"] = "approval_denied"
    action_id: str
    actor: str
    reason_digest: str


class ApprovalExpired(BaseFact):
    """Nobody answered in time, or too few."""

    kind: Literal["approval_expired"] = "approval_expired"
    action_id: str


class ApprovalSuperseded(BaseFact):
    """What was shown is no longer what would happen, so that nobody can consent to it any more."""

    kind: Literal["approval_superseded"] = "approval_superseded"
    action_id: str
    reason: str


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
