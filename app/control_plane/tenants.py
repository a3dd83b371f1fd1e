"""A tenant: whose events come in, with which keys, and where its actions go; references, never a secret."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, JsonValue

from app.control_plane.target_urls import InvalidTargetUrlError, read_target_url
from app.kernel.document import Frozen, Name, absent
from app.kernel.release import Budget
from app.telemetry.redaction.tenant_patterns import KEYWORD, MOST_PATTERNS, pattern_fault

SecretRef = Annotated[
    str, Field(pattern=r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+|secret:[A-Za-z][A-Za-z0-9_-]*)$")
]
"""``env:NAME``, ``file:PATH`` or ``secret:NAME``: where a secret is found, in the process that needs it."""

Address = Annotated[
    str, Field(pattern=r"^(https?://\S+|env:[A-Za-z_][A-Za-z0-9_]*|secret:[A-Za-z][A-Za-z0-9_-]*)$")
]
"""An HTTP address, or a reference to one that differs between environments."""

_REFERENCE = re.compile(r"(env|secret):[A-Za-z0-9_-]+")


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


class SecretPattern(Frozen):
    """What this tenant calls a secret, for redaction: a word that stands in or near it, and what it looks like."""

    name: Name
    keyword: str
    """At least three characters, found in any case; without it the pattern is not tried."""
    pattern: str
    """Matched in linear time, so without anchors, look-around and references back."""


class Redaction(Frozen):
    """What is redacted beside the kinds that Interlock knows."""

    patterns: tuple[SecretPattern, ...] = ()


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
    budget: TenantBudget | None = Field(default=None, exclude_if=absent)
    redaction: Redaction | None = Field(default=None, exclude_if=absent)


class ReferenceData(Frozen):
    """What a tenant's lookups answer from: collection, key, entry."""

    collections: Mapping[Name, Mapping[str, Mapping[str, JsonValue]]] = {}


class TenantProblem(NamedTuple):
    """What is wrong with a tenant's document: in which field, why, and what to do."""

    field: str
    reason: str
    remedy: str


def target_problems(targets: object) -> Iterator[TenantProblem]:
    """What in a document's ``targets`` could never be delivered to; a reference is looked at when it is resolved.

    Of what is being published, and no rule of the model: a document that was published before stays readable.
    """
    for name, target in targets.items() if isinstance(targets, dict) else ():
        if not isinstance(target, dict):
            continue
        url, networks = target.get("url"), target.get("allow")
        if isinstance(url, str) and not _REFERENCE.fullmatch(url):
            try:
                read_target_url(url)
            except InvalidTargetUrlError as error:
                yield TenantProblem(f"targets.{name}.url", error.what, error.remedy)
        for place, network in enumerate(networks) if isinstance(networks, list) else ():
            if isinstance(network, str) and not _is_network(network):
                yield TenantProblem(
                    f"targets.{name}.allow.{place}",
                    "it is no network, or has bits set behind its length",
                    "Write it as 10.0.0.0/8 or fd00::/8.",
                )


def redaction_problems(redaction: object) -> Iterator[TenantProblem]:
    """What in a document's ``redaction`` could not be used; of what is being published, as with targets."""
    patterns = redaction.get("patterns") if isinstance(redaction, dict) else None
    given = patterns if isinstance(patterns, list) else []
    if len(given) > MOST_PATTERNS:
        yield TenantProblem(
            "redaction.patterns",
            f"there are {len(given)}",
            f"List {MOST_PATTERNS} at most; join some with |.",
        )
    for place, entry in enumerate(given):
        if not isinstance(entry, dict):
            continue
        keyword, pattern = entry.get("keyword"), entry.get("pattern")
        if isinstance(keyword, str) and KEYWORD.fullmatch(keyword) is None:
            yield TenantProblem(
                f"redaction.patterns.{place}.keyword",
                "it is not 3 to 50 letters, digits, spaces and _.:/#@=-",
                "Name what always stands in such a secret, like its prefix.",
            )
        if isinstance(pattern, str) and (fault := pattern_fault(pattern)) is not None:
            yield TenantProblem(
                f"redaction.patterns.{place}.pattern",
                fault,
                "Use characters, classes, groups, | and counts, as in ACME-[0-9]{8}.",
            )


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True
