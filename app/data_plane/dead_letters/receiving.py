"""From reports to rows: whose a message is, is looked up and not believed. A batch is one lookup and one commit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pydantic import ValidationError

from app.data_plane.dead_letters import words
from app.data_plane.dead_letters.letters import (
    NO_TENANT,
    Cause,
    DeadLetterRow,
    dead_letter_id,
    repeated,
)
from app.data_plane.dead_letters.reports import Report
from app.data_plane.dead_letters.words import Told
from app.data_plane.ingestion.tenants import Tenants
from app.data_plane.ports import DeadLetters, Queue, StepOwner
from app.data_plane.work_done import WorkDone
from app.kernel.clock import Clock, to_text
from app.kernel.errors import Fate
from app.telemetry.redaction import redact
from interlock.canonical import JsonValue, NotCanonicalError, canonical_bytes, digest_bytes


class Receiver:
    """Takes the reports of the queue ``dead_letter`` in."""

    def __init__(self, letters: DeadLetters, tenants: Tenants, clock: Clock) -> None:
        self._letters = letters
        self._tenants = tenants
        self._clock = clock

    def receive(self, values: Sequence[JsonValue]) -> WorkDone:
        """Record what gave up; returns how many rows that made or repeated, and the orchestrations they are of.

        What is no report is recorded as a refused message of this queue.

        Raises:
            TransientError: the store is not there; nothing was recorded, and the batch is to be tried again.
        """
        now = to_text(self._clock.now())
        reports = [_read(value, now) for value in values]
        owners = self._letters.owners({name for report in reports for name in report.names})
        rows: dict[str, DeadLetterRow] = {}
        for report in reports:
            row = self._row(report, owners, now)
            before = rows.get(row.dead_letter_id)
            rows[row.dead_letter_id] = row if before is None else repeated(before, row)
        self._letters.report(list(rows.values()))
        named = dict.fromkeys(row.orchestration_id for row in rows.values() if row.orchestration_id)
        return WorkDone(len(rows), 0, tuple(named))

    def _row(self, report: Report, owners: Mapping[str, StepOwner], now: str) -> DeadLetterRow:
        named = [owners[name] for name in report.names if name in owners]
        verified = self._is_verified(report)
        tenant = _only(owner.tenant_id for owner in named) or (report.tenant if verified else "")
        orchestration = _only(owner.orchestration_id for owner in named)
        known = next((owner for owner in named if owner.orchestration_id == orchestration), None)
        step = _only(owner.step_id for owner in named)
        told = Told(report.queue, report.task, report.code, report.size, report.digest)
        at = min(report.at, now)
        key = dead_letter_id(_subject(report, tenant), report.cause)
        return DeadLetterRow(
            dead_letter_id=key,
            tenant_id=tenant or NO_TENANT,
            event_id=known.event_id if known is not None else report.event_id if verified else "",
            orchestration_id=orchestration,
            run_id=step if step.startswith("run_") else "",
            workflow=known.workflow if known is not None else "",
            step_id=step,
            queue=report.queue,
            cause=report.cause,
            code=report.code,
            fate=report.fate,
            what=redact(words.message_gave_up(report.cause, told)),
            remedy=redact(words.message_remedy(report.cause, report.code, key)),
            first_at=at,
            last_at=at,
            message_digest=report.digest,
        )

    def _is_verified(self, report: Report) -> bool:
        if not report.tenant or not report.seal:
            return False
        key = self._tenants.signing_key(report.tenant)
        return key is not None and report.is_sealed_by(key)


def _subject(report: Report, tenant: str) -> str:
    """What names the message. With its tenant, so that nobody else's report can stand in the way of a tenant's row."""
    return ":".join((tenant, report.task, report.digest))


def _only(values: Iterable[str]) -> str:
    """The one value that there is; nothing when there is none, or more than one."""
    found = set(values)
    return found.pop() if len(found) == 1 else ""


def _read(value: JsonValue, now: str) -> Report:
    try:
        return Report.model_validate_json(canonical_bytes(value))
    except (ValidationError, NotCanonicalError):
        body = ascii(value).encode()
        return Report(
            cause=Cause.REJECTED_MESSAGE,
            code="invalid_report",
            fate=Fate.PERMANENT,
            queue=Queue.DEAD_LETTER.value,
            task="interlock.dead_letter.record",
            digest=digest_bytes(body),
            size=len(body),
            at=now,
        )
