"""Patterns that tenants add: each a word that has to stand in the text, and a pattern found near it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TenantPattern:
    """What a tenant calls a secret."""

    name: str
    keyword: str
    pattern: str


def install_patterns(patterns: Mapping[str, Sequence[TenantPattern]]) -> None:
    """Make these the patterns of this process, by tenant."""


def suspect(_text: str) -> bool:
    return False


def applied(text: str) -> str:
    return text
