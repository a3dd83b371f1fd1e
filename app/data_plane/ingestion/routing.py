"""Routing: which releases an event starts."""

from __future__ import annotations

from collections.abc import Sequence

from app.data_plane.ingestion.errors import UnknownWorkflowError
from app.data_plane.ports import Route
from app.kernel.release import Channel, Release
from interlock.envelope import Envelope
from interlock.identity import orchestration_id

Table = Sequence[tuple[str, Channel, Release]]
"""The workflows that take events now: name, channel, release."""


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
    chosen: dict[str, tuple[Channel, Release]] = {}
    for name, channel, release in table:
        asked = (
            name == workflow
            if workflow is not None
            else any(subscribes(pattern, envelope.type) for pattern in release.template.subscribes)
        )
        if asked:
            chosen.setdefault(name, (channel, release))
    if workflow is not None and not chosen:
        raise UnknownWorkflowError(
            f"No release of the workflow {workflow} takes events.",
            "Publish it, or ask for one that `releases list` shows.",
        )
    return tuple(
        Route(
            orchestration_id=orchestration_id(envelope.tenantid, envelope.source, envelope.id, name),
            workflow=name,
            release=release.digest,
            channel=channel,
        )
        for name, (channel, release) in sorted(chosen.items())
    )
