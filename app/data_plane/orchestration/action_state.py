"""What is known of one action: from the policy's verdict, over people's consent, to what became of it at its target."""

from __future__ import annotations

import unicodedata
from typing import Literal, NamedTuple, get_args

from app.data_plane.gateway.hidden import hidden
from app.kernel.facts import (
    ActionAuthorised,
    ActionDenied,
    ActionSettled,
    ApprovalDenied,
    ApprovalExpired,
    ApprovalGranted,
    ApprovalRequested,
    ApprovalSuperseded,
    DeliveryConfirmed,
    DeliveryFailed,
    DeliveryInDoubt,
    DeliveryProbed,
    DeliveryRetried,
    DeliveryStarted,
)

ActionStatus = Literal[
    "authorised", "denied", "awaiting_approval", "sending", "confirmed", "failed", "in_doubt", "settled"
]
SETTLED_ACTION: frozenset[str] = frozenset({"denied", "confirmed", "failed", "in_doubt", "settled"})

Verdict = ActionAuthorised | ActionDenied | ApprovalRequested
"""What brings an action into being, and what ends the wait for people's consent."""
Answer = ApprovalGranted | ApprovalDenied | ApprovalExpired | ApprovalSuperseded
ANSWERS = get_args(Answer)


class ActionState(NamedTuple):
    """One action of the decision."""

    proposed: Verdict
    status: ActionStatus
    attempts: int = 0
    attempts_before: int = 0
    """Those that were made before the orchestration was last resumed: the target's limit counts from there on."""
    ambiguous: bool = False
    """Some attempt may have been applied, though nobody knows."""
    applied: bool = False
    """What a probe or a person said of an action that was in doubt."""
    probes: int = 0
    granted_by: tuple[str, ...] = ()
    """The people who consented, in the order of their answers."""
    receipt_digest: str = ""
    """Of what the target answered when it took it."""
    refused: str = ""
    """Why nobody's consent is waited for any more."""

    @property
    def awaits_people(self) -> bool:
        """Whether an answer still counts."""
        return (
            isinstance(self.proposed, ApprovalRequested)
            and not self.refused
            and len(self.granted_by) < self.proposed.persons
        )

    @property
    def was_answered(self) -> bool:
        """Whether people's answers, or their absence, are to be turned into a verdict."""
        return self.status == "awaiting_approval" and not self.awaits_people

    @property
    def gave_up(self) -> bool:
        """Whether it was permitted and did not come to be, as far as anybody knows."""
        return self.status in {"failed", "in_doubt"} or (self.status == "settled" and not self.applied)


def person(name: str) -> str:
    """A name by which two people are told apart: case, width, spaces and what nobody sees make nobody another one."""
    # In this order: compatibility forms may hide letters that show nothing, and folding may leave others.
    seen = "".join(letter for letter in _folded(name) if letter.isspace() or hidden(letter) is None)
    return " ".join(_folded(seen).split())


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def after_answer(action: ActionState, fact: Answer, proposers: frozenset[str]) -> ActionState | None:
    """The action after an answer to whether it may happen; None for one that does not count.

    Args:
        proposers: who must not consent to it, as ``person`` writes them.
    """
    requested = action.proposed
    if not isinstance(requested, ApprovalRequested) or not action.awaits_people:
        return None
    match fact:
        case ApprovalGranted():
            known = {person(name) for name in action.granted_by} | proposers | {""}
            if fact.action_digest != requested.action_digest or person(fact.actor) in known:
                return None
            return action._replace(granted_by=(*action.granted_by, fact.actor))
        case ApprovalDenied():
            return action._replace(refused=f"{fact.actor} has denied it")
        case ApprovalExpired():
            return action._replace(refused=f"nobody consented within {requested.expires_seconds:g} s")
        case ApprovalSuperseded():
            return action._replace(refused=f"superseded: {fact.reason}")


def after_verdict(action: ActionState, fact: Verdict) -> ActionState | None:
    """The action when people's answers have become a verdict; None for one that does not follow from them."""
    requested = action.proposed
    if not isinstance(requested, ApprovalRequested) or not action.was_answered:
        return None
    if isinstance(fact, ActionDenied) and action.refused:
        return action._replace(proposed=fact, status="denied")
    if isinstance(fact, ActionAuthorised) and not action.refused:
        same = (fact.arguments_digest, fact.idempotency_key, fact.approved_by)
        if same == (requested.arguments_digest, requested.idempotency_key, action.granted_by):
            return action._replace(proposed=fact, status="authorised")
    return None


def first_status(fact: Verdict) -> ActionStatus:
    """Of an action that this fact brings into being."""
    match fact:
        case ActionAuthorised():
            return "authorised"
        case ApprovalRequested():
            return "awaiting_approval"
    return "denied"


Delivery = (
    DeliveryStarted
    | DeliveryConfirmed
    | DeliveryRetried
    | DeliveryFailed
    | DeliveryInDoubt
    | DeliveryProbed
    | ActionSettled
)
DELIVERY = get_args(Delivery)


def after_delivery(action: ActionState, fact: Delivery) -> ActionState | None:
    """The action after something of its delivery; None for a fact that cannot follow."""
    if isinstance(fact, (ActionSettled, DeliveryProbed)):
        return _evolve_doubt(action, fact)
    if isinstance(fact, DeliveryStarted):
        # Also from `sending`: at a target that honours keys, an attempt nobody heard of again is made once more.
        fits = action.status in {"authorised", "sending"} and fact.attempt > action.attempts
        unheard_of = action.ambiguous or action.status == "sending"
        return (
            action._replace(status="sending", attempts=fact.attempt, ambiguous=unheard_of) if fits else None
        )
    if fact.attempt != action.attempts:
        return None
    if action.status == "authorised":
        return _between_attempts(action, fact)
    if action.status != "sending":
        return None
    match fact:
        case DeliveryConfirmed():
            return action._replace(status="confirmed", receipt_digest=fact.receipt_digest)
        case DeliveryRetried():
            return action._replace(status="authorised", ambiguous=action.ambiguous or fact.ambiguous)
    return _given_up(action, fact)


def _between_attempts(action: ActionState, fact: Delivery) -> ActionState | None:
    """It may give up; and an earlier attempt that nobody knows of is in doubt once the target forgets its key."""
    if isinstance(fact, DeliveryFailed) and fact.attempt > action.attempts_before:
        return action._replace(status="failed")
    if isinstance(fact, DeliveryInDoubt) and action.ambiguous:
        return action._replace(status="in_doubt")
    return None


def _given_up(action: ActionState, fact: Delivery) -> ActionState | None:
    match fact:
        case DeliveryFailed():
            return action._replace(status="failed")
        case DeliveryInDoubt():
            return action._replace(status="in_doubt", ambiguous=True)
    return None


def _evolve_doubt(action: ActionState, fact: ActionSettled | DeliveryProbed) -> ActionState | None:
    """A probe or a person tells what became of it."""
    if action.status != "in_doubt" or fact.attempt != action.attempts:
        return None
    if isinstance(fact, ActionSettled):
        return action._replace(status="settled", applied=fact.applied)
    if fact.probe != action.probes + 1:
        return None
    probed = action._replace(probes=action.probes + 1)
    if fact.answer == "unknown":
        return probed
    return probed._replace(status="settled", applied=fact.answer == "applied")
