"""What ingestion needs to know of tenants: which credential is whose."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


class Tenants(Protocol):
    """The tenants' credentials, resolved. Nothing it answers may be logged."""

    def api_key_tenant(self, key: str) -> str | None:
        """The tenant that the API key belongs to."""
        ...

    def webhook_secrets(self, tenant: str, source: str) -> Sequence[bytes]:
        """The secrets that the source's signatures may be made with; two while one is being replaced."""
        ...

    def signing_key(self, tenant: str) -> bytes | None:
        """The key that the tenant's clients sign with; without one, none of their messages is accepted."""
        ...


@dataclass(frozen=True, slots=True)
class Credentials:
    """One tenant's credentials, as values."""

    api_keys: tuple[str, ...] = ()
    webhook_secrets: Mapping[str, tuple[bytes, ...]] | None = None
    signing_key: bytes | None = None

    def __repr__(self) -> str:
        return "Credentials(...)"


class KnownTenants:
    """Tenants whose credentials are in memory; an API key is only kept as its digest."""

    def __init__(self, credentials: Mapping[str, Credentials]) -> None:
        self._credentials = dict(credentials)
        self._keys = [
            (_digest(key), tenant) for tenant, held in credentials.items() for key in held.api_keys if key
        ]

    def api_key_tenant(self, key: str) -> str | None:
        """The tenant that the API key belongs to; the time it takes tells nothing of any key."""
        asked, found = _digest(key), None
        for known, tenant in self._keys:
            if hmac.compare_digest(asked, known):
                found = tenant
        return found

    def webhook_secrets(self, tenant: str, source: str) -> Sequence[bytes]:
        """The secrets that the source's signatures may be made with."""
        held = self._credentials.get(tenant)
        secrets = (held.webhook_secrets or {}).get(source, ()) if held else ()
        return tuple(secret for secret in secrets if secret)

    def signing_key(self, tenant: str) -> bytes | None:
        """The key that the tenant's clients sign with."""
        held = self._credentials.get(tenant)
        return held.signing_key or None if held else None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
