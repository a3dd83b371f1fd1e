"""Routing: which releases an event starts."""

from __future__ import annotations

from collections.abc import Sequence

from app.data_plane.ingestion.errors import UnknownWorkflowError
from app.data_plane.ports import Route, Subscription
from interlock.envelope import Envelope
from interlock.identity import orchestration_id

Table = Sequence[Subscription]
"""The workflows that take events now."""


def subscribes(pattern: str, event_type: str) -> bool:
    """Whether a template's subscription covers the type; a trailing ``*`` matches any rest."""
    if pattern.endswith("*"):
        return event_type.startswith(pattern[:-1])
    return pattern == event_type


def route(envelope: Envelope, table: Table, workflow: str | None = None) -> tuple[Route, ...]:
    """The orchestrations that the event starts, by workflow name.

    Args:
        workflow: the one workflow that was asked for; it runs whatever it subscribes to.

    Raises:
        UnknownWorkflowError: the workflow asked for takes no events now.
    """
    chosen: dict[str, Subscription] = {}
    for one in table:
        asked = (
            one.workflow == workflow
            if workflow is not None
            else any(subscribes(pattern, envelope.type) for pattern in one.types)
        )
        if asked:
            chosen.setdefault(one.workflow, one)
    if workflow is not None and not chosen:
        raise UnknownWorkflowError(
            f"No release of the workflow {workflow} takes events.",
            "Publish it, or ask for one that `releases list` shows.",
        )
    return tuple(
        Route(
            orchestration_id=orchestration_id(envelope.tenantid, envelope.source, envelope.id, name),
            workflow=name,
            release=one.release,
            channel=one.channel,
        )
        for name, one in sorted(chosen.items())
    )
