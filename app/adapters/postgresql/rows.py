"""Multi-row inserts: one statement for a batch, whatever its size (COPY does not work under row-level security)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.adapters.postgresql.database import Connection
from app.data_plane.ports import NewStep
from app.data_plane.projections import ActionChange, ActionRow, DecisionRow
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


def insert_contents(connection: Connection, contents: Mapping[tuple[str, str], bytes]) -> None:
    """Put content, keyed by (tenant, digest), into the payload store; what is there already stays."""
    if contents:
        # In the order of the keys, so that two batches with the same content wait for each other and never deadlock.
        rows = sorted(contents.items())
        connection.execute(
            "INSERT INTO payloads (tenant_id, digest, body)"
            " SELECT * FROM unnest(%b::text[], %b::bytea[], %b::bytea[]) ON CONFLICT DO NOTHING",
            [
                [tenant for (tenant, _), _ in rows],
                [bytes.fromhex(digest) for (_, digest), _ in rows],
                [body for _, body in rows],
            ],
        )


def insert_steps(connection: Connection, steps: Sequence[NewStep]) -> None:
    """Put steps into the work index: due now, or when their last member is final."""
    if steps:
        connection.execute(
            "INSERT INTO work_index (step_id, tenant_id, orchestration_id, queue, stage, subject, parent_id,"
            " lease_seconds, open_members, due_at)"
            " SELECT *, CASE WHEN members > 0 THEN 'infinity'::timestamptz ELSE clock_timestamp() END"
            " FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[],"
            " %b::float8[], %b::int4[]) AS new (a, b, c, d, e, f, g, h, members) ON CONFLICT DO NOTHING",
            [
                [step.step_id for step in steps],
                [step.tenant_id for step in steps],
                [step.orchestration_id for step in steps],
                [step.queue.value for step in steps],
                [step.stage for step in steps],
                [step.subject for step in steps],
                [step.parent_id for step in steps],
                [step.lease_seconds for step in steps],
                [step.open_members for step in steps],
            ],
        )


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
