"""The spans of an orchestration's steps, from the facts that were recorded of it.

Each has an id of its own: the first span of a claimed step is derived from the attempt at it, so that whoever does the
step again can link to it; the others from the place of their fact in the chain.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.data_plane.orchestration.recorder import Loaded
from app.data_plane.orchestration.recorder import Recorded as Done
from app.data_plane.ports import Claim, Queue
from app.kernel.facts import (
    ActionAuthorised,
    ActionDenied,
    ActionSettled,
    AnyFact,
    ApprovalDenied,
    ApprovalExpired,
    ApprovalGranted,
    ApprovalRequested,
    ApprovalSuperseded,
    CancelRequested,
    DecisionMade,
    DeliveryFailed,
    DeliveryInDoubt,
    OrchestrationClosed,
    OrchestrationResumed,
    OrchestrationStarted,
    Recorded,
    ReviewExpired,
    ReviewRequested,
    ReviewResolved,
    SnapshotTaken,
    StageDecided,
    StepGaveUp,
)
from app.telemetry import messages, naming, tracing
from app.telemetry.span_ids import Linked, LinkKind, beside, derived
from app.telemetry.tracing import Attributes, Keys

NOT_DECIDED = "not_decided"
"""The ``error.type`` of a decision that could not be made; why is in the journal."""

_Judged = ActionAuthorised | ActionDenied | ApprovalRequested
_ANSWERS = {
    ApprovalGranted: "granted",
    ApprovalDenied: "denied",
    ApprovalExpired: "expired",
    ApprovalSuperseded: "superseded",
}


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is seen of a fact."""

    name: str
    attributes: Attributes
    since_ns: int = 0
    """When it began, if not with the work that recorded the fact."""
    run_id: str = ""
    links: tuple[Linked, ...] = ()


def attempt_id(step_id: str, facts: Sequence[Recorded], attempt: int) -> int:
    """The id of the first span of an attempt at a step. Attempts are counted anew when a person has it resumed."""
    return derived("attempt", step_id, _resumes(facts), attempt)


def delivery_id(action_id: str, attempt: int) -> int:
    """The id of the span of an attempt at a delivery."""
    return derived("delivery", action_id, attempt)


def former_attempt(
    claim: Claim, facts: Sequence[Recorded], traceparent: str, kind: LinkKind | None = None
) -> tuple[Linked, ...]:
    """The attempt before this one, or what ended the step before a person had it resumed; nothing for the first.

    Args:
        kind: why the step is done again, where that is known better than from its lapses.
    """
    if claim.attempt > 1:
        before = attempt_id(claim.step_id, facts, claim.attempt - 1)
        known = kind or (LinkKind.LAPSE if claim.lapses else LinkKind.RETRY)
        return (Linked(beside(traceparent, before), known),)
    for recorded in reversed(facts):
        if isinstance(recorded.fact, StepGaveUp) and recorded.fact.step_id == claim.step_id:
            return (Linked(beside(traceparent, _fact_id(recorded)), LinkKind.RESUME),)
    return ()


def record(done: Done, keys: Keys, since_ns: int, until_ns: int) -> None:
    """Record the spans of what was done, in a trace that is sampled."""
    loaded, parent = done.after, done.traceparent
    if loaded is None or loaded.state.started is None or parent is None:
        return
    first = _first_id(done.work.claim, loaded)
    links = former_attempt(done.work.claim, loaded.history.facts, parent) if done.work.claim and first else ()
    carriers = messages.carried_by()
    seq = loaded.history.head_seq - len(done.facts)
    for place, seen in _seen(loaded, done.facts, parent):
        tracing.record(
            seen.name,
            keys
            if not seen.run_id
            else Keys(keys.tenant_id, keys.event_id, keys.orchestration_id, seen.run_id),
            parent=parent,
            start_ns=seen.since_ns or since_ns,
            end_ns=until_ns,
            attributes=seen.attributes,
            links=(*seen.links, *links, *carriers),
            span_id=first or _id_at(loaded.history.orchestration_id, seq + place),
        )
        first, links = 0, ()


def _first_id(claim: Claim | None, loaded: Loaded) -> int:
    """Runs and deliveries have spans of their own for their attempts."""
    if claim is None or claim.queue not in {Queue.ORCHESTRATION, Queue.AGGREGATION}:
        return 0
    return attempt_id(claim.step_id, loaded.history.facts, claim.attempt)


def _seen(loaded: Loaded, facts: Sequence[AnyFact], parent: str) -> Iterator[tuple[int, _Seen]]:
    """What is seen of the facts, each with its fact's place among them."""
    for place, fact in enumerate(facts):
        found = _of_stage(loaded, fact) or _of_action(loaded, fact, facts) or _of_people(loaded, fact, parent)
        if found is not None:
            yield place, found


