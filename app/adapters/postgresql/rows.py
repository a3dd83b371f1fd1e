"""Multi-row inserts: one statement for a batch, whatever its size (COPY does not work under row-level security)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.adapters.postgresql.database import Connection
from app.data_plane.ports import NewStep
from app.data_plane.projections import ActionChange, ActionRow, DecisionRow
from app.data_plane.replay.register import Beginning
from app.kernel.facts import BaseFact, chain_hash, encode


@dataclass(frozen=True, slots=True)
class Link:
    """A fact as it will stand in the journal."""

    chain_id: str
    seq: int
    tenant_id: str
    body: bytes
    hash: bytes


def link(
    chain_id: str, tenant_id: str, head: tuple[int, bytes], facts: Iterable[BaseFact], at: str
) -> list[Link]:
    """The facts as links behind ``head`` (the number of facts in the chain, and the last one's hash)."""
    seq, previous = head
    links: list[Link] = []
    for fact in facts:
        body = encode(chain_id, seq, at, fact)
        previous = chain_hash(previous, body)
        links.append(Link(chain_id, seq, tenant_id, body, previous))
        seq += 1
    return links


def insert_links(connection: Connection, links: Sequence[Link]) -> None:
    """Append to the journal."""
    if links:
        connection.execute(
            "INSERT INTO journal (chain_id, seq, tenant_id, body, hash)"
            " SELECT * FROM unnest(%b::text[], %b::int4[], %b::text[], %b::bytea[], %b::bytea[])",
            [
                [row.chain_id for row in links],
                [row.seq for row in links],
                [row.tenant_id for row in links],
                [row.body for row in links],
                [row.hash for row in links],
            ],
        )


def insert_beginnings(connection: Connection, beginnings: Sequence[tuple[str, Beginning]], at: str) -> None:
    """Add orchestrations, each with its tenant, and their first facts; their first steps are written elsewhere."""
    if not beginnings:
        return
    links = [link(one.orchestration_id, tenant, (0, b""), [one.started], at)[0] for tenant, one in beginnings]
    started = [one.started for _, one in beginnings]
    connection.execute(
        "INSERT INTO orchestrations (orchestration_id, tenant_id, source, event_id, event_type, workflow, lane,"
        " ordinal, release, channel, head_hash, traceparent, head_seq, status)"
        " SELECT *, 1, 'running' FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[],"
        " %b::text[], %b::int4[], %b::text[], %b::text[], %b::bytea[], %b::text[])",
        [
            [one.orchestration_id for _, one in beginnings],
            [tenant for tenant, _ in beginnings],
            [fact.source for fact in started],
            [fact.event_id for fact in started],
            [fact.event_type for fact in started],
            [fact.workflow for fact in started],
            [fact.lane for fact in started],
            [fact.ordinal for fact in started],
            [fact.release for fact in started],
            [fact.channel for fact in started],
            [row.hash for row in links],
            [one.traceparent for _, one in beginnings],
        ],
    )
    insert_links(connection, links)


# Written so that only the primary key's index fits; in the order of the keys, as the insert below.
_TOUCH_CONTENTS = """
WITH old AS MATERIALIZED (
    SELECT p.tenant_id, p.digest
    FROM unnest(%b::text[], %b::bytea[]) AS put (tenant_id, digest) JOIN payloads p USING (tenant_id, digest)
    WHERE p.put_at + interval '1 day' < clock_timestamp()
    ORDER BY p.tenant_id, p.digest FOR UPDATE OF p
)
UPDATE payloads p SET put_at = clock_timestamp() FROM old
WHERE p.tenant_id = old.tenant_id AND p.digest = old.digest
"""


def insert_contents(connection: Connection, contents: Mapping[tuple[str, str], bytes]) -> None:
    """Put content, keyed by (tenant, digest), into the payload store; of what is there already only the date is new.

    Whoever names content puts it, also when it is there: retention takes what nobody put for longer than the oldest
    orchestration has been there. The date is renewed once a day, so that putting the same again locks nothing.
    """
    if contents:
        # In the order of the keys, so that two batches with the same content wait for each other and never deadlock.
        rows = sorted(contents.items())
        tenants = [tenant for (tenant, _), _ in rows]
        digests = [bytes.fromhex(digest) for (_, digest), _ in rows]
        # First the dates: what retention is removing at this moment is waited for here, and inserted again below.
        connection.execute(_TOUCH_CONTENTS, [tenants, digests])
        connection.execute(
            "INSERT INTO payloads (tenant_id, digest, body)"
            " SELECT * FROM unnest(%b::text[], %b::bytea[], %b::bytea[]) ON CONFLICT DO NOTHING",
            [tenants, digests, [body for _, body in rows]],
        )


_INSERT_STEPS = (
    "INSERT INTO work_index (step_id, tenant_id, orchestration_id, queue, stage, subject, parent_id,"
    " lease_seconds, open_members, due_at)"
    " SELECT a, b, c, d, e, f, g, h, members, CASE WHEN members > 0 THEN 'infinity'::timestamptz"
    "  ELSE clock_timestamp() + make_interval(secs => due_in) END"
    " FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[],"
    " %b::float8[], %b::int4[], %b::float8[]) AS new (a, b, c, d, e, f, g, h, members, due_in)"
)


def insert_steps(connection: Connection, steps: Sequence[NewStep]) -> None:
    """Put steps into the work index: due now or in so many seconds, or when their last member is final."""
    if steps:
        connection.execute(f"{_INSERT_STEPS} ON CONFLICT DO NOTHING", _columns_of_steps(steps))


def reopen_steps(connection: Connection, steps: Sequence[NewStep]) -> None:
    """Put steps into the work index as if they were new, whatever became of them; who holds one has lost it."""
    if steps:
        connection.execute(
            f"{_INSERT_STEPS} ON CONFLICT (step_id) DO UPDATE SET finished_at = NULL, leased_by = NULL,"
            " attempts = 0, lapses = 0, fence = work_index.fence + 1, open_members = EXCLUDED.open_members,"
            " lease_seconds = EXCLUDED.lease_seconds, due_at = EXCLUDED.due_at",
            _columns_of_steps(steps),
        )


def _columns_of_steps(steps: Sequence[NewStep]) -> list[list[object]]:
    return [
        [step.step_id for step in steps],
        [step.tenant_id for step in steps],
        [step.orchestration_id for step in steps],
        [step.queue.value for step in steps],
        [step.stage for step in steps],
        [step.subject for step in steps],
        [step.parent_id for step in steps],
        [step.lease_seconds for step in steps],
        [step.open_members for step in steps],
        [step.due_in_seconds for step in steps],
    ]


def insert_decisions(connection: Connection, rows: Sequence[tuple[str, DecisionRow]]) -> None:
    """Add decisions, each with its tenant, to the read model."""
    if rows:
        connection.execute(
            "INSERT INTO decisions (tenant_id, orchestration_id, decision_digest, outcome_digest, degraded,"
            " actions, decided_at)"
            " SELECT * FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::bool[], %b::int4[], %b::text[])",
            [
                [tenant for tenant, _ in rows],
                [row.orchestration_id for _, row in rows],
                [row.decision_digest for _, row in rows],
                [row.outcome_digest for _, row in rows],
                [row.degraded for _, row in rows],
                [row.actions for _, row in rows],
                [row.decided_at for _, row in rows],
            ],
        )


def insert_actions(connection: Connection, rows: Sequence[tuple[str, ActionRow]]) -> None:
    """Add actions, each with its tenant, to the read model."""
    if rows:
        connection.execute(
            "INSERT INTO actions (tenant_id, action_id, orchestration_id, position, name, tool, target, state,"
            " arguments_digest, idempotency_key, attempts, receipt_digest, reason)"
            " SELECT * FROM unnest(%b::text[], %b::text[], %b::text[], %b::int4[], %b::text[], %b::text[], %b::text[],"
            " %b::text[], %b::text[], %b::text[], %b::int4[], %b::text[], %b::text[])",
            [
                [tenant for tenant, _ in rows],
                [row.action_id for _, row in rows],
                [row.orchestration_id for _, row in rows],
                [row.position for _, row in rows],
                [row.name for _, row in rows],
                [row.tool for _, row in rows],
                [row.target for _, row in rows],
                [row.state for _, row in rows],
                [row.arguments_digest for _, row in rows],
                [row.idempotency_key for _, row in rows],
                [row.attempts for _, row in rows],
                [row.receipt_digest for _, row in rows],
                [row.reason for _, row in rows],
            ],
        )


def retake_actions(connection: Connection, orchestration_ids: Sequence[str]) -> None:
    """Of orchestrations that were resumed: what had given up is permitted again."""
    if orchestration_ids:
        connection.execute(
            "UPDATE actions SET state = 'authorised' WHERE orchestration_id = ANY(%b::text[]) AND state = 'failed'",
            [list(orchestration_ids)],
        )


def update_actions(connection: Connection, changes: Sequence[ActionChange]) -> None:
    """Bring actions' rows up to their newest fact; of several changes of one action the last counts."""
    last = list({change.action_id: change for change in changes}.values())
    if last:
        connection.execute(
            "UPDATE actions SET state = new.state, attempts = new.attempts, receipt_digest = new.receipt,"
            " reason = new.reason"
            " FROM unnest(%b::text[], %b::text[], %b::int4[], %b::text[], %b::text[])"
            " AS new (action_id, state, attempts, receipt, reason) WHERE actions.action_id = new.action_id",
            [
                [row.action_id for row in last],
                [row.state for row in last],
                [row.attempts for row in last],
                [row.receipt_digest for row in last],
                [row.reason for row in last],
            ],
        )
