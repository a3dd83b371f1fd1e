"""The catalogue in memory: for tests, and for compiling without a database."""

from __future__ import annotations

import threading
from collections.abc import Mapping

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
from app.kernel.clock import Clock, SystemClock
from app.kernel.document import Frozen
from app.kernel.release import Channel, Release


class MemoryCatalogue:
    """``Catalogue`` for as long as the process lives. ``tenants`` is each tenant's current document."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._documents: dict[DocumentKey, Document[Frozen]] = {}
        self._releases: dict[str, tuple[PublishedRelease, Release]] = {}
        self._routings: dict[tuple[str, Channel], Routing] = {}
        self.tenants: dict[str, TenantDocument] = {}

    def documents(self) -> Mapping[DocumentKey, str]:
        """The digest of every published document."""
        with self._lock:
            return {key: document.digest for key, document in self._documents.items()}

    def releases(self) -> tuple[PublishedRelease, ...]:
        """Every published release, by workflow, version, time and digest."""
        with self._lock:
            rows = [row for row, _ in self._releases.values()]
        return tuple(sorted(rows, key=lambda row: (row.workflow, row.version, row.published_at, row.digest)))

    def release(self, digest: str) -> Release:
        """A release's content. Raises UnknownReleaseError."""
        with self._lock:
            found = self._releases.get(digest)
        if found is None:
            raise UnknownReleaseError(digest)
        return found[1]

    def routings(self) -> tuple[Routing, ...]:
        """Every channel that a release is routed to, by workflow and channel."""
        with self._lock:
            return tuple(self._routings[key] for key in sorted(self._routings))

    def publish(self, plan: Plan, actor: str) -> None:
        """Add what the plan adds, all or nothing. Raises VersionAlreadyPublishedError."""
        with self._lock:
            conflicts = [
                document
                for document in plan.documents
                if self._documents.get(document.key, document).digest != document.digest
            ]
            if conflicts:
                raise VersionAlreadyPublishedError(conflicts)
            for document in plan.documents:
                self._documents.setdefault(document.key, document)
                self._keep_tenant(document.model)
            for release in plan.releases:
                row = PublishedRelease(
                    release.digest, release.workflow, release.template.version, self._clock.now(), actor
                )
                self._releases.setdefault(release.digest, (row, release))

    def route(self, workflow: str, channel: Channel, release: str, change: Change) -> bool:
        """Let a release take the workflow's traffic. Raises UnknownReleaseError, MisroutedReleaseError."""
        with self._lock:
            found = self._releases.get(release)
            check_route(workflow, found[0].workflow if found else None, release)
            current = self._routings.get((workflow, channel))
            if current is not None and current.release == release:
                return False
            self._routings[workflow, channel] = Routing(
                workflow, channel, release, self._clock.now(), change.actor, change.reason
            )
            return True

    def _keep_tenant(self, model: Frozen) -> None:
        if not isinstance(model, TenantDocument):
            return
        current = self.tenants.get(model.tenant.name)
        if current is None or current.tenant.version < model.tenant.version:
            self.tenants[model.tenant.name] = model
