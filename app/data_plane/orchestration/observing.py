"""What is seen of an orchestration's steps from outside: a span for each, and a line for each thing that happened.

Both follow from the facts that were recorded, after the commit: what was not recorded is not told.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

from app.data_plane.orchestration.recorder import Loaded, Recorded
from app.data_plane.ports import History, Queue, Verdict
from app.kernel.facts import (
    ActionDenied,
    ActionSettled,
    AnyFact,
    DecisionMade,
    DeliveryConfirmed,
    DeliveryFailed,
    DeliveryInDoubt,
    DeliveryProbed,
    DeliveryRetried,
    OrchestrationClosed,
    OrchestrationStarted,
    ReviewExpired,
    ReviewRequested,
    ReviewResolved,
    RunFolded,
    SnapshotTaken,
    StageDecided,
)
from app.telemetry import metrics, naming, tracing
from app.telemetry.logs import get_logger
from app.telemetry.tracing import Attributes, Keys

_log = get_logger(__name__)
_levels = logging.getLogger(__name__)

NOT_DECIDED = "not_decided"
"""The ``error.type`` of a decision that could not be made; why is in the journal."""


@contextmanager
def batch(queue: Queue, loaded: Mapping[str, Loaded]) -> Iterator[None]:
    """Around the work on one message: a trace of its own, linked to those of its orchestrations."""
    traceparents = (one.history.traceparent for one in loaded.values())
    parents = [parent for parent in traceparents if parent is not None and tracing.is_sampled(parent)]
    if not parents:
        yield
        return
    with tracing.batch_span(queue, len(loaded), parents):
        yield


def carried_on(recorded: Sequence[Recorded], since_ns: int) -> None:
    """Tell what was recorded of a batch that was worked on since then."""
    until_ns = tracing.now_ns()
    for one in recorded:
        if one.verdict is not Verdict.RECORDED:
            continue
        if one.state is None or one.state.started is None:
            keys = Keys(one.work.tenant_id, orchestration_id=one.work.orchestration_id)
            joined = tracing.joined(keys, one.traceparent)
            _log.warning("orchestration waits for its release", **joined)
            continue
        keys = Keys(one.work.tenant_id, one.state.started.event_id, one.work.orchestration_id)
        if tracing.is_sampled(one.traceparent):
            for name, attributes in _spans(one.state.started, one.facts):
                tracing.record(
                    name,
                    keys,
                    parent=one.traceparent,
                    start_ns=since_ns,
                    end_ns=until_ns,
                    attributes=attributes,
                )
        for fact in one.facts:
            _tell(fact, keys, one.traceparent)
            if isinstance(fact, OrchestrationClosed) and one.after is not None:
                _measure(one.state.started.workflow, fact.status, one.after.history, until_ns)


def _measure(workflow: str, status: str, history: History, until_ns: int) -> None:
    if history.facts:
        accepted = datetime.fromisoformat(history.facts[0].at).timestamp()
        metrics.orchestration_closed(workflow, status, max(0.0, until_ns / 1e9 - accepted))


def _spans(started: OrchestrationStarted, facts: Sequence[AnyFact]) -> Iterator[tuple[str, Attributes]]:
    for fact in facts:
        match fact:
            case SnapshotTaken():
                yield (
                    naming.SPAN_ORCHESTRATION,
                    {
                        naming.WORKFLOW: started.workflow,
                        naming.RELEASE: started.release,
                        naming.CHANNEL: started.channel,
                    },
                )
            case StageDecided():
                yield (
                    naming.SPAN_AGGREGATION,
                    {
                        naming.STAGE: fact.stage,
                        naming.RULE: fact.rule,
                        naming.OUTCOME: fact.winner or fact.fallback or "fallback",
                    },
                )
            case DecisionMade():
                yield (
                    naming.SPAN_DECISION,
                    {
                        naming.DECISION_DIGEST: fact.decision_digest,
                        naming.DEGRADED: fact.degraded,
                        naming.ACTIONS: fact.actions,
                    },
                )
            case OrchestrationClosed(status="failed"):
                yield naming.SPAN_DECISION, {naming.ERROR_TYPE: NOT_DECIDED}


def _tell(fact: AnyFact, keys: Keys, traceparent: str | None) -> None:
    level, words = _LINES.get(fact.kind, (logging.DEBUG, fact.kind.replace("_", " ")))
    if isinstance(fact, OrchestrationClosed) and fact.status in {"failed", "dead_lettered"}:
        level = logging.WARNING
    if _levels.isEnabledFor(level):
        if isinstance(fact, RunFolded):
            keys = replace(keys, run_id=fact.run_id)
        _log.log(level, words, **tracing.joined(keys, traceparent), **_values(fact))


_LINES = {
    "decision_made": (logging.INFO, "decided"),
    "orchestration_closed": (logging.INFO, "closed"),
    "snapshot_taken": (logging.DEBUG, "advanced"),
    "approval_requested": (logging.INFO, "approval requested"),
    "approval_granted": (logging.INFO, "approval granted"),
    "approval_denied": (logging.INFO, "approval denied"),
    "approval_expired": (logging.WARNING, "approval expired"),
    "approval_superseded": (logging.INFO, "approval superseded"),
    "delivery_confirmed": (logging.INFO, "delivered"),
    "action_denied": (logging.WARNING, "action denied"),
    "delivery_retried": (logging.WARNING, "delivery will be tried again"),
    "delivery_failed": (logging.WARNING, "delivery failed"),
    "delivery_in_doubt": (logging.WARNING, "delivery in doubt"),
    "delivery_probed": (logging.INFO, "target asked what became of an action"),
    "review_requested": (logging.WARNING, "a person is asked to complete a stage"),
    "review_resolved": (logging.INFO, "stage completed by a person"),
    "review_expired": (logging.WARNING, "review expired"),
    "action_settled": (logging.INFO, "action settled by a person"),
}


def _values(fact: AnyFact) -> dict[str, str | int | bool]:
    """Names, digests and numbers only. Reasons may quote content; the journal has them."""
    match fact:
        case DecisionMade():
            return {
                "decision_digest": fact.decision_digest,
                "degraded": fact.degraded,
                "actions": fact.actions,
            }
        case OrchestrationClosed():
            return {"status": fact.status}
        case ActionDenied():
            return {"action_id": fact.action_id, "tool": fact.tool}
        case DeliveryConfirmed():
            return {"action_id": fact.action_id, "attempt": fact.attempt, "http_status": fact.http_status}
        case DeliveryRetried() | DeliveryFailed() | DeliveryInDoubt():
            return {"action_id": fact.action_id, "attempt": fact.attempt}
        case DeliveryProbed():
            return {"action_id": fact.action_id, "probe": fact.probe, "answer": fact.answer}
        case ActionSettled():
            return {"action_id": fact.action_id, "applied": fact.applied, "actor": fact.actor}
        case ReviewRequested() | ReviewExpired():
            return {"stage": fact.stage}
        case ReviewResolved():
            return {"stage": fact.stage, "actor": fact.actor}
        case StageDecided():
            return {"stage": fact.stage, "rule": fact.rule, "degraded": fact.degraded}
    return {}
