"""Ids, derived and never drawn: the same inputs name the same thing on every machine, for ever.

An id is a prefix that tells its kind, and 128 bits of SHA-256 over the canonical JSON of what it is made of.
"""

from __future__ import annotations

from typing import Literal

from interlock.canonical import JsonValue, digest

Lane = Literal["live", "shadow", "rerun", "what_if"]


def event_key(tenant: str, source: str, event_id: str) -> str:
    """The idempotency key of one event at ingestion."""
    return _derive("evt", [tenant, source, event_id])


def orchestration_id(
    tenant: str, source: str, event_id: str, workflow: str, lane: Lane = "live", ordinal: int = 0
) -> str:
    """The orchestration of one event by one workflow in one lane; ``ordinal`` counts the reruns from 1."""
    return _derive("orc", [tenant, source, event_id, workflow, lane, ordinal])


def run_id(orchestration: str, stage: str, agent: str) -> str:
    """One agent's execution in one stage of one orchestration."""
    return _derive("run", [orchestration, stage, agent])


def advance_id(orchestration: str) -> str:
    """The step that takes an accepted orchestration to its first stage."""
    return _derive("adv", [orchestration])


def aggregation_id(orchestration: str, stage: str) -> str:
    """The step that turns a stage's proposals into its outcome."""
    return _derive("agg", [orchestration, stage])


def review_id(orchestration: str, stage: str) -> str:
    """The step that ends a stage's wait for a person."""
    return _derive("rev", [orchestration, stage])


def action_id(orchestration: str, name: str, position: int) -> str:
    """One action of an orchestration's decision; also the step that delivers it."""
    return _derive("act", [orchestration, name, position])


def call_action_id(run: str, position: int, call: int, arguments_digest: str) -> str:
    """One effect that a run's model has called for: a call with other arguments is another action."""
    return _derive("act", [run, position, call, arguments_digest])


def approval_id(action: str) -> str:
    """The step that ends an action's wait for people's consent."""
    return _derive("apr", [action])


def idempotency_key(orchestration_or_run: str, stage: str, position: int, arguments_digest: str) -> str:
    """The key that a target sees on every attempt at one effect."""
    return _derive("key", [orchestration_or_run, stage, position, arguments_digest])


def _derive(prefix: str, parts: list[JsonValue]) -> str:
    return f"{prefix}_{digest(parts)[:32]}"
