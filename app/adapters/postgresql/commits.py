"""Commits: a batch of changes in one transaction, each behind its chain's head and under its fence.

The order of locks is the same for every writer: orchestrations' heads by id, then steps by id, then inserts. So
batches over the same orchestrations wait for each other; they neither abort nor deadlock, and no fact is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from app.adapters.postgresql import budgets, dead_letters, replays, rows
from app.adapters.postgresql.database import Connection
from app.data_plane.dead_letters.from_facts import CONCERNED, Changes, Owner, reran
from app.data_plane.ports import Append, Change, Committed, NewStep, Queue, Verdict
from app.data_plane.projections import (
    ActionChange,
    ActionRow,
    DecisionRow,
    action_change,
    action_row,
    decision_row,
)
from app.kernel import fault_points
from app.kernel.clock import Clock, to_text
from app.kernel.facts import OrchestrationClosed, OrchestrationResumed, Recorded
from app.kernel.fault_points import FaultPoint

_Head = tuple[int, bytes]


class _Shown(NamedTuple):
    """What an orchestration's row says of it."""

    status: str
    closed: bool = False
    reopened: bool = False


@dataclass(slots=True)
class _Batch:
    """What the winners of a batch want written."""

    links: list[rows.Link] = field(default_factory=list)
    contents: dict[tuple[str, str], bytes] = field(default_factory=dict)
    steps: list[NewStep] = field(default_factory=list)
    reopened: list[NewStep] = field(default_factory=list)
    heads: dict[str, _Head] = field(default_factory=dict)
    shown: dict[str, _Shown] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)
    put_off: list[str] = field(default_factory=list)
    """Steps that are due when another change wakes them."""
    woken: list[str] = field(default_factory=list)
    retried: list[tuple[str, float, int, int]] = field(default_factory=list)
    members: dict[str, int] = field(default_factory=dict)
    decisions: list[tuple[str, DecisionRow]] = field(default_factory=list)
    actions: list[tuple[str, ActionRow]] = field(default_factory=list)
    action_changes: list[ActionChange] = field(default_factory=list)
    resumed: list[str] = field(default_factory=list)
    dead_letters: Changes = field(default_factory=Changes)
    replays: replays.Written = field(default_factory=replays.Written)


def commit(connection: Connection, changes: Sequence[Change], clock: Clock) -> Committed:
    """Record the changes that still count, and say of each what became of it."""
    heads, owners = _lock_heads(connection, changes)
    fences = _lock_steps(connection, changes)
    run_heads = _read_run_heads(connection, changes)
    batch = _Batch()
    now = to_text(clock.now())
    verdicts: list[Verdict] = []
    for change in changes:
        verdict = _judge(change, heads, run_heads, fences)
        verdicts.append(verdict)
        if verdict is not Verdict.RECORDED:
            continue
        if change.orchestration is not None:
            links = _link(change, change.orchestration, heads, now)
            batch.links += links
            _project(batch, owners[change.orchestration_id], change, links, now)
            batch.heads[change.orchestration_id] = heads[change.orchestration_id]
        if change.run is not None:
            batch.links += _link(change, change.run, run_heads, now)
        for digest, body in change.contents.items():
            batch.contents[change.tenant_id, digest] = body
        batch.steps += change.new_steps
        batch.reopened += change.reopen
        _replay(batch, change)
        if change.status == "waiting_for_release":
            batch.waiting.append(change.orchestration_id)
        _settle(batch, change, fences)
    ready = _write(connection, batch, now)
    # Whatever became of the changes: the questions were asked. Last, as their lines are the most sought after.
    budgets.settle(connection, [one for change in changes for one in change.settlements])
    fault_points.reached(FaultPoint.BEFORE_COMMIT, _queue(changes))
    return Committed(tuple(verdicts), ready)


def _queue(changes: Sequence[Change]) -> str:
    return next((change.claim.queue.value for change in changes if change.claim is not None), "")


def _lock_heads(
    connection: Connection, changes: Sequence[Change]
) -> tuple[dict[str, _Head], dict[str, Owner]]:
    ids = sorted({change.orchestration_id for change in changes if change.orchestration is not None})
    if not ids:
        return {}, {}
    found = connection.execute(
        "SELECT orchestration_id, head_seq, head_hash, tenant_id, event_id, workflow FROM orchestrations"
        " WHERE orchestration_id = ANY(%b::text[]) ORDER BY orchestration_id FOR UPDATE",
        [ids],
    ).fetchall()
    owners = {row[0]: Owner(row[3], row[4], row[0], row[5]) for row in found}
    return {row[0]: (row[1], row[2]) for row in found}, owners


