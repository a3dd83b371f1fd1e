"""What the facts of a journal open and resolve: pure, so that the rows can be dropped and rebuilt."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from app.data_plane.dead_letters import words
from app.data_plane.dead_letters.letters import Cause, DeadLetterRow, State, dead_letter_id, repeated
from app.kernel.errors import Fate
from app.kernel.facts import (
    ActionSettled,
    DeliveryFailed,
    DeliveryInDoubt,
    DeliveryProbed,
    OrchestrationClosed,
    OrchestrationResumed,
    Recorded,
    RunFolded,
    StepGaveUp,
)
from interlock.identity import aggregation_id

CONCERNED: frozenset[type] = frozenset(
    {
        ActionSettled,
        DeliveryFailed,
        DeliveryInDoubt,
        DeliveryProbed,
        OrchestrationClosed,
        OrchestrationResumed,
        RunFolded,
        StepGaveUp,
    }
)
"""The facts that may change a dead letter; every other one is passed over."""

_STAGE = re.compile(r"stage ([A-Za-z0-9_-]{1,63}): (review expired: |fallback rule: |review: )?")
_NO_OUTCOME = {
    "review expired: ": "review_expired",
    "fallback rule: ": "fallback_failed",
    "review: ": "fallback_failed",
}
"""By how the reason goes on: which fallback gave no outcome; ``no_outcome`` where the template has none."""
_CODE = re.compile(r"([a-z][a-z0-9_]{0,62}) \(status \d+\)")
_CAUSES = {
    "lost_worker": Cause.LOST_WORKER,
    "time_limit": Cause.TIME_LIMIT,
    "timed_out": Cause.TIME_LIMIT,
}
_RUN_CAUSES = {"gave_up": Cause.LOST_WORKER, "timed_out": Cause.TIME_LIMIT}
"""Why a run without a proposal is a dead letter; what its models answered or refused is none."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose work it was."""

    tenant_id: str
    event_id: str
    orchestration_id: str
    workflow: str


@dataclass(frozen=True, slots=True)
class Resolution:
    """What is open no longer: one row, those of one cause, or every row of the orchestration but those in doubt."""

    orchestration_id: str
    state: State
    dead_letter_id: str = ""
    cause: Cause | None = None

    def covers(self, row: DeadLetterRow) -> bool:
        """Whether it is about that row."""
        if row.state != "open" or row.orchestration_id != self.orchestration_id:
            return False
        if self.dead_letter_id:
            return row.dead_letter_id == self.dead_letter_id
        if self.cause is not None:
            return row.cause is self.cause
        return row.cause is not Cause.IN_DOUBT


@dataclass(slots=True)
class Changes:
    """What facts change: rows that are resolved first, and rows that are opened, or opened again, after that."""

    rows: dict[str, DeadLetterRow] = field(default_factory=dict)
    resolutions: list[Resolution] = field(default_factory=list)

    def add(self, owner: Owner, recorded: Recorded) -> None:
        """Take in the next fact of an orchestration."""
        if (row := opened(owner, recorded)) is not None:
            before = self.rows.get(row.dead_letter_id)
            self.rows[row.dead_letter_id] = row if before is None else repeated(before, row)
        if (resolution := resolved(recorded)) is not None:
            self.resolve(resolution)

    def resolve(self, resolution: Resolution) -> None:
        """Take in that rows are open no longer."""
        self.resolutions.append(resolution)
        for key, row in self.rows.items():
            if resolution.covers(row):
                self.rows[key] = replace(row, state=resolution.state)


def dead_letters(owner: Owner, facts: Iterable[Recorded], reran_at: str = "") -> tuple[DeadLetterRow, ...]:
    """All dead letters of one orchestration, from its whole chain.

    Args:
        reran_at: when it was last started anew, which is no fact of its own chain; empty if it never was.
    """
    changes = Changes()
    for recorded in facts:
        if reran_at and recorded.at > reran_at:
            changes.resolve(reran(owner.orchestration_id))
            reran_at = ""
        changes.add(owner, recorded)
    if reran_at:
        changes.resolve(reran(owner.orchestration_id))
    return tuple(changes.rows.values())


def reran(orchestration_id: str) -> Resolution:
    """The orchestration was started anew: what gave up in it is replayed, and what is in doubt stays so."""
    return Resolution(orchestration_id, "replayed")


