"""GitHub's webhooks: nothing counts before the signature, and a redelivery is the same event."""

from __future__ import annotations

import json

import pytest

from interlock.identity import orchestration_id
from tests.unit.api.served import OLD_SECRET, Served
from tests.unit.golden.github_payloads import need_payloads

BODY = json.dumps(
    {"action": "opened", "issue": {"number": 1, "title": "It broke"}, "repository": {"full_name": "a/b"}}
).encode()
FORM = "application/x-www-form-urlencoded"
DELIVERY = "72d3162e-cc78-11e3-81ab-4c9367dc0958"


def test_a_signed_webhook_is_accepted_under_its_delivery_id(api: Served) -> None:
    """Its source is the repository, its type the event and action."""
    response = api.post_webhook(BODY)
    assert response.status_code == 202
    expected = orchestration_id("demo", "https://github.com/a/b", DELIVERY, "issue-triage")
    assert response.json() == {"event_id": DELIVERY, "orchestrations": [expected], "state": "accepted"}
    (event,) = api.services.behind.store.events.values()
    assert (event.type, event.normaliser) == ("com.github.issues.opened", "github/1")


def test_a_redelivery_is_a_duplicate(api: Served) -> None:
    """GitHub keeps the delivery's id."""
    first = api.post_webhook(BODY).json()
    assert api.post_webhook(BODY).json() == {**first, "state": "duplicate"}


def test_while_a_secret_is_replaced_both_count(api: Served) -> None:
    """No delivery is lost in between."""
    assert api.post_webhook(BODY, OLD_SECRET).status_code == 202


@pytest.mark.parametrize(
    "headers",
    [
        {"x_hub_signature_256": ""},
        {"x_hub_signature_256": "sha256="},
        {"x_hub_signature_256": "sha256=" + "0" * 64},
        {"x_hub_signature_256": "sha1=" + "0" * 40},
    ],
    ids=str,
)
def test_without_the_right_signature_it_is_refused(api: Served, headers: dict[str, str]) -> None:
    """Whatever else is right or wrong with it."""
    for body in (BODY, b"not json"):
        response = api.post_webhook(body, **headers)
        assert (response.status_code, response.json()["code"]) == (401, "bad_signature")
    assert api.services.behind.store.events == {}


def test_a_changed_body_or_another_secret_is_refused(api: Served) -> None:
    """The signature covers the raw body."""
    assert api.post_webhook(BODY, b"guess").status_code == 401
    assert api.post_webhook(BODY, b"").status_code == 401


def test_a_tenant_that_is_not_there_looks_like_a_wrong_secret(api: Served) -> None:
    """Nobody learns from here which tenants exist, or which have no secret."""
    answers = [
        api.client.post(f"/v1/webhooks/{name}/github", content=BODY) for name in ("demo", "other", "none")
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (
            b"payload=%7B%7D",
            {"content_type": "application/x-www-form-urlencoded"},
            415,
            "unsupported_content_type",
        ),
        (b"{", {}, 400, "not_json"),
        (b'{"a": 1, "a": 2}', {}, 400, "duplicate_key"),
        (b"[" * 10_000, {}, 400, "too_deep"),
        (b" " * 100_001, {}, 413, "too_large"),
        (BODY, {"x_github_event": ""}, 400, "invalid_attribute"),
        (BODY, {"x_github_event": "a.b"}, 400, "invalid_attribute"),
        (BODY, {"x_github_delivery": ""}, 400, "invalid_attribute"),
        (BODY, {"x_github_delivery": "a b"}, 400, "invalid_attribute"),
    ],
    ids=["form", "not JSON", "duplicate key", "deep", "oversize", "no event", "bad event", "no id", "bad id"],
)
def test_a_signed_webhook_that_cannot_be_read_is_refused_by_its_code(
    api: Served, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    """With a remedy that GitHub's settings page can be used for."""
    response = api.post_webhook(body, **headers)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.json()["remedy"]


def test_every_real_payload_is_accepted(api: Served) -> None:
    """All event types that GitHub documents, subscribed to or not."""
    for number, file in enumerate(need_payloads()):
        delivery = json.loads(file.read_bytes())
        body = json.dumps(delivery["payload"]).encode()
        response = api.post_webhook(
            body, x_github_event=delivery["x_github_event"], x_github_delivery=f"delivery-{number}"
        )
        assert response.status_code == 202, (file.name, response.text)
    assert len(api.services.behind.store.events) == len(need_payloads())