def _of_stage(loaded: Loaded, fact: AnyFact) -> _Seen | None:
    match fact:
        case SnapshotTaken():
            return _Seen(naming.SPAN_ORCHESTRATION, _begun(loaded.state.started))
        case StageDecided():
            outcome = fact.winner or fact.fallback or "fallback"
            attributes = {naming.STAGE: fact.stage, naming.RULE: fact.rule, naming.OUTCOME: outcome}
            return _Seen(naming.SPAN_AGGREGATION, attributes)
        case DecisionMade():
            return _Seen(
                naming.SPAN_DECISION,
                {
                    naming.DECISION_DIGEST: fact.decision_digest,
                    naming.DEGRADED: fact.degraded,
                    naming.ACTIONS: fact.actions,
                },
            )
        case OrchestrationClosed(status="failed"):
            return _Seen(naming.SPAN_DECISION, {naming.ERROR_TYPE: NOT_DECIDED})
        case StepGaveUp():
            return _Seen(naming.SPAN_GAVE_UP, {naming.STEP_ID: fact.step_id, naming.ERROR_TYPE: fact.code})
    return None


def _begun(started: OrchestrationStarted | None) -> Attributes:
    if started is None:
        return {}
    return {
        naming.WORKFLOW: started.workflow,
        naming.RELEASE: started.release,
        naming.CHANNEL: started.channel,
    }


def _of_action(loaded: Loaded, fact: AnyFact, facts: Sequence[AnyFact]) -> _Seen | None:
    """A judgement by the policy; or the end of the wait for people's consent, which a verdict follows from."""
    match fact:
        case ActionAuthorised(approved_by=()):
            return _judged(fact, "permitted")
        case ApprovalRequested():
            return _judged(fact, "approval")
        case ActionDenied(was_asked=False):
            return _judged(fact, "denied")
        case ActionAuthorised() | ActionDenied():
            return _answered(loaded, fact, facts)
    return None


def _judged(fact: _Judged, effect: str) -> _Seen:
    attributes = {
        naming.ACTION_ID: fact.action_id,
        naming.ACTION_TOOL: fact.tool,
        naming.EFFECT: effect,
        naming.POLICIES: tuple(fact.policies),
    }
    return _Seen(naming.policy_span(fact.tool), attributes, run_id=fact.run_id)


def _answered(loaded: Loaded, verdict: _Judged, facts: Sequence[AnyFact]) -> _Seen:
    """Who answered is in the journal, and in no span: a name may be a person's address."""
    key = verdict.action_id
    answers = [
        _ANSWERS[type(one)] for one in facts if type(one) in _ANSWERS and getattr(one, "action_id", "") == key
    ]
    attributes: dict[str, tracing.AttributeValue] = {
        naming.ACTION_ID: key,
        naming.ACTION_TOOL: verdict.tool,
        naming.TARGET: verdict.target,
        naming.OUTCOME: answers[-1] if answers else "",
    }
    asked_at = _at(loaded, ApprovalRequested, "action_id", key)
    return _Seen(naming.approval_span(verdict.tool), attributes, asked_at, verdict.run_id)


def _of_people(loaded: Loaded, fact: AnyFact, parent: str) -> _Seen | None:
    match fact:
        case ReviewResolved() | ReviewExpired():
            outcome = "resolved" if isinstance(fact, ReviewResolved) else "expired"
            asked_at = _at(loaded, ReviewRequested, "stage", fact.stage)
            return _Seen(
                naming.SPAN_REVIEW_WAIT, {naming.STAGE: fact.stage, naming.OUTCOME: outcome}, asked_at
            )
        case ActionSettled():
            outcome = "applied" if fact.applied else "not_applied"
            return _Seen(naming.SPAN_SETTLEMENT, {naming.ACTION_ID: fact.action_id, naming.OUTCOME: outcome})
        case CancelRequested():
            return _Seen(naming.SPAN_CANCEL, {})
        case OrchestrationResumed():
            links = tuple(_what_gave_up(loaded.history.facts, parent))
            return _Seen(naming.SPAN_RESUME, {naming.REPLAY_ID: fact.replay_id}, links=links)
    return None


def _at(loaded: Loaded, kind: type[AnyFact], name: str, value: str) -> int:
    """When the newest fact of that kind about that was recorded, in nanoseconds since the epoch; 0 for never."""
    for recorded in reversed(loaded.history.facts):
        if isinstance(recorded.fact, kind) and getattr(recorded.fact, name) == value:
            return int(datetime.fromisoformat(recorded.at).timestamp() * 1_000_000) * 1000
    return 0


def _what_gave_up(facts: Sequence[Recorded], parent: str) -> Iterator[Linked]:
    """The spans of what ended it, since a person last had it resumed."""
    for recorded in reversed(facts):
        match recorded.fact:
            case OrchestrationResumed():
                return
            case StepGaveUp():
                yield Linked(beside(parent, _fact_id(recorded)), LinkKind.RESUME)
            case DeliveryFailed() | DeliveryInDoubt() as fact:
                yield Linked(beside(parent, delivery_id(fact.action_id, fact.attempt)), LinkKind.RESUME)


def _resumes(facts: Sequence[Recorded]) -> int:
    return sum(isinstance(recorded.fact, OrchestrationResumed) for recorded in facts)


def _fact_id(recorded: Recorded) -> int:
    return _id_at(recorded.chain_id, recorded.seq)


def _id_at(chain_id: str, seq: int) -> int:
    return derived("fact", chain_id, seq)