def _lock_steps(connection: Connection, changes: Sequence[Change]) -> dict[str, int]:
    """Lock all steps that the batch touches, in the order of their ids; the fences of those that are not finished."""
    ids: set[str] = set()
    for change in changes:
        if change.claim is not None:
            ids.add(change.claim.step_id)
            if change.claim.parent_id is not None and change.settle == "finish":
                ids.add(change.claim.parent_id)
        ids.update(change.withdraw)
        ids.update(change.wake)
        ids.update(step.step_id for step in change.reopen)
    if not ids:
        return {}
    found = connection.execute(
        # Whether it is finished is looked at here and not there: as a condition it lets the planner take a partial
        # index, and read every open step instead of these few.
        "SELECT step_id, fence, finished_at IS NULL FROM work_index WHERE step_id = ANY(%b::text[])"
        " ORDER BY step_id FOR UPDATE",
        [sorted(ids)],
    )
    return {row[0]: row[1] for row in found if row[2]}


def _read_run_heads(connection: Connection, changes: Sequence[Change]) -> dict[str, _Head]:
    """The heads of runs' own chains; the lock on the run's step is the lock on its chain."""
    ids = [
        change.run.chain_id for change in changes if change.run is not None and change.run.expected_seq > 0
    ]
    heads: dict[str, _Head] = {change.run.chain_id: (0, b"") for change in changes if change.run is not None}
    if ids:
        found = connection.execute(
            "SELECT DISTINCT ON (chain_id) chain_id, seq + 1, hash FROM journal WHERE chain_id = ANY(%b::text[])"
            " ORDER BY chain_id, seq DESC",
            [ids],
        )
        heads.update({row[0]: (row[1], row[2]) for row in found})
    return heads


def _judge(
    change: Change, heads: dict[str, _Head], run_heads: dict[str, _Head], fences: dict[str, int]
) -> Verdict:
    if change.claim is not None and fences.get(change.claim.step_id) != change.claim.fence:
        return Verdict.FENCED
    if change.orchestration is not None:
        head = heads.get(change.orchestration_id)
        if head is None or head[0] != change.orchestration.expected_seq:
            return Verdict.MOVED
    if change.run is not None and run_heads[change.run.chain_id][0] != change.run.expected_seq:
        return Verdict.MOVED
    return Verdict.RECORDED


def _link(change: Change, append: Append, heads: dict[str, _Head], now: str) -> list[rows.Link]:
    links = rows.link(append.chain_id, change.tenant_id, heads[append.chain_id], append.facts, now)
    if links:
        heads[append.chain_id] = (links[-1].seq + 1, links[-1].hash)
    return links


def _project(batch: _Batch, owner: Owner, change: Change, links: Sequence[rows.Link], at: str) -> None:
    assert change.orchestration is not None
    shown = _Shown(change.status)
    for row, fact in zip(links, change.orchestration.facts, strict=True):
        recorded = Recorded(row.chain_id, row.seq, at, fact)
        if (decision := decision_row(recorded)) is not None:
            batch.decisions.append((change.tenant_id, decision))
        if (action := action_row(recorded)) is not None:
            batch.actions.append((change.tenant_id, action))
        if (changed := action_change(recorded)) is not None:
            batch.action_changes.append(changed)
        if type(fact) in CONCERNED:
            batch.dead_letters.add(owner, recorded)
        if isinstance(fact, OrchestrationClosed):
            shown = _Shown(fact.status, closed=True)
        elif isinstance(fact, OrchestrationResumed):
            shown = _Shown(change.status, reopened=True)
            batch.resumed.append(change.orchestration_id)
    batch.shown[change.orchestration_id] = shown


def _replay(batch: _Batch, change: Change) -> None:
    if change.begins is not None:
        batch.replays.beginnings.append((change.tenant_id, change.begins))
    if change.ends_replay is not None:
        batch.replays.ends.append(change.ends_replay)
        if change.ends_replay.new_orchestration_id:
            batch.dead_letters.resolve(reran(change.orchestration_id))


def _settle(batch: _Batch, change: Change, fences: dict[str, int]) -> None:
    batch.finished += [step for step in change.withdraw if step in fences]
    batch.woken += [step for step in change.wake if step in fences]
    if change.claim is None or change.settle == "keep":
        return
    if change.settle == "wait":
        batch.put_off.append(change.claim.step_id)
        return
    if change.settle == "retry":
        # Waiting for a release is no attempt at the step.
        attempts = 0 if change.status == "waiting_for_release" else 1
        retried = (change.claim.step_id, change.retry_in_seconds, attempts, int(change.lapsed))
        batch.retried.append(retried)
        return
    batch.finished.append(change.claim.step_id)
    del fences[change.claim.step_id]
    parent = change.claim.parent_id
    if parent is not None and parent in fences:
        batch.members[parent] = batch.members.get(parent, 0) + 1


