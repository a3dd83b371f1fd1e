"""Many whole orchestrations, made of one that was really recorded: other ids, every chain hashed anew.

For tests that need a past: closed orchestrations with their events, steps, read models and content, as old as wanted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import psycopg

from app.adapters.postgresql import rows
from app.data_plane.projections import read_model
from app.data_plane.replay.record import Record, StoredLink, read_chain, run_ids
from app.kernel.facts import OrchestrationStarted, chain_hash, decode
from app.kernel.release import Release
from interlock.canonical import canonical_bytes
from interlock.identity import orchestration_id, run_id
from tests.recorded import HISTORIES, load

ISSUE, RELEASE = load(HISTORIES / "issue.json")
NOW = datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Past:
    """One closed orchestration and when it was; ``age`` is that of its creation and, a second later, of its end."""

    record: Record
    age: timedelta


def clone(number: int, *, of: Record = ISSUE, tenant: str | None = None) -> Record:
    """The record under the ids of another event, ``clone-NUMBER``, as if that had been decided in the same way."""
    facts = read_chain(of.chain)
    started = facts[0].fact
    assert isinstance(started, OrchestrationStarted)
    owner, event = tenant or of.tenant_id, f"clone-{number:06}"
    key = orchestration_id(owner, started.source, event, started.workflow)
    called_for = run_ids(of.orchestration_id, tuple(item.fact for item in facts))
    names = {of.orchestration_id: key, started.event_id: event}
    names |= {old: run_id(key, stage, agent) for old, (stage, agent) in called_for.items()}
    names |= {old: f"act_{sha256(f'{key}{old}'.encode()).hexdigest()[:32]}" for old in _actions(of)}
    runs = {names[old]: _renamed(links, names) for old, links in of.runs.items()}
    hashes = {links[-1].hash.hex(): runs[names[old]][-1].hash.hex() for old, links in of.runs.items()}
    chain = _renamed(of.chain, names | hashes)
    return replace(
        of,
        orchestration_id=key,
        tenant_id=owner,
        head_seq=len(chain),
        head_hash=chain[-1].hash,
        chain=chain,
        runs=runs,
    )


def _actions(record: Record) -> set[str]:
    return {row.action_id for row in read_model(read_chain(record.chain)).actions}


def _renamed(links: Sequence[StoredLink], names: dict[str, str]) -> tuple[StoredLink, ...]:
    renamed: list[StoredLink] = []
    previous = b""
    for link in links:
        body = link.body
        for old, new in names.items():
            body = body.replace(old.encode(), new.encode())
        previous = chain_hash(previous, body)
        renamed.append(StoredLink(body, previous))
    return tuple(renamed)


def put_tenants(url: str, tenants: Iterable[str] = ("demo",), release: Release = RELEASE) -> None:
    """Tenants without a document, and the release that the clones are pinned to."""
    with psycopg.connect(url) as connection:
        for tenant in tenants:
            connection.execute(
                "INSERT INTO tenants (tenant_id, version, digest, document) VALUES (%s, 1, '', '{}')",
                [tenant],
            )
        connection.execute(
            "INSERT INTO releases (digest, workflow, body, published_by) VALUES (%s, %s, %s, 'test')",
            [release.digest, release.workflow, canonical_bytes(release.model_dump(mode="json"))],
        )


def put(url: str, pasts: Sequence[Past]) -> None:
    """Everything that is kept of these orchestrations, in one transaction."""
    with psycopg.connect(url) as connection:
        _put_orchestrations(connection, pasts)
        links = [link for past in pasts for link in _links(past.record)]
        rows.insert_links(connection, links)
        _put_steps(connection, pasts)
        models = [(past.record.tenant_id, read_model(read_chain(past.record.chain))) for past in pasts]
        rows.insert_decisions(connection, [(t, model.decision) for t, model in models if model.decision])
        rows.insert_actions(connection, [(t, action) for t, model in models for action in model.actions])
        _put_contents(connection, pasts)


def _put_contents(connection: rows.Connection, pasts: Sequence[Past]) -> None:
    """Each content once, as young as the youngest that names it."""
    youngest: dict[tuple[str, str], tuple[bytes, timedelta]] = {}
    for past in pasts:
        for digest, body in past.record.contents.items():
            key = (past.record.tenant_id, digest)
            age = min(past.age, youngest[key][1]) if key in youngest else past.age
            youngest[key] = (body, age)
    connection.cursor().executemany(
        "INSERT INTO payloads (tenant_id, digest, body, put_at) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT (tenant_id, digest) DO UPDATE SET put_at = greatest(payloads.put_at, excluded.put_at)",
        [
            (tenant, bytes.fromhex(digest), body, NOW - age)
            for (tenant, digest), (body, age) in youngest.items()
        ],
    )


def _links(record: Record) -> list[rows.Link]:
    return [
        rows.Link(chain, seq, record.tenant_id, link.body, link.hash)
        for chain, links in {record.orchestration_id: record.chain, **record.runs}.items()
        for seq, link in enumerate(links)
    ]


def _put_orchestrations(connection: rows.Connection, pasts: Sequence[Past]) -> None:
    known = [(past, past.record, _started(past.record)) for past in pasts]
    connection.cursor().executemany(
        "INSERT INTO orchestrations (orchestration_id, tenant_id, source, event_id, event_type, workflow, lane,"
        " ordinal, release, channel, status, head_seq, head_hash, created_at, closed_at)"
        " VALUES (%s, %s, %s, %s, %s, %s, 'live', 0, %s, 'stable', 'completed', %s, %s, %s, %s)",
        [
            (
                *(record.orchestration_id, record.tenant_id, started.source, started.event_id),
                *(started.event_type, started.workflow, record.release, record.head_seq, record.head_hash),
                *(NOW - past.age, NOW - past.age + timedelta(seconds=1)),
            )
            for past, record, started in known
        ],
    )
    connection.cursor().executemany(
        "INSERT INTO events (tenant_id, source, event_id, type, state, data_digest, raw_digest, event_digest,"
        " normaliser, received_at) VALUES (%s, %s, %s, %s, 'accepted', '', %s, %s, %s, %s)",
        [
            (
                *(record.tenant_id, started.source, started.event_id, started.event_type),
                *(started.raw_digest, started.event_digest, started.normaliser, NOW - past.age),
            )
            for past, record, started in known
        ],
    )


def _started(record: Record) -> OrchestrationStarted:
    fact = decode(record.chain[0].body).fact
    assert isinstance(fact, OrchestrationStarted)
    return fact


def _put_steps(connection: rows.Connection, pasts: Sequence[Past]) -> None:
    connection.cursor().executemany(
        "INSERT INTO work_index (step_id, tenant_id, orchestration_id, queue, stage, subject, due_at,"
        " lease_seconds, finished_at) VALUES (%s, %s, %s, 'agent_runs', '', '', %s, 30, %s)",
        [
            (run, past.record.tenant_id, past.record.orchestration_id, NOW - past.age, NOW - past.age)
            for past in pasts
            for run in past.record.runs
        ],
    )
