"""Cancelling: a person ends an orchestration. What is unsent stays unsent; what is on its way is waited for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.data_plane.orchestration import observing
from app.data_plane.orchestration.action_state import ActionState
from app.data_plane.orchestration.recorder import Loaded, Plan, Planner, Recorder, Work
from app.data_plane.orchestration.state import OrchestrationState
from app.kernel.errors import ConflictError, TransientError
from app.kernel.facts import TERMINAL, AnyFact, CancelRequested, DeliveryInDoubt
from app.telemetry import tracing
from interlock.canonical import canonical_bytes, digest_bytes


class NotCancellableError(ConflictError):
    """It is over, or somebody asked before."""

    code = "not_cancellable"


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What cancelling does: actions by name and position."""

    stays_unsent: tuple[str, ...]
    waited_for: tuple[str, ...]
    """On their way to a target: the orchestration closes when their outcome is known."""
    in_doubt: tuple[str, ...]
    """They may have been applied: nothing follows a cancelled orchestration, but a person can still settle them."""
    confirmed: tuple[str, ...]
    withdrawn_steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cancellation:
    """Who cancels which orchestration, and why; ``open_steps`` are those that are not finished."""

    tenant_id: str
    orchestration_id: str
    actor: str
    reason: str
    open_steps: tuple[str, ...]


def foresee(state: OrchestrationState, open_steps: Sequence[str]) -> Foreseen:
    """What cancelling would do now. Raises NotCancellableError."""
    if state.status in TERMINAL:
        raise NotCancellableError(
            f"{state.orchestration_id} has ended already: {state.status}.",
            "There is nothing to cancel; `runs explain` says what happened.",
        )
    if state.cancelled_by is not None:
        raise NotCancellableError(
            f"{state.cancelled_by} has asked before to cancel {state.orchestration_id}.",
            "It ends when the outcome of what is on its way is known.",
        )
    by_status: dict[str, list[str]] = {}
    for action in state.actions_by_id.values():
        status = "in_doubt" if _may_have_been_applied(action) else action.status
        by_status.setdefault(status, []).append(action.proposed.name)
    sending = {key for key, action in state.actions_by_id.items() if action.status == "sending"}
    return Foreseen(
        stays_unsent=(*by_status.get("authorised", ()), *by_status.get("awaiting_approval", ())),
        waited_for=tuple(by_status.get("sending", ())),
        in_doubt=tuple(by_status.get("in_doubt", ())),
        confirmed=tuple(by_status.get("confirmed", ())),
        withdrawn_steps=tuple(step for step in open_steps if step not in sending),
    )


def cancel(recorder: Recorder, cancellation: Cancellation) -> OrchestrationState:
    """Record the request and what follows from it; returns the state after it.

    Raises:
        NotCancellableError: it ended meanwhile, or was cancelled before.
        TransientError: its release cannot be loaded here, so that nothing can be decided.
    """
    work = Work(
        cancellation.tenant_id, cancellation.orchestration_id, claim=None, plan=_planner(cancellation)
    )
    since = tracing.now_ns()
    recorded = recorder.record([work])[0]
    observing.said([recorded], since)
    if recorded.state is None:
        raise TransientError(
            f"The release of {cancellation.orchestration_id} cannot be loaded here; nothing was recorded.",
            "Run this with the version of Interlock that its workers have.",
        )
    return recorded.state


def _planner(cancellation: Cancellation) -> Planner:
    def plan(loaded: Loaded) -> Plan:
        foreseen = foresee(loaded.state, cancellation.open_steps)
        body = canonical_bytes({"actor": cancellation.actor, "reason": cancellation.reason})
        digest = digest_bytes(body)
        facts = cancelling(loaded.state, cancellation.actor, digest)
        return Plan(facts, {digest: body}, withdraw=foreseen.withdrawn_steps)

    return plan


def cancelling(state: OrchestrationState, actor: str, reason_digest: str) -> tuple[AnyFact, ...]:
    """The request, and then the doubts that it leaves: what may have been applied is not sent again to find out.

    The doubts come second. As the last thing that an orchestration waited for, one that came first would end it as a
    dead letter, and there would be nothing to cancel.
    """
    doubts = [
        DeliveryInDoubt(
            action_id=key,
            attempt=action.attempts,
            reason="an attempt was never heard of again, and was not repeated: the orchestration was cancelled",
        )
        for key, action in state.actions_by_id.items()
        if _may_have_been_applied(action)
    ]
    return (CancelRequested(actor=actor, reason_digest=reason_digest), *doubts)


def _may_have_been_applied(action: ActionState) -> bool:
    """Whether it waits for an attempt that would have told what became of the earlier ones."""
    return action.status == "authorised" and action.ambiguous
