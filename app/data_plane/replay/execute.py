"""Carrying replays out: what was requested is done once, whatever dies on the way.

What a replay does, the end of its step and the end of its row are one commit, under the fence of the step's claim.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from app.data_plane.orchestration import observing as orchestrations
from app.data_plane.orchestration.recorder import (
    MOST_LAPSES,
    Loaded,
    Plan,
    Planner,
    Recorder,
    Work,
    wait_for_release,
)
from app.data_plane.ports import Carrier, Change, Claim, History, Queue, Store, Verdict, may_be_more
from app.data_plane.replay import observing
from app.data_plane.replay.judging import refusal_in_words, started_fact, why_not_rerun
from app.data_plane.replay.refusals import ContentGoneError
from app.data_plane.replay.register import ReplayEnd, ReplayRow, Replays
from app.data_plane.replay.rerun import begin_anew, rerun
from app.data_plane.replay.resume import resume
from app.data_plane.work_done import WorkDone, done
from app.kernel import fault_points
from app.kernel.clock import Clock
from app.kernel.fault_points import FaultPoint
from app.telemetry import tracing
from app.telemetry.redaction import redact
from app.telemetry.tracing import OpenSpan


@dataclass(frozen=True, slots=True)
class _Batch:
    """What was claimed, and what is known of it."""

    claims: tuple[Claim, ...]
    rows: Mapping[str, ReplayRow]
    of: Mapping[str, tuple[ReplayRow, ...]]
    """All replays of the orchestrations that the claims are about."""

    def of_mode(self, mode: str) -> list[Claim]:
        return [claim for claim in self.claims if self.rows[claim.step_id].mode == mode]

    def others(self, row: ReplayRow) -> tuple[ReplayRow, ...]:
        """The other replays of its orchestration that are over; of those that are not, this one is the only one."""
        listed = self.of.get(row.orchestration_id, ())
        return tuple(one for one in listed if one.replay_id != row.replay_id)


class Replayer:
    """The work of the queue ``replay``."""

    def __init__(
        self,
        store: Store,
        recorder: Recorder,
        replays: Replays,
        carrier: Carrier,
        clock: Clock,
        *,
        batch_size: int,
    ) -> None:
        self._store = store
        self._recorder = recorder
        self._replays = replays
        self._carrier = carrier
        self._clock = clock
        self._batch_size = batch_size

    def execute(self, worker: str, replay_ids: Sequence[str] = ()) -> WorkDone:
        """Claim requested replays that are due, up to a batch, and carry them out; returns what became of them."""
        claims = self._store.claim(Queue.REPLAY, limit=self._batch_size, worker=worker, step_ids=replay_ids)
        if may_be_more(claims, self._batch_size):
            self._carrier.ring(Queue.REPLAY)
        if not claims:
            return WorkDone()
        batch = self._read(claims)
        return done(claims, self._resume(batch) + self._rerun(batch))

    def _read(self, claims: Sequence[Claim]) -> _Batch:
        tenants = sorted({claim.tenant_id for claim in claims})
        rows = self._replays.named(tenants, [claim.step_id for claim in claims])
        unknown = [claim for claim in claims if claim.step_id not in rows]
        if unknown:
            # Retention removed the row: nobody can say any more what was wanted.
            self._store.commit([Change(one.tenant_id, one.orchestration_id, one) for one in unknown])
        known = tuple(claim for claim in claims if claim.step_id in rows)
        return _Batch(known, rows, self._replays.of(tenants, [claim.orchestration_id for claim in known]))

    def _resume(self, batch: _Batch) -> int:
        """Carry these out; returns how many were refused, or came to nothing."""
        asked = batch.of_mode("resume")
        if not asked:
            return 0
        since = tracing.now_ns()
        tenants = sorted({claim.tenant_id for claim in asked})
        loaded = self._recorder.load(tenants, [claim.orchestration_id for claim in asked])
        claims = self._refuse_what_is_gone(batch, asked, loaded)
        reasons = self._store.contents(tenants, [batch.rows[claim.step_id].reason_digest for claim in claims])
        works = [
            Work(
                claim.tenant_id,
                claim.orchestration_id,
                claim,
                self._planner(batch, batch.rows[claim.step_id], reasons),
            )
            for claim in claims
        ]
        with orchestrations.batch(Queue.REPLAY, loaded):
            recorded = self._recorder.record(works, loaded)
            orchestrations.carried_on([one for one in recorded if one.facts], since)
        observing.ended(
            (batch.rows[claim.step_id], one.ends_replay)
            for claim, one in zip(claims, recorded, strict=True)
            if one.verdict is Verdict.RECORDED and one.ends_replay is not None
        )
        failed = [one for one in recorded if one.has_failed or not _is_done(one.ends_replay)]
        return len(asked) - len(claims) + len(failed)

    def _refuse_what_is_gone(
        self, batch: _Batch, claims: Sequence[Claim], loaded: Mapping[str, Loaded]
    ) -> list[Claim]:
        """End the replays of what was removed; the others, some of which may wait for their release."""
        unloaded = [claim for claim in claims if claim.orchestration_id not in loaded]
        if not unloaded:
            return list(claims)
        tenants = sorted({claim.tenant_id for claim in unloaded})
        there = self._store.histories(tenants, [claim.orchestration_id for claim in unloaded])
        gone = [claim for claim in unloaded if claim.orchestration_id not in there]
        if gone:
            self._end([_removed(claim, batch.rows[claim.step_id]) for claim in gone])
        return [claim for claim in claims if claim not in gone]

    def _end(self, drafts: Sequence[_Draft]) -> None:
        committed = self._store.commit([draft.change for draft in drafts])
        observing.ended(
            (draft.row, draft.change.ends_replay)
            for draft, verdict in zip(drafts, committed.verdicts, strict=True)
            if verdict is Verdict.RECORDED and draft.change.ends_replay is not None
        )

    def _planner(self, batch: _Batch, row: ReplayRow, reasons: Mapping[str, bytes]) -> Planner:
        reason = {row.reason_digest: reasons[row.reason_digest]} if row.reason_digest in reasons else {}

        def plan(loaded: Loaded) -> Plan:
            return resume(loaded, row, batch.others(row), reason, self._clock.now())

        return plan

    def _rerun(self, batch: _Batch) -> int:
        """Carry these out; returns how many were refused, or came to nothing."""
        claims = batch.of_mode("rerun")
        if not claims:
            return 0
        tenants = sorted({claim.tenant_id for claim in claims})
        ids = [claim.orchestration_id for claim in claims]
        originals = self._store.histories(tenants, ids)
        ordinals = self._replays.last_ordinals(tenants, ids)
        contents = self._store.contents(tenants, _events(originals))
        drafts = [self._draft(claim, batch, originals, ordinals, contents) for claim in claims]
        with observing.batch([draft.span for draft in drafts if draft.span is not None]):
            return self._begin(drafts)

    def _begin(self, drafts: Sequence[_Draft]) -> int:
        committed = self._store.commit([draft.change for draft in drafts])
        fault_points.reached(FaultPoint.AFTER_RECORD, Queue.REPLAY)
        recorded = [
            draft
            for draft, verdict in zip(drafts, committed.verdicts, strict=True)
            if verdict is Verdict.RECORDED
        ]
        if any(draft.span is not None for draft in recorded):
            self._carrier.ring(Queue.ORCHESTRATION)
        fault_points.reached(FaultPoint.AFTER_PUBLISH, Queue.REPLAY)
        observing.begun(draft.span for draft in recorded if draft.span is not None)
        observing.ended(
            (draft.row, draft.change.ends_replay)
            for draft in recorded
            if draft.change.ends_replay is not None
        )
        return sum(not _is_done(draft.change.ends_replay) for draft in recorded)

    def _draft(
        self,
        claim: Claim,
        batch: _Batch,
        originals: Mapping[str, History],
        ordinals: Mapping[str, int],
        contents: Mapping[str, bytes],
    ) -> _Draft:
        row, key = batch.rows[claim.step_id], claim.orchestration_id
        original = originals.get(key)
        if original is None:
            return _removed(claim, row)
        if not original.readable:
            return _Draft(row, wait_for_release(claim))
        if claim.lapses >= MOST_LAPSES:
            return _ended(claim, row, "failed", f"lost_worker: it was tried {claim.lapses} times")
        refusal = why_not_rerun(original, batch.others(row), again=True)
        if refusal is not None:
            return _ended(claim, row, "refused", refusal_in_words(refusal))
        event = {digest: contents[digest] for digest in _events({key: original}) if digest in contents}
        if len(event) < len(set(_events({key: original}))):
            return _ended(claim, row, "refused", refusal_in_words(content_gone(key)))
        beginning = begin_anew(original, row, ordinals.get(key, 0))
        span = observing.begin(claim.tenant_id, beginning, row.replay_id, original.traceparent)
        begun = replace(beginning, traceparent=span.traceparent)
        return _Draft(row, rerun(claim, row, begun, event), span)


@dataclass(frozen=True, slots=True)
class _Draft:
    """What is to be recorded of one rerun; without a span nothing is started."""

    row: ReplayRow
    change: Change
    span: OpenSpan | None = None


def content_gone(orchestration_id: str) -> ContentGoneError:
    """Its event cannot be read any more."""
    return ContentGoneError(
        f"The event of {orchestration_id} was removed from the payload store.",
        "Send the event once more, under an id of its own.",
    )


def _removed(claim: Claim, row: ReplayRow) -> _Draft:
    """Nothing is left that could be replayed, and waiting brings nothing back."""
    gone = ContentGoneError(
        f"{claim.orchestration_id} was removed with its record.",
        "Send the event once more, under an id of its own.",
    )
    return _ended(claim, row, "refused", refusal_in_words(gone))


def _is_done(end: ReplayEnd | None) -> bool:
    return end is not None and end.state == "done"


def _ended(claim: Claim, row: ReplayRow, state: Literal["refused", "failed"], outcome: str) -> _Draft:
    end = ReplayEnd(row.replay_id, state, redact(outcome))
    return _Draft(row, Change(claim.tenant_id, claim.orchestration_id, claim, ends_replay=end))


def _events(originals: Mapping[str, History]) -> list[str]:
    """The digests of the events that these orchestrations began with, raw and normalised."""
    started = [started_fact(history) for history in originals.values()]
    return [digest for fact in started if fact is not None for digest in (fact.raw_digest, fact.event_digest)]