def resolved(recorded: Recorded) -> Resolution | None:
    """What this fact resolves, if anything."""
    match recorded.fact:
        case OrchestrationResumed():
            return Resolution(recorded.chain_id, "replayed")
        case OrchestrationClosed(status="completed"):
            # Other agents or the fallback answered in time: nothing is left to be done about a run that did not.
            return Resolution(recorded.chain_id, "settled", cause=Cause.TIME_LIMIT)
        case (
            ActionSettled(action_id=action)
            | DeliveryProbed(action_id=action, answer="applied" | "not_applied")
        ):
            return Resolution(recorded.chain_id, "settled", dead_letter_id(action, Cause.IN_DOUBT))
    return None


def opened(owner: Owner, recorded: Recorded) -> DeadLetterRow | None:
    """The dead letter that this fact makes, if it makes one."""
    match recorded.fact:
        case StepGaveUp() as fact:
            return _of_step(owner, recorded.at, fact)
        case RunFolded(run_id=run, failure=str(failure)) if failure in _RUN_CAUSES:
            cause = _RUN_CAUSES[failure]
            failed = _Failed(cause, run, "agent_runs", failure, Fate.TRANSIENT)
            row = _row(owner, failed, words.run_gave_up(cause), recorded.at)
            return replace(row, remedy=words.run_remedy(cause, owner.orchestration_id))
        case DeliveryFailed(action_id=action, attempt=attempt, reason=reason):
            code = _delivery_code(reason)
            return _row(
                owner,
                _Failed(Cause.FAILED_DELIVERY, action, "dispatch", code, words.fate_of(code)),
                words.undelivered(attempt, code),
                recorded.at,
            )
        case DeliveryInDoubt(action_id=action, attempt=attempt):
            failed = _Failed(Cause.IN_DOUBT, action, "dispatch", "outcome_unknown", Fate.PERMANENT)
            return _row(owner, failed, words.in_doubt(attempt), recorded.at)
        case (
            ActionSettled(action_id=action, applied=False)
            | DeliveryProbed(action_id=action, answer="not_applied")
        ):
            failed = _Failed(Cause.FAILED_DELIVERY, action, "dispatch", "not_applied", Fate.TRANSIENT)
            return _row(owner, failed, words.not_applied(), recorded.at)
        case OrchestrationClosed(status="failed", reason=reason):
            orchestration = owner.orchestration_id
            stage, step, code = "", orchestration, "expression_failed"
            if (found := _STAGE.match(reason)) is not None:
                stage, step = found[1], aggregation_id(orchestration, found[1])
                code = _NO_OUTCOME.get(found[2] or "", "no_outcome")
            failed = _Failed(Cause.NO_DECISION, step, "aggregation", code, Fate.PERMANENT)
            return _row(owner, failed, words.undecided(stage, code), recorded.at)
    return None


@dataclass(frozen=True, slots=True)
class _Failed:
    cause: Cause
    step_id: str
    queue: str
    code: str
    fate: Fate


def _of_step(owner: Owner, at: str, fact: StepGaveUp) -> DeadLetterRow:
    cause = _CAUSES.get(fact.code, Cause.FAILED_STEP)
    failed = _Failed(cause, fact.step_id, fact.queue, fact.code, words.fate_of(fact.code))
    return _row(owner, failed, words.step_gave_up(cause, fact.queue, fact.code, fact.attempts), at)


def _row(owner: Owner, failed: _Failed, what: str, at: str) -> DeadLetterRow:
    key = dead_letter_id(failed.step_id, failed.cause)
    return DeadLetterRow(
        dead_letter_id=key,
        tenant_id=owner.tenant_id,
        event_id=owner.event_id,
        orchestration_id=owner.orchestration_id,
        run_id=failed.step_id if failed.step_id.startswith("run_") else "",
        workflow=owner.workflow,
        step_id=failed.step_id,
        queue=failed.queue,
        cause=failed.cause,
        code=failed.code,
        fate=failed.fate,
        what=what,
        remedy=_remedy(owner, failed, key),
        first_at=at,
        last_at=at,
    )


def _remedy(owner: Owner, failed: _Failed, key: str) -> str:
    match failed.cause:
        case Cause.FAILED_DELIVERY:
            return words.undelivered_remedy(failed.code, key)
        case Cause.IN_DOUBT:
            return words.in_doubt_remedy(failed.step_id)
        case Cause.NO_DECISION:
            return words.undecided_remedy(owner.orchestration_id, failed.code)
    return words.step_remedy(failed.cause, failed.code, owner.orchestration_id, key)


def _delivery_code(reason: str) -> str:
    """The stable code that a receipt's reason begins with; others are the target's limit of attempts."""
    found = _CODE.match(reason)
    return found[1] if found is not None else "too_many_attempts"
