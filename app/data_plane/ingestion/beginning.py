"""What an accepted event begins, for every store alike: an orchestration's first fact, and its first step."""

from __future__ import annotations

from app.data_plane.ports import AcceptedEvent, NewStep, Queue, Route
from app.kernel.facts import OrchestrationStarted
from interlock.canonical import digest_bytes
from interlock.identity import advance_id


def first_fact(event: AcceptedEvent, route: Route) -> OrchestrationStarted:
    """The event was accepted for the route's workflow, and pinned to its release."""
    return OrchestrationStarted(
        workflow=route.workflow,
        release=route.release,
        channel=route.channel,
        lane=route.lane,
        ordinal=route.ordinal,
        source=event.source,
        event_id=event.event_id,
        event_type=event.type,
        raw_digest=digest_bytes(event.raw),
        event_digest=digest_bytes(event.normalised),
        normaliser=event.normaliser,
    )


def first_step(event: AcceptedEvent, route: Route) -> NewStep:
    """The step that takes the orchestration to its first stage."""
    return NewStep(
        advance_id(route.orchestration_id), event.tenant_id, route.orchestration_id, Queue.ORCHESTRATION
    )
