"""What is seen of an orchestration's steps from outside: a span for each, and a line for each thing that happened.

Both follow from the facts that were recorded, after the commit: what was not recorded is not told.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

from app.data_plane.orchestration import step_spans
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
    StageDecided,
)
from app.telemetry import messages, metrics, tracing
from app.telemetry.logs import get_logger
from app.telemetry.tracing import Keys

_log = get_logger(__name__)
_levels = logging.getLogger(__name__)


@contextmanager
def batch(queue: Queue, loaded: Mapping[str, Loaded]) -> Iterator[None]:
    """Around the work on one message, which links to the traces of its orchestrations, and they to it."""
    with messages.batch(queue, len(loaded), [one.history.traceparent for one in loaded.values()]):
        yield


def carried_on(recorded: Sequence[Recorded], since_ns: int) -> None:
    """Tell what was recorded of a batch that was worked on since then: within ``batch``, as its message carried it."""
    until_ns = tracing.now_ns()
    for one in recorded:
        if one.verdict is not Verdict.RECORDED:
            continue
        if one.state is None or one.state.started is None:
            keys = Keys(one.work.tenant_id, orchestration_id=one.work.orchestration_id)
            joined = tracing.joined(keys, one.traceparent)
            _log.warning("orchestration waits for its release", **joined)
            continue
        keys = _keys(one, one.state.started)
        if tracing.is_sampled(one.traceparent):
            step_spans.record(one, keys, since_ns, until_ns)
        for fact in one.facts:
            _tell(fact, keys, one.traceparent)
            if isinstance(fact, OrchestrationClosed) and one.after is not None:
                _measure(one.state.started.workflow, fact.status, one.after.history, until_ns)


def _measure(workflow: str, status: str, history: History, until_ns: int) -> None:
    if history.facts:
        accepted = datetime.fromisoformat(history.facts[0].at).timestamp()
        metrics.orchestration_closed(workflow, status, max(0.0, until_ns / 1e9 - accepted))


def said(recorded: Sequence[Recorded], since_ns: int) -> None:
    """Spans of what people said, such as the end of the wait for them; whoever records it tells them what follows."""
    until_ns = tracing.now_ns()
    for one in recorded:
        started = one.state.started if one.state is not None else None
        if one.verdict is Verdict.RECORDED and started is not None and tracing.is_sampled(one.traceparent):
            step_spans.record(one, _keys(one, started), since_ns, until_ns)


def _keys(one: Recorded, started: OrchestrationStarted) -> Keys:
    return Keys(one.work.tenant_id, started.event_id, one.work.orchestration_id)


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
