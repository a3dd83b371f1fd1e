"""Published tenants, as the ways in and out read them: their credentials, and where their targets are."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence

from pydantic import ValidationError

from app.adapters.postgresql.database import Database, Row
from app.adapters.secrets import Secrets, SecretUnavailableError
from app.adapters.targets.http import TargetAddress
from app.control_plane.tenants import Tenant
from app.data_plane.budgets.reservations import Account, limits_of
from app.data_plane.ingestion.tenants import Credentials, KnownTenants
from app.kernel.clock import Clock
from app.kernel.errors import PermanentError, TransientError

_log = logging.getLogger(__name__)

FRESH_SECONDS = 5.0
"""How long a process may go on with the documents and secrets that it read."""


class UnknownTargetError(PermanentError):
    """The tenant's document names no such target."""

    code = "unknown_target"


class TenantDocuments:
    """The newest published document of each tenant, read again when it is no longer fresh."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._reading = False
        self._tenants: dict[str, Tenant] = {}
        self.generation = 0
        """Counts the readings, so that what is derived from them knows when to derive anew."""

    def all(self) -> dict[str, Tenant]:
        """By tenant id. What was read before stands while the database is away.

        Raises:
            TransientError: the database does not answer, and nothing was ever read.
        """
        with self._lock:
            fresh = time.monotonic() - self._read_at < FRESH_SECONDS
            # That there is none is never fresh: whoever looked while the first were being published would refuse
            # their keys for a while after.
            if self._tenants and (fresh or self._reading):
                return self._tenants
            self._reading = True
        try:
            tenants = self._read()
        except TransientError:
            self._keep(None)
            if not self.generation:
                raise
        else:
            self._keep(tenants)
        return self._tenants

    def _read(self) -> dict[str, Tenant]:
        with self._database.transaction() as connection:
            rows = connection.execute("SELECT tenant_id, document FROM tenants").fetchall()
        return dict(self._known_ones(rows))

    def _known_ones(self, rows: Iterable[Row]) -> Iterator[tuple[str, Tenant]]:
        """One document that a newer version wrote keeps nobody from the others; what was known of it stands."""
        for name, document in rows:
            try:
                yield name, Tenant.model_validate(document)
            except ValidationError:
                _log.error("the document of the tenant %s says what this version does not know", name)
                if name in self._tenants:
                    yield name, self._tenants[name]

    def _keep(self, tenants: dict[str, Tenant] | None) -> None:
        with self._lock:
            self._reading = False
            if tenants is not None:
                self._tenants = tenants
                self.generation += 1
            # A database without a tenant is being prepared: what it has a moment later must not be refused meanwhile.
            if self._tenants:
                self._read_at = time.monotonic()


class TenantCredentials:
    """``Tenants`` for ingestion: each document's references, resolved in this process."""

    def __init__(self, documents: TenantDocuments, secrets: Secrets) -> None:
        self._documents = documents
        self._secrets = secrets
        self._lock = threading.Lock()
        self._known = KnownTenants({})
        self._generation = -1

    def api_key_tenant(self, key: str) -> str | None:
        """The tenant that the API key belongs to."""
        return self._current().api_key_tenant(key)

    def webhook_secrets(self, tenant: str, source: str) -> Sequence[bytes]:
        """The secrets that the source's signatures may be made with."""
        return self._current().webhook_secrets(tenant, source)

    def signing_key(self, tenant: str) -> bytes | None:
        """The key that the tenant's clients sign with."""
        return self._current().signing_key(tenant)

    def _current(self) -> KnownTenants:
        tenants = self._documents.all()
        with self._lock:
            if self._generation != self._documents.generation:
                self._known = KnownTenants({name: self._resolve(tenant) for name, tenant in tenants.items()})
                self._generation = self._documents.generation
            return self._known

    def _resolve(self, tenant: Tenant) -> Credentials:
        signing = self._values([tenant.signing_key] if tenant.signing_key else [])
        return Credentials(
            api_keys=tuple(self._values(tenant.api_keys)),
            webhook_secrets={
                source: tuple(value.encode() for value in self._values(references))
                for source, references in tenant.webhook_secrets.items()
            },
            signing_key=signing[0].encode() if signing else None,
        )

    def _values(self, references: Sequence[str]) -> list[str]:
        """The secrets that are there; a credential whose secret is missing opens nothing."""
        values: list[str] = []
        for reference in references:
            try:
                values.append(self._secrets.resolve(reference))
            except SecretUnavailableError:
                continue
        return values


class TenantTargets:
    """``TargetDirectory`` for dispatch."""

    def __init__(self, documents: TenantDocuments, secrets: Secrets) -> None:
        self._documents = documents
        self._secrets = secrets

    def find(self, tenant_id: str, target: str) -> TargetAddress:
        """The address. Raises UnknownTargetError, SecretUnavailableError."""
        tenant = self._documents.all().get(tenant_id)
        found = tenant.targets.get(target) if tenant is not None else None
        if found is None:
            raise UnknownTargetError(
                f"The tenant {tenant_id} has no target {target}.", "Publish a tenant document that names it."
            )
        url = found.url if "://" in found.url else self._secrets.resolve(found.url)
        secret = self._secrets.resolve(found.secret) if found.secret is not None else None
        return TargetAddress(
            url=url,
            authorization=f"Bearer {secret}" if secret is not None else None,
            networks=frozenset(found.allow),
        )


class PublishedBudgets:
    """``TenantAccounts`` from the tenants' documents; a period begins by this process's clock, in UTC."""

    def __init__(self, documents: TenantDocuments, clock: Clock) -> None:
        self._documents = documents
        self._clock = clock

    def account(self, tenant_id: str) -> Account | None:
        """The tenant's account of this day or month; None when nothing is limited."""
        tenant = self._documents.all().get(tenant_id)
        limits = limits_of(tenant.budget) if tenant is not None else {}
        if tenant is None or tenant.budget is None or not limits:
            return None
        period = self._clock.now().strftime("%Y-%m-%d" if tenant.budget.per == "day" else "%Y-%m")
        return Account(f"{tenant_id}/{period}", "tenant", limits)
