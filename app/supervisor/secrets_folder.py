"""Secrets of a fresh run folder: what a tenant's document refers to and nobody has provided is drawn at random.

Only for an installation with the embedded database, which is one person's own; elsewhere secrets are provided.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

from app.adapters.secrets import ReferencedSecrets, SecretUnavailableError
from app.control_plane.tenants import Tenant

_BYTES = 32
_PREFIX = "secret:"


def references(tenants: Iterable[Tenant]) -> tuple[str, ...]:
    """The ``secret:`` references by which tenants know those who send to them, in order, each once."""
    found: set[str] = set()
    for tenant in tenants:
        found.update(tenant.api_keys)
        found.update(item for listed in tenant.webhook_secrets.values() for item in listed)
        found.update((tenant.signing_key,) if tenant.signing_key is not None else ())
    return tuple(sorted(item for item in found if item.startswith(_PREFIX)))


def draw_missing(home: Path, wanted: Iterable[str], environment: Mapping[str, str]) -> tuple[str, ...]:
    """Write a random secret for each reference that leads to none; returns the names of those.

    The files are ``<home>/secrets/<name>``, readable by their owner alone. One that exists is never changed.
    """
    known = ReferencedSecrets(environment, home)
    drawn: list[str] = []
    for reference in wanted:
        try:
            known.resolve(reference)
        except SecretUnavailableError:
            name = reference.removeprefix(_PREFIX)
            if _write(home / "secrets" / name, secrets.token_urlsafe(_BYTES)):
                drawn.append(name)
    return tuple(drawn)


def _write(path: Path, value: str) -> bool:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:  # empty, or another process was here first
        return False
    with os.fdopen(file, "w") as opened:
        opened.write(value + "\n")
    return True
