"""Events that are ready to be recorded, for tests that begin at the store."""

from __future__ import annotations

from app.data_plane.ports import AcceptedEvent, Route
from interlock.canonical import JsonObject, canonical_bytes, digest_bytes
from interlock.identity import orchestration_id

SOURCE = "/tests"


def accepted_event(
    event_id: str,
    *,
    tenant: str = "demo",
    title: str = "low",
    release: str = "0" * 64,
    workflows: tuple[str, ...] = ("branching",),
) -> AcceptedEvent:
    """One event of the host's own source, routed to these workflows under that release."""
    event: JsonObject = {"type": "dev.interlock.issue", "issue": {"title": title}}
    raw = canonical_bytes({"id": event_id, "data": event})
    return AcceptedEvent(
        tenant_id=tenant,
        source=SOURCE,
        event_id=event_id,
        type="dev.interlock.issue",
        data_digest=digest_bytes(canonical_bytes(event)),
        raw=raw,
        normalised=canonical_bytes(event),
        normaliser="interlock/1",
        traceparent=None,
        routes=tuple(
            Route(orchestration_id(tenant, SOURCE, event_id, workflow), workflow, release, "stable")
            for workflow in workflows
        ),
    )


def orchestration_of(event: AcceptedEvent) -> str:
    """The event's first orchestration."""
    return event.routes[0].orchestration_id
