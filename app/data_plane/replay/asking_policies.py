"""Why a policy wants a person's consent, in the words that its statements give: ``@approval("...")``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

import cedarpy


def why_asked(cedar: str, policies: Iterable[str]) -> dict[str, str]:
    """By the statement's name, of those that are named: its words; empty where it gives none, or there is none."""
    told = _approvals(cedar)
    return {name: told.get(name, "") for name in policies}


def _approvals(cedar: str) -> dict[str, str]:
    """By ``@id``; one without it goes by Cedar's own name for it."""
    try:
        statements = json.loads(cedarpy.policies_to_json_str(cedar)).get("staticPolicies")
    except ValueError:
        return {}
    found: dict[str, str] = {}
    for name, document in (statements if isinstance(statements, Mapping) else {}).items():
        notes = document.get("annotations") if isinstance(document, Mapping) else None
        if isinstance(notes, Mapping) and "approval" in notes:
            found[str(notes.get("id") or name)] = str(notes["approval"] or "")
    return found
