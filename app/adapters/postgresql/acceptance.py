"""Recording events: the event, its content, its orchestrations with their first fact, and the step that starts them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.adapters.postgresql import rows
from app.adapters.postgresql.database import Connection
from app.data_plane.ingestion.beginning import first_fact, first_step
from app.data_plane.ports import Acceptance, AcceptedEvent, Outcome, Queue
from app.data_plane.replay.register import Beginning
from app.kernel import fault_points
from app.kernel.clock import Clock, to_text
from app.kernel.fault_points import FaultPoint
from interlock.canonical import digest_bytes

_Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class _Earlier:
    type: str
    data_digest: str
    orchestration_ids: tuple[str, ...]
    removed: bool = False


def accept(connection: Connection, events: Sequence[AcceptedEvent], clock: Clock) -> list[Acceptance]:
    """Record what is new and compare the rest with what was recorded before, in one transaction."""
    first: dict[_Key, AcceptedEvent] = {}
    for event in events:
        first.setdefault(_key(event), event)
    fresh = _insert_events(connection, list(first.values()))
    _insert_orchestrations(connection, [first[key] for key in sorted(fresh)], clock)
    earlier = _read_earlier(connection, [key for key in first if key not in fresh])
    for key in fresh:
        event = first[key]
        ids = tuple(route.orchestration_id for route in event.routes)
        earlier[key] = _Earlier(event.type, event.data_digest, ids)
    fault_points.reached(FaultPoint.BEFORE_COMMIT, Queue.INGESTION)
    return [_answer(event, earlier[_key(event)], is_fresh=_is(event, first, fresh)) for event in events]


def _key(event: AcceptedEvent) -> _Key:
    return (event.tenant_id, event.source, event.event_id)


def _is(event: AcceptedEvent, first: dict[_Key, AcceptedEvent], fresh: set[_Key]) -> bool:
    return first[_key(event)] is event and _key(event) in fresh


def _answer(event: AcceptedEvent, recorded: _Earlier, *, is_fresh: bool) -> Acceptance:
    if is_fresh:
        outcome = Outcome.ACCEPTED if event.routes else Outcome.UNROUTED
    elif (event.type, event.data_digest) == (recorded.type, recorded.data_digest):
        outcome = Outcome.DUPLICATE
    else:
        return Acceptance(Outcome.CONFLICT, ())
    return Acceptance(outcome, recorded.orchestration_ids, recorded.removed)


def _insert_events(connection: Connection, events: Sequence[AcceptedEvent]) -> set[_Key]:
    # Ordered by the key: two batches with the same events wait for each other in one order and never deadlock.
    ordered = sorted(events, key=_key)
    inserted = connection.execute(
        "INSERT INTO events (tenant_id, source, event_id, type, state, data_digest, raw_digest, event_digest,"
        " normaliser)"
        " SELECT * FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[],"
        " %b::text[], %b::text[]) ON CONFLICT DO NOTHING RETURNING tenant_id, source, event_id",
        [
            [event.tenant_id for event in ordered],
            [event.source for event in ordered],
            [event.event_id for event in ordered],
            [event.type for event in ordered],
            ["accepted" if event.routes else "unrouted" for event in ordered],
            [event.data_digest for event in ordered],
            [digest_bytes(event.raw) for event in ordered],
            [digest_bytes(event.normalised) for event in ordered],
            [event.normaliser for event in ordered],
        ],
    )
    return {(row[0], row[1], row[2]) for row in inserted}


def _insert_orchestrations(connection: Connection, events: Sequence[AcceptedEvent], clock: Clock) -> None:
    routed = [(event, route) for event in events for route in event.routes]
    contents: dict[tuple[str, str], bytes] = {}
    for event in events:
        contents[event.tenant_id, digest_bytes(event.raw)] = event.raw
        contents[event.tenant_id, digest_bytes(event.normalised)] = event.normalised
    rows.insert_contents(connection, contents)
    if not routed:
        return
    beginnings = [
        (event.tenant_id, Beginning(route.orchestration_id, first_fact(event, route), route.traceparent))
        for event, route in routed
    ]
    rows.insert_beginnings(connection, beginnings, to_text(clock.now()))
    rows.insert_steps(connection, [first_step(event, route) for event, route in routed])


def _read_earlier(connection: Connection, keys: Sequence[_Key]) -> dict[_Key, _Earlier]:
    if not keys:
        return {}
    found = connection.execute(
        "SELECT e.tenant_id, e.source, e.event_id, e.type, e.data_digest, e.state = 'accepted',"
        " (SELECT coalesce(array_agg(o.orchestration_id ORDER BY o.workflow), '{}') FROM orchestrations o"
        "  WHERE o.tenant_id = e.tenant_id AND o.source = e.source AND o.event_id = e.event_id"
        "  AND o.lane = 'live')"
        " FROM unnest(%b::text[], %b::text[], %b::text[]) AS k (tenant_id, source, event_id)"
        " JOIN events e USING (tenant_id, source, event_id)",
        [[key[0] for key in keys], [key[1] for key in keys], [key[2] for key in keys]],
    )
    # Retention removes the orchestrations of an event together: an accepted one without any had some.
    return {
        (row[0], row[1], row[2]): _Earlier(row[3], row[4], tuple(row[6]), removed=row[5] and not row[6])
        for row in found
    }