def _write(connection: Connection, batch: _Batch, now: str) -> tuple[tuple[str, Queue], ...]:
    with connection.pipeline():
        rows.insert_links(connection, batch.links)
        rows.insert_contents(connection, batch.contents)
        rows.insert_steps(connection, batch.steps)
        rows.reopen_steps(connection, batch.reopened)
        _move_heads(connection, batch)
        _show_waiting(connection, batch)
        rows.insert_decisions(connection, batch.decisions)
        rows.insert_actions(connection, batch.actions)
        rows.retake_actions(connection, batch.resumed)
        rows.update_actions(connection, batch.action_changes)
        dead_letters.apply(connection, batch.dead_letters)
        replays.write(connection, batch.replays, now)
        _finish_steps(connection, batch)
        _put_off_and_wake(connection, batch)
    return _count_down(connection, batch)


def _move_heads(connection: Connection, batch: _Batch) -> None:
    if batch.heads:
        ids = list(batch.heads)
        connection.execute(
            # What follows the end (a probe's answer, a step that finds nothing to do) does not open it again.
            "UPDATE orchestrations o SET head_seq = new.seq, head_hash = new.hash,"
            " status = CASE WHEN o.closed_at IS NULL OR new.closed OR new.reopened THEN new.status"
            "  ELSE o.status END,"
            " closed_at = CASE WHEN new.closed THEN clock_timestamp() WHEN new.reopened THEN NULL"
            "  ELSE o.closed_at END"
            " FROM unnest(%b::text[], %b::int4[], %b::bytea[], %b::text[], %b::bool[], %b::bool[])"
            " AS new (id, seq, hash, status, closed, reopened) WHERE o.orchestration_id = new.id",
            [
                ids,
                [batch.heads[key][0] for key in ids],
                [batch.heads[key][1] for key in ids],
                [batch.shown[key].status for key in ids],
                [batch.shown[key].closed for key in ids],
                [batch.shown[key].reopened for key in ids],
            ],
        )


def _show_waiting(connection: Connection, batch: _Batch) -> None:
    if batch.waiting:
        connection.execute(
            "UPDATE orchestrations SET status = 'waiting_for_release'"
            " WHERE orchestration_id = ANY(%b::text[]) AND closed_at IS NULL",
            [batch.waiting],
        )


def _finish_steps(connection: Connection, batch: _Batch) -> None:
    if batch.finished:
        connection.execute(
            "UPDATE work_index SET finished_at = clock_timestamp(), leased_by = NULL, fence = fence + 1"
            " WHERE step_id = ANY(%b::text[])",
            [batch.finished],
        )
    if batch.retried:
        connection.execute(
            "UPDATE work_index w SET due_at = clock_timestamp() + make_interval(secs => new.seconds),"
            " leased_by = NULL, fence = w.fence + 1, attempts = w.attempts - 1 + new.counted,"
            " lapses = w.lapses + new.lapsed"
            " FROM unnest(%b::text[], %b::float8[], %b::int4[], %b::int4[])"
            " AS new (step_id, seconds, counted, lapsed) WHERE w.step_id = new.step_id",
            [list(column) for column in zip(*batch.retried, strict=True)],
        )


def _put_off_and_wake(connection: Connection, batch: _Batch) -> None:
    """In this order: what a step waited for may have come with the change that puts it off."""
    if batch.put_off:
        connection.execute(
            "UPDATE work_index SET due_at = 'infinity', leased_by = NULL, fence = fence + 1"
            " WHERE step_id = ANY(%b::text[])",
            [batch.put_off],
        )
    if batch.woken:
        connection.execute(
            "UPDATE work_index SET due_at = clock_timestamp()"
            " WHERE step_id = ANY(%b::text[]) AND due_at = 'infinity' AND finished_at IS NULL",
            [batch.woken],
        )


def _count_down(connection: Connection, batch: _Batch) -> tuple[tuple[str, Queue], ...]:
    """Tell the steps that wait for members how many became final; those that miss none are due now."""
    if not batch.members:
        return ()
    counted = connection.execute(
        "UPDATE work_index w SET open_members = w.open_members - new.final,"
        " due_at = CASE WHEN w.open_members <= new.final THEN clock_timestamp() ELSE w.due_at END"
        " FROM unnest(%b::text[], %b::int4[]) AS new (step_id, final) WHERE w.step_id = new.step_id"
        " RETURNING w.step_id, w.queue, w.open_members",
        [list(batch.members), list(batch.members.values())],
    )
    return tuple((row[0], Queue(row[1])) for row in counted if row[2] <= 0)
