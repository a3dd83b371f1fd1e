"""The read models: what the journals say, as rows that are quick to list.

A projection is a pure function of the facts, so that the tables can be dropped and rebuilt to identical rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from app.kernel.facts import (
    ActionAuthorised,
    ActionDenied,
    ActionSettled,
    ApprovalRequested,
    DecisionMade,
    DeliveryConfirmed,
    DeliveryFailed,
    DeliveryInDoubt,
    DeliveryProbed,
    DeliveryRetried,
    DeliveryStarted,
    OrchestrationResumed,
    Recorded,
)


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """One orchestration's decision."""

    orchestration_id: str
    decision_digest: str
    outcome_digest: str
    degraded: bool
    actions: int
    decided_at: str


@dataclass(frozen=True, slots=True)
class ActionRow:
    """One action and what became of it so far."""

    action_id: str
    orchestration_id: str
    position: int
    name: str
    tool: str
    target: str
    state: str
    arguments_digest: str
    idempotency_key: str
    attempts: int = 0
    receipt_digest: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ReadModel:
    """The rows that one orchestration's facts make."""

    decision: DecisionRow | None
    actions: tuple[ActionRow, ...]


@dataclass(frozen=True, slots=True)
class ActionChange:
    """What a fact changes of an action's row."""

    action_id: str
    state: str
    attempts: int
    receipt_digest: str = ""
    reason: str = ""


def decision_row(recorded: Recorded) -> DecisionRow | None:
    """The decision that this fact makes, if it makes one."""
    fact = recorded.fact
    if not isinstance(fact, DecisionMade):
        return None
    return DecisionRow(
        recorded.chain_id,
        fact.decision_digest,
        fact.outcome_digest,
        fact.degraded,
        fact.actions,
        recorded.at,
    )


def action_row(recorded: Recorded) -> ActionRow | None:
    """The action that this fact brings into being, if it does."""
    fact = recorded.fact
    if not isinstance(fact, (ActionAuthorised, ActionDenied, ApprovalRequested)) or _was_asked(fact):
        return None
    return ActionRow(
        fact.action_id,
        recorded.chain_id,
        fact.position,
        fact.name,
        fact.tool,
        fact.target,
        state=_STATES[fact.kind],
        arguments_digest=fact.arguments_digest,
        idempotency_key="" if isinstance(fact, ActionDenied) else fact.idempotency_key,
        reason=fact.reason if isinstance(fact, ActionDenied) else "",
    )


_STATES = {
    "action_authorised": "authorised",
    "action_denied": "denied",
    "approval_requested": "awaiting_approval",
}


def _was_asked(fact: ActionAuthorised | ActionDenied | ApprovalRequested) -> bool:
    """Whether the action is there already: people were asked about it."""
    match fact:
        case ActionAuthorised():
            return bool(fact.approved_by)
        case ActionDenied():
            return fact.was_asked
    return False


def action_change(recorded: Recorded) -> ActionChange | None:
    """What this fact changes of an action, if anything."""
    match recorded.fact:
        case ActionAuthorised(action_id=action, approved_by=people) if people:
            return ActionChange(action, "authorised", 0, reason=f"approved by {', '.join(people)}")
        case ActionDenied(action_id=action, was_asked=True, reason=reason):
            return ActionChange(action, "denied", 0, reason=reason)
        case DeliveryStarted(action_id=action, attempt=attempt):
            return ActionChange(action, "sending", attempt)
        case DeliveryConfirmed(action_id=action, attempt=attempt, receipt_digest=receipt):
            return ActionChange(action, "confirmed", attempt, receipt_digest=receipt)
        case DeliveryRetried(action_id=action, attempt=attempt, reason=reason):
            return ActionChange(action, "authorised", attempt, reason=reason)
        case DeliveryFailed(action_id=action, attempt=attempt, reason=reason):
            return ActionChange(action, "failed", attempt, reason=reason)
        case DeliveryInDoubt(action_id=action, attempt=attempt, reason=reason):
            return ActionChange(action, "in_doubt", attempt, reason=reason)
        case DeliveryProbed(answer="unknown"):
            return None
        case DeliveryProbed(action_id=action, attempt=attempt, answer=answer, receipt_digest=receipt):
            reason = f"{_WHAT_WAS_SAID[answer]}, says its target"
            return ActionChange(action, "settled", attempt, receipt_digest=receipt, reason=reason)
        case ActionSettled(action_id=action, attempt=attempt, applied=applied, actor=actor):
            said = _WHAT_WAS_SAID["applied" if applied else "not_applied"]
            return ActionChange(action, "settled", attempt, reason=f"{said}, says {actor}")
    return None


_WHAT_WAS_SAID = {"applied": "it was applied", "not_applied": "it was not applied"}


def retaken(row: ActionRow) -> ActionRow:
    """The action when its orchestration is resumed: one that gave up is permitted again."""
    return replace(row, state="authorised") if row.state == "failed" else row


def read_model(facts: Iterable[Recorded]) -> ReadModel:
    """All rows of one orchestration, from its whole chain."""
    decision: DecisionRow | None = None
    actions: dict[str, ActionRow] = {}
    for recorded in facts:
        decision = decision_row(recorded) or decision
        if isinstance(recorded.fact, OrchestrationResumed):
            actions = {key: retaken(row) for key, row in actions.items()}
        if (row := action_row(recorded)) is not None:
            actions[row.action_id] = row
        if (change := action_change(recorded)) is not None and change.action_id in actions:
            actions[change.action_id] = replace(
                actions[change.action_id],
                state=change.state,
                attempts=change.attempts,
                receipt_digest=change.receipt_digest,
                reason=change.reason,
            )
    return ReadModel(decision, tuple(sorted(actions.values(), key=lambda row: row.position)))
