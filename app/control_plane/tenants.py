"""A tenant: whose events come in, with which keys, and where its actions go; references, never a secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from app.kernel.document import Frozen, Name
from app.kernel.release import Budget

SecretRef = Annotated[
    str, Field(pattern=r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+|secret:[A-Za-z][A-Za-z0-9_-]*)$")
]
"""``env:NAME``, ``file:PATH`` or ``secret:NAME``: where a secret is found, in the process that needs it."""

Address = Annotated[
    str, Field(pattern=r"^(https?://\S+|env:[A-Za-z_][A-Za-z0-9_]*|secret:[A-Za-z][A-Za-z0-9_-]*)$")
]
"""An HTTP address, or a reference to one that differs between environments."""


class TenantTarget(Frozen):
    """Where a template's logical target is for this tenant."""

    url: Address
    secret: SecretRef | None = None
    """Signs or authorises the calls; None where the target needs neither."""
    allow: tuple[str, ...] = ()
    """Networks (CIDR) it may resolve to, beside public ones: ``127.0.0.0/8`` for a local sink."""


class TenantBudget(Budget):
    """What all orchestrations of a tenant may spend together, in each day or month (UTC)."""

    per: Literal["day", "month"] = "month"


class Tenant(Frozen):
    """A tenant's document; its reference data lies beside it, a file for each collection."""

    name: Name
    version: int = Field(ge=1)
    description: str = ""
    api_keys: tuple[SecretRef, ...] = ()
    """Each names one key that may send events over HTTP; two while a key is being replaced."""
    webhook_secrets: Mapping[Name, tuple[SecretRef, ...]] = {}
    """By source (``github``): the secrets that its signatures may be made with."""
    signing_key: SecretRef | None = None
    """What the client's messages over the broker are signed with; without it none is accepted."""
    targets: Mapping[Name, TenantTarget] = {}
    budget: TenantBudget | None = Field(default=None, exclude_if=lambda value: value is None)


class ReferenceData(Frozen):
    """What a tenant's lookups answer from: collection, key, entry."""

    collections: Mapping[Name, Mapping[str, Mapping[str, JsonValue]]] = {}
