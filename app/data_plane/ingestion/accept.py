"""Acceptance: events are normalised, routed and recorded in one commit, and then the doorbell rings.

Whoever gets an answer from here may forget the event: it is in the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from app.data_plane.ingestion import observing
from app.data_plane.ingestion.errors import EventConflictError, InvalidEventError, RoutedElsewhereError
from app.data_plane.ingestion.normalisers import normalise
from app.data_plane.ingestion.routing import Table, route
from app.data_plane.ports import (
    Acceptance,
    AcceptedEvent,
    Carrier,
    FrontLock,
    Held,
    Outcome,
    Queue,
    Releases,
    Store,
)
from app.kernel import fault_points
from app.kernel.errors import InterlockError, PermanentError
from app.kernel.fault_points import FaultPoint
from app.telemetry import metrics
from app.telemetry.logs import get_logger
from app.telemetry.redaction import redact_known
from app.telemetry.tracing import OpenSpan
from interlock.canonical import canonical_bytes
from interlock.envelope import Envelope
from interlock.errors import InvalidInputError
from interlock.identity import event_key, orchestration_id

_log = get_logger(__name__)

LOCK_SECONDS = 30.0
"""How long a key stays locked when whoever took it dies: longer than a commit may take."""


@dataclass(frozen=True, slots=True)
class Submission:
    """An event to accept; with ``workflow``, for that one only."""

    envelope: Envelope
    workflow: str | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """An event that is in the store, and the orchestrations that it started, now or the first time."""

    event_id: str
    state: Literal["accepted", "unrouted", "duplicate"]
    orchestration_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Prepared:
    submission: Submission
    event: AcceptedEvent
    spans: tuple[OpenSpan, ...]

    @property
    def key(self) -> str:
        return event_key(self.event.tenant_id, self.event.source, self.event.event_id)


class IngestionService:
    """Accepts events. Set-based: a batch is one commit, and a second one for what others hold right now."""

    def __init__(self, store: Store, releases: Releases, carrier: Carrier, lock: FrontLock) -> None:
        self._store = store
        self._releases = releases
        self._carrier = carrier
        self._lock = lock

    def accept_one(self, submission: Submission) -> Accepted:
        """Accept one event.

        Raises:
            PermanentError: it was refused; see ``accept``.
            TransientError: the store is not there; nothing was accepted.
        """
        answer = self.accept([submission])[0]
        if isinstance(answer, PermanentError):
            raise answer
        return answer

    def accept(self, submissions: Sequence[Submission]) -> list[Accepted | PermanentError]:
        """Accept a batch: an answer for each event, in order; a refused one keeps no other from acceptance.

        An event accepted before, with the same type and data, is answered with its first orchestrations. One
        that another process is accepting right now waits for that one's commit: the truth is in the store.

        Refusals: UnknownTypeError, UnknownSchemaVersionError, InvalidDataError, UnknownWorkflowError,
        EventConflictError, RoutedElsewhereError, InvalidEventError.

        Raises:
            TransientError: the store is not there; sending the whole batch again is harmless.
        """
        since = metrics.now()
        fault_points.reached(FaultPoint.AFTER_RECEIVE, Queue.INGESTION)
        table = self._releases.routes()
        prepared = [_try_to_prepare(submission, table) for submission in submissions]
        asked = [item for item in prepared if isinstance(item, _Prepared)]
        with observing.batch([item.event for item in asked]):
            recorded = self._record(asked)
            fault_points.reached(FaultPoint.AFTER_RECORD, Queue.INGESTION)
            if any(answer.outcome is Outcome.ACCEPTED for answer in recorded):
                self._ring()
            fault_points.reached(FaultPoint.AFTER_PUBLISH, Queue.INGESTION)
            for item, found in zip(asked, recorded, strict=True):
                if found.outcome is Outcome.ACCEPTED:
                    observing.accepted(item.spans)
        answers = iter(recorded)
        results = [_answer(item, next(answers)) if isinstance(item, _Prepared) else item for item in prepared]
        for submission, result in zip(submissions, results, strict=True):
            _tell(submission.envelope, result)
            metrics.ingested(metrics.now() - since)
        fault_points.reached(FaultPoint.AFTER_RECORD_BEFORE_ACK, Queue.INGESTION)
        return results

    def _record(self, prepared: Sequence[_Prepared]) -> list[Acceptance]:
        # The keys nobody holds go first, so that an event in flight elsewhere keeps only itself waiting:
        # the store's unique key makes the second commit wait for whoever holds it.
        keys = sorted({item.key for item in prepared})
        if not keys:
            return []
        held = self._hold(keys)
        try:
            free = set(held.names)
            first = [index for index, item in enumerate(prepared) if item.key in free]
            second = [index for index, item in enumerate(prepared) if item.key not in free]
            found: dict[int, Acceptance] = {}
            for indexes in (first, second):
                answers = self._commit([prepared[index] for index in indexes])
                found.update(zip(indexes, answers, strict=True))
        finally:
            self._let_go(held)
        return [found[index] for index in range(len(prepared))]

    def _commit(self, prepared: Sequence[_Prepared]) -> list[Acceptance]:
        if not prepared:
            return []
        return self._store.accept([item.event for item in prepared])

    def _hold(self, keys: Sequence[str]) -> Held:
        try:
            return self._lock.acquire(keys, LOCK_SECONDS)
        except (InterlockError, OSError) as error:
            _log.warning("no lock in front of the store, which is safe and slower", reason=str(error))
            return Held((), "")

    def _let_go(self, held: Held) -> None:
        if held.names:
            try:
                self._lock.release(held)
            except (InterlockError, OSError) as error:
                _log.warning("a lock in front of the store stays until it ends by itself", reason=str(error))

    def _ring(self) -> None:
        try:
            self._carrier.ring(Queue.ORCHESTRATION)
        except (InterlockError, OSError) as error:
            _log.warning("the doorbell did not ring; the reconciler will find the work", reason=str(error))


def _try_to_prepare(submission: Submission, table: Table) -> _Prepared | PermanentError:
    try:
        return _prepare(submission, table)
    except PermanentError as error:
        return error
    except InvalidInputError as error:
        return InvalidEventError(error)


def _prepare(submission: Submission, table: Table) -> _Prepared:
    envelope = submission.envelope
    raw = envelope.to_bytes()
    normaliser, event = normalise(envelope)
    routes = route(envelope, table, submission.workflow)
    spans = tuple(observing.begin(envelope, item) for item in routes)
    return _Prepared(
        submission,
        AcceptedEvent(
            tenant_id=envelope.tenantid,
            source=envelope.source,
            event_id=envelope.id,
            type=redact_known(envelope.type),
            data_digest=envelope.data_digest,
            raw=raw,
            normalised=canonical_bytes(event.to_json()),
            normaliser=normaliser,
            traceparent=envelope.traceparent,
            routes=tuple(
                replace(item, traceparent=span.traceparent or envelope.traceparent)
                for item, span in zip(routes, spans, strict=True)
            ),
        ),
        spans,
    )


def _tell(envelope: Envelope, result: Accepted | PermanentError) -> None:
    if isinstance(result, PermanentError):
        observing.refused(envelope, result)
    else:
        observing.taken(envelope, result.state, result.orchestration_ids)


def _answer(item: _Prepared, recorded: Acceptance) -> Accepted | PermanentError:
    event, workflow = item.event, item.submission.workflow
    if recorded.outcome is Outcome.CONFLICT:
        return EventConflictError(
            "An event with this source and id was accepted before, with another type or other data.",
            "Give a new event a new id; send an old one again as it was.",
        )
    if recorded.outcome is Outcome.DUPLICATE and workflow is not None and not recorded.removed:
        promised = orchestration_id(event.tenant_id, event.source, event.event_id, workflow)
        if promised not in recorded.orchestration_ids:
            return RoutedElsewhereError(
                f"This event was accepted before, and not for the workflow {workflow}.",
                "Enqueue it under another id for each workflow, or publish it once for all subscribers.",
            )
    state: Literal["accepted", "unrouted", "duplicate"]
    if recorded.outcome is Outcome.DUPLICATE:
        state = "duplicate"
    else:
        state = "accepted" if recorded.outcome is Outcome.ACCEPTED else "unrouted"
    return Accepted(event.event_id, state, recorded.orchestration_ids)
