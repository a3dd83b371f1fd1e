"""``POST /v1/events``: each mode of CloudEvents, answered after the commit."""

from __future__ import annotations

import json

import httpx2
import pytest

from interlock.envelope import from_json
from interlock.http_binding import to_binary, to_structured
from interlock.identity import orchestration_id
from tests.unit.api.served import KEY, Served, Services, as_json, serve, structured

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ORCHESTRATIONS = [orchestration_id("demo", "/host", "1", workflow) for workflow in ("audit", "issue-triage")]


@pytest.mark.parametrize("write", [to_structured, to_binary])
@pytest.mark.parametrize(
    "key", [{"authorization": f"Bearer {KEY}"}, {"x-api-key": KEY}], ids=["bearer", "x-api-key"]
)
def test_an_event_is_accepted_in_both_modes_and_with_both_ways_to_send_a_key(
    api: Served, write: type[to_structured], key: dict[str, str]
) -> None:
    """The answer holds what the sender needs to look further."""
    message = write(from_json(structured()))
    response = api.client.post("/v1/events", content=message.body, headers={**message.headers, **key})
    assert response.status_code == 202
    assert response.json() == {"event_id": "1", "orchestrations": ORCHESTRATIONS, "state": "accepted"}
    assert len(api.services.behind.store.events) == 1


def test_sent_again_it_is_a_duplicate_and_changed_it_is_a_conflict(api: Served) -> None:
    """The same orchestrations the second time; 409 when the id is used for something else."""
    api.post_event(as_json(structured()))
    again = api.post_event(as_json(structured(time="2026-01-01T00:00:00Z")))
    assert (again.status_code, again.json()["state"]) == (202, "duplicate")
    assert again.json()["orchestrations"] == ORCHESTRATIONS
    changed = api.post_event(as_json(structured(data={"title": "Another"})))
    assert (changed.status_code, changed.json()["code"]) == (409, "event_conflict")


def test_an_event_without_subscribers_is_answered_as_unrouted(api: Served) -> None:
    """It is recorded, and nothing runs."""
    star = as_json(structured(type="com.github.star.created", dataschema=None, data={}))
    assert api.post_event(star).json() == {"event_id": "1", "orchestrations": [], "state": "unrouted"}


def test_a_batch_is_answered_event_by_event(api: Served) -> None:
    """202 when all are in; 207 names those that are not, and the others are in all the same."""
    kind = "application/cloudevents-batch+json"
    good = api.post_event(json.dumps([structured(id="1"), structured(id="2")]), content_type=kind)
    assert good.status_code == 202
    assert [event["state"] for event in good.json()["events"]] == ["accepted", "accepted"]
    mixed = api.post_event(
        json.dumps([structured(id="3", type="com.x"), structured(id="4")]), content_type=kind
    )
    assert mixed.status_code == 207
    refused, accepted = mixed.json()["events"]
    assert (refused["event_id"], refused["problem"]["code"]) == ("3", "unknown_type")
    assert (accepted["event_id"], accepted["state"]) == ("4", "accepted")
    assert api.post_event("[]", content_type=kind).json() == {"events": []}


def test_a_batch_with_another_tenants_event_is_refused_whole(api: Served) -> None:
    """A key that reaches for another tenant gets nothing."""
    batch = json.dumps([structured(id="1"), structured(id="2", tenantid="other")])
    response = api.post_event(batch, content_type="application/cloudevents-batch+json")
    assert (response.status_code, response.json()["code"]) == (403, "wrong_tenant")
    assert api.services.behind.store.events == {}


def test_the_hosts_trace_is_continued_from_the_header_unless_the_event_has_its_own(api: Served) -> None:
    """Per orchestration one trace, from the host's request on."""
    other = TRACEPARENT.replace("4bf9", "aaaa")
    api.post_event(as_json(structured(id="1")), traceparent=TRACEPARENT)
    api.post_event(as_json(structured(id="2", traceparent=other)), traceparent=TRACEPARENT)
    api.post_event(as_json(structured(id="3")), traceparent="rubbish")
    seen = {event.event_id: event.traceparent for event in api.services.behind.store.events.values()}
    assert seen == {"1": TRACEPARENT, "2": other, "3": None}


def test_the_api_describes_itself_without_loading_anything_from_elsewhere(api: Served) -> None:
    """The interactive pages would load scripts from another host."""
    assert {"/v1/events", "/v1/webhooks/{tenant}/github"} <= api.client.get("/openapi.json").json()[
        "paths"
    ].keys()
    assert api.client.get("/docs").status_code == 404


def test_it_closes_its_services_at_the_end() -> None:
    """Connections are given back on a clean stop."""
    services = Services()
    with serve(services) as served:
        assert isinstance(served.client.get("/healthz"), httpx2.Response)
        assert not services.closed
    assert services.closed
