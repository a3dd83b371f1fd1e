"""The catalogue in PostgreSQL, written under the role ``interlock_control`` and by no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from psycopg.types.json import Jsonb

from app.adapters.postgresql.database import Connection, Database
from app.control_plane.documents import Document, DocumentKey, TenantDocument
from app.control_plane.publishing import (
    Change,
    Plan,
    PublishedRelease,
    Routing,
    UnknownReleaseError,
    VersionAlreadyPublishedError,
    check_route,
)
from app.kernel.document import Frozen
from app.kernel.release import Channel, Release
from app.telemetry.redaction import redact
from interlock.canonical import canonical_bytes


class PostgresqlCatalogue:
    """``Catalogue`` over the tables documents, releases, channels, tenants and reference_entries."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def documents(self) -> Mapping[DocumentKey, str]:
        """The digest of every published document."""
        with self._database.transaction() as connection:
            rows = connection.execute("SELECT kind, name, version, digest FROM documents").fetchall()
        return {DocumentKey(row[0], row[1], row[2]): row[3] for row in rows}

    def releases(self) -> tuple[PublishedRelease, ...]:
        """Every published release, by workflow, version, time and digest."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                "SELECT digest, workflow, (convert_from(body, 'UTF8')::jsonb #>> '{template,version}')::int"
                " AS version, published_at, published_by"
                " FROM releases ORDER BY workflow, version, published_at, digest"
            ).fetchall()
        return tuple(PublishedRelease(*row) for row in rows)

    def release(self, digest: str) -> Release:
        """A release's content. Raises UnknownReleaseError."""
        with self._database.transaction() as connection:
            row = connection.execute("SELECT body FROM releases WHERE digest = %s", [digest]).fetchone()
        if row is None:
            raise UnknownReleaseError(digest)
        return Release.model_validate_json(row[0])

    def routings(self) -> tuple[Routing, ...]:
        """Every channel that a release is routed to, by workflow and channel."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                "SELECT workflow, channel, release_digest, changed_at, changed_by, reason"
                " FROM channels ORDER BY workflow, channel"
            ).fetchall()
        return tuple(Routing(*row) for row in rows)

    def publish(self, plan: Plan, actor: str) -> None:
        """Add what the plan adds, all or nothing. Raises VersionAlreadyPublishedError."""
        # In order of version, so that the highest is the one that stays current.
        tenants = sorted(
            (document for document in plan.documents if isinstance(document.model, TenantDocument)),
            key=lambda document: document.key,
        )
        with self._database.transaction([document.key.name for document in tenants]) as connection:
            _insert_documents(connection, plan.documents)
            _insert_releases(connection, plan.releases, actor)
            for document in tenants:
                assert isinstance(document.model, TenantDocument)
                _keep_tenant(connection, document.model, document.digest)

    def route(self, workflow: str, channel: Channel, release: str, change: Change) -> bool:
        """Let a release take the workflow's traffic. Raises UnknownReleaseError, MisroutedReleaseError."""
        with self._database.transaction() as connection:
            row = connection.execute("SELECT workflow FROM releases WHERE digest = %s", [release]).fetchone()
            check_route(workflow, row[0] if row is not None else None, release)
            changed = connection.execute(
                "INSERT INTO channels (workflow, channel, release_digest, changed_by, reason)"
                " VALUES (%s, %s, %s, %s, %s)"
                " ON CONFLICT (workflow, channel) DO UPDATE SET release_digest = excluded.release_digest,"
                " changed_at = clock_timestamp(), changed_by = excluded.changed_by, reason = excluded.reason"
                " WHERE channels.release_digest <> excluded.release_digest",
                [workflow, channel, release, change.actor, redact(change.reason)],
            )
            return changed.rowcount > 0


def _insert_documents(connection: Connection, documents: Sequence[Document[Frozen]]) -> None:
    """Insert what is not there; what another transaction writes meanwhile is waited for, and compared."""
    ordered = sorted(documents, key=lambda document: document.key)
    kinds, names, versions = (
        [document.key.kind for document in ordered],
        [document.key.name for document in ordered],
        [document.key.version for document in ordered],
    )
    connection.execute(
        "INSERT INTO documents (kind, name, version, digest, body)"
        " SELECT * FROM unnest(%s::text[], %s::text[], %s::int[], %s::text[], %s::bytea[])"
        " ON CONFLICT DO NOTHING",
        [
            kinds,
            names,
            versions,
            [document.digest for document in ordered],
            [document.body for document in ordered],
        ],
    )
    rows = connection.execute(
        "SELECT kind, name, version, digest FROM documents JOIN"
        " unnest(%s::text[], %s::text[], %s::int[]) AS wanted (kind, name, version)"
        " USING (kind, name, version)",
        [kinds, names, versions],
    ).fetchall()
    stored = {DocumentKey(row[0], row[1], row[2]): row[3] for row in rows}
    conflicts = [document for document in ordered if stored[document.key] != document.digest]
    if conflicts:
        raise VersionAlreadyPublishedError(conflicts)


def _insert_releases(connection: Connection, releases: Sequence[Release], actor: str) -> None:
    ordered = sorted(releases, key=lambda release: release.digest)
    connection.execute(
        "INSERT INTO releases (digest, workflow, body, published_by)"
        " SELECT digest, workflow, body, %s"
        " FROM unnest(%s::text[], %s::text[], %s::bytea[]) AS new (digest, workflow, body)"
        " ON CONFLICT DO NOTHING",
        [
            actor,
            [release.digest for release in ordered],
            [release.workflow for release in ordered],
            [canonical_bytes(release.model_dump(mode="json")) for release in ordered],
        ],
    )


def _keep_tenant(connection: Connection, document: TenantDocument, digest: str) -> None:
    tenant = document.tenant
    kept = connection.execute(
        "INSERT INTO tenants (tenant_id, version, digest, document) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT (tenant_id) DO UPDATE SET version = excluded.version, digest = excluded.digest,"
        " document = excluded.document, published_at = clock_timestamp()"
        " WHERE tenants.version < excluded.version",
        [tenant.name, tenant.version, digest, Jsonb(tenant.model_dump(mode="json"))],
    )
    if kept.rowcount == 0:
        return
    entries = [
        (collection, key, entry)
        for collection, held in sorted(document.reference.collections.items())
        for key, entry in sorted(held.items())
    ]
    connection.execute("DELETE FROM reference_entries WHERE tenant_id = %s", [tenant.name])
    connection.execute(
        "INSERT INTO reference_entries (tenant_id, collection, key, value)"
        " SELECT %s, * FROM unnest(%s::text[], %s::text[], %s::jsonb[])",
        [
            tenant.name,
            [collection for collection, _, _ in entries],
            [key for _, key, _ in entries],
            [Jsonb(dict(entry)) for _, _, entry in entries],
        ],
    )
