"""Recorded histories as files: one orchestration as a database held it, with its release.

``python -m tests.recorded ID FILE`` writes one from the database of the current settings.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import psycopg

from app.adapters.postgresql.database import Database
from app.adapters.postgresql.reading import Reading
from app.adapters.postgresql.releases import PostgresqlReleases
from app.data_plane.replay.record import Record, StoredLink
from app.data_plane.tools import shipped_tools
from app.kernel.facts import OrchestrationStarted, decode
from app.kernel.release import Release
from config import settings
from interlock.canonical import canonical_bytes

HISTORIES = Path(__file__).parent / "unit" / "histories"


def load(path: Path) -> tuple[Record, Release]:
    """The record and the release that it is pinned to."""
    held = json.loads(path.read_text())
    record = Record(
        orchestration_id=held["orchestration_id"],
        tenant_id=held["tenant_id"],
        release=held["pinned_to"],
        head_seq=held["head_seq"],
        head_hash=bytes.fromhex(held["head_hash"]),
        chain=_links(held["chain"]),
        runs={run: _links(links) for run, links in held["runs"].items()},
        contents={digest: text.encode() for digest, text in held["contents"].items()},
    )
    return record, Release.model_validate(held["release"])


def restore(
    url: str, record: Record, release: Release, *, facts: int | None = None, runs: bool = False
) -> None:
    """Put a recorded history into an empty database, or its first ``facts`` facts, as if it were still running.

    Args:
        runs: also of one that still runs, the runs' own chains.
    """
    chain = record.chain[:facts]
    started = decode(chain[0].body).fact
    assert isinstance(started, OrchestrationStarted)
    closed = facts is None
    with psycopg.connect(url) as connection:
        connection.execute("SELECT set_config('interlock.tenants', %s, true)", [record.tenant_id])
        connection.execute(
            "INSERT INTO tenants (tenant_id, version, digest, document) VALUES (%s, 1, '', '{}')"
            " ON CONFLICT DO NOTHING",
            [record.tenant_id],
        )
        connection.execute(
            "INSERT INTO releases (digest, workflow, body, published_by) VALUES (%s, %s, %s, 'test')"
            " ON CONFLICT DO NOTHING",
            [release.digest, release.workflow, canonical_bytes(release.model_dump(mode="json"))],
        )
        connection.execute(
            "INSERT INTO orchestrations (orchestration_id, tenant_id, source, event_id, event_type, workflow, lane,"
            " ordinal, release, channel, status, head_seq, head_hash, closed_at)"
            " VALUES (%s, %s, %s, %s, %s, %s, 'live', 0, %s, 'stable', %s, %s, %s, %s)",
            [
                record.orchestration_id,
                record.tenant_id,
                started.source,
                started.event_id,
                started.event_type,
                started.workflow,
                record.release,
                "completed" if closed else "running",
                len(chain),
                chain[-1].hash,
                "2026-01-01T00:00:00Z" if closed else None,
            ],
        )
        chains = {record.orchestration_id: chain, **(record.runs if closed or runs else {})}
        for key, links in chains.items():
            for seq, link in enumerate(links):
                connection.execute(
                    "INSERT INTO journal VALUES (%s, %s, %s, %s, %s)",
                    [key, seq, record.tenant_id, link.body, link.hash],
                )
        for digest, body in record.contents.items():
            connection.execute(
                "INSERT INTO payloads VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
                [record.tenant_id, bytes.fromhex(digest), body],
            )


def _links(held: list[dict[str, str]]) -> tuple[StoredLink, ...]:
    return tuple(StoredLink(link["body"].encode(), bytes.fromhex(link["hash"])) for link in held)


def _as_json(links: tuple[StoredLink, ...]) -> list[dict[str, str]]:
    return [{"body": link.body.decode(), "hash": link.hash.hex()} for link in links]


def main() -> None:
    """Write one history."""
    database = Database(settings.load().effective_database_url, "interlock_api", size=1)
    record = Reading(database).views([sys.argv[1]])[sys.argv[1]].record
    release = PostgresqlReleases(database, shipped_tools()).get(record.release)
    held = {
        "orchestration_id": record.orchestration_id,
        "tenant_id": record.tenant_id,
        "pinned_to": record.release,
        "head_seq": record.head_seq,
        "head_hash": record.head_hash.hex(),
        "chain": _as_json(record.chain),
        "runs": {run: _as_json(links) for run, links in sorted(record.runs.items())},
        "contents": {digest: body.decode() for digest, body in sorted(record.contents.items())},
        "release": release.model_dump(mode="json"),
    }
    Path(sys.argv[2]).write_text(json.dumps(held, indent=1, ensure_ascii=False) + "\n")
    database.close()


if __name__ == "__main__":
    main()
