"""Bad input gets a clear error and loses nothing: RFC 9457 problems with code, what, and what to do."""

from __future__ import annotations

import socket
from typing import Any

import httpx2
import pytest
from structlog.testing import capture_logs

from tests.unit.api.served import KEY, MAX_BODY, Served, as_json, structured

GOOD = as_json(structured())


def _is_problem(response: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert (response.status_code, body["status"], body["code"]) == (status, status, code)
    assert body["type"] == f"urn:interlock:problem:{code}"
    assert body["title"]
    assert body["detail"]
    return body


REFUSED: dict[str, tuple[str | bytes, int, str]] = {
    "not JSON": ("event=1", 400, "not_json"),
    "nothing": ("", 400, "not_json"),
    "not an object": ("[]", 400, "not_a_cloudevent"),
    "not a CloudEvent": ('{"title": "It broke"}', 400, "not_a_cloudevent"),
    "CloudEvents 0.3": (as_json(structured(specversion="0.3")), 400, "unsupported_specversion"),
    "CloudEvents 2.0": (as_json(structured(specversion="2.0")), 400, "unsupported_specversion"),
    "unknown type": (as_json(structured(type="com.example.order")), 422, "unknown_type"),
    "unknown version": (
        as_json(structured(dataschema="urn:interlock:schema:issue:99")),
        422,
        "unknown_schema_version",
    ),
    "no version": (as_json(structured(dataschema=None)), 422, "unknown_schema_version"),
    "wrong data": (as_json(structured(data={"title": 1})), 422, "invalid_data"),
    "missing tenant": (as_json(structured(tenantid=None)), 400, "missing_tenant"),
    "another's tenant": (as_json(structured(tenantid="other")), 403, "wrong_tenant"),
    "no id": (as_json(structured(id=None)), 400, "missing_attribute"),
    "oversize": (as_json(structured(data={"title": "x" * MAX_BODY})), 413, "too_large"),
    "nesting 10,000 deep": (GOOD.replace('"It broke"', "[" * 10_000 + "]" * 10_000), 400, "too_deep"),
    "nesting 10,000 deep, unfinished": ('{"a":' * 10_000, 400, "too_deep"),
    "NaN": (GOOD.replace('"It broke"', "NaN"), 400, "not_a_number"),
    "1e999": (GOOD.replace('"It broke"', "1e999"), 400, "number_too_large"),
    "NUL": (GOOD.replace("It broke", "It \\u0000 broke"), 400, "nul_character"),
    "a raw NUL": (GOOD.replace("It broke", "It \x00 broke"), 400, "not_json"),
    "a lone surrogate": (GOOD.replace("It broke", "It \\ud800 broke"), 400, "lone_surrogate"),
    "a lone surrogate in UTF-8": (GOOD.encode().replace(b"It broke", b"\xed\xa0\x80"), 400, "not_utf8"),
    "a key twice": (GOOD.replace('"id"', '"id": "0", "id"'), 400, "duplicate_key"),
    "not UTF-8": (GOOD.encode("utf-16"), 400, "not_utf8"),
}


def test_each_kind_of_bad_event_is_refused_by_its_code_and_nothing_is_kept(api: Served) -> None:
    """One server for all: none of them may harm the next."""
    for name, (body, status, code) in REFUSED.items():
        response = api.post_event(body)
        assert _is_problem(response, status, code)["remedy"], name
        assert "Traceback" not in response.text
    assert api.services.behind.store.events == {}
    assert api.post_event(GOOD).status_code == 202


def test_a_body_that_does_not_say_how_long_it_is_is_cut_off_at_the_limit(api: Served) -> None:
    """The limit holds while reading: what is sent in pieces does not fill the memory."""
    sent = 0

    def endless() -> Any:
        nonlocal sent
        for _ in range(10_000):
            sent += 65_536
            yield b" " * 65_536

    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/cloudevents+json"}
    try:
        response = api.client.post("/v1/events", content=endless(), headers=headers)
        _is_problem(response, 413, "too_large")
    except httpx2.TransportError:
        pass  # the server answered and closed while the rest was still being sent
    assert sent < 10_000 * 65_536
    assert api.post_event(GOOD).status_code == 202


def test_a_client_that_goes_away_leaves_nothing_behind(api: Served) -> None:
    """Half an event is no event."""
    with socket.create_connection(("127.0.0.1", api.port)) as connection:
        head = f"POST /v1/events HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: 1000\r\n\r\n{{"
        connection.sendall(head.encode())
    assert api.post_event(GOOD).status_code == 202
    assert len(api.services.behind.store.events) == 1


def test_with_the_database_down_the_answer_is_503_and_nothing_is_accepted(api: Served) -> None:
    """And it is accepted afterwards: the sender keeps what was not answered with 202."""
    api.services.behind.store.down = True
    response = api.post_event(GOOD)
    _is_problem(response, 503, "unavailable")
    assert response.headers["retry-after"] == "1"
    assert api.services.behind.store.events == {}
    api.services.behind.store.down = False
    assert api.post_event(GOOD).json()["state"] == "accepted"


def test_readiness_follows_the_database_and_liveness_does_not(api: Served) -> None:
    """A restart of the API does not bring a database back."""
    assert api.client.get("/readyz").json() == {"status": "ready"}
    api.services.behind.store.down = True
    response = api.client.get("/readyz")
    _is_problem(response, 503, "unavailable")
    assert response.headers["retry-after"] == "3"
    assert api.client.get("/healthz").json() == {"status": "ok"}


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": ""},
        {"authorization": "Bearer wrong"},
        {"authorization": "Bearer"},
        {"authorization": f"Basic {KEY}"},
        {"authorization": "", "x_api_key": "wrong"},
    ],
    ids=str,
)
def test_without_a_known_key_nothing_is_read(api: Served, headers: dict[str, str]) -> None:
    """Even a bad body is answered by the missing key alone."""
    response = api.post_event("not json", **headers)
    _is_problem(response, 401, "bad_api_key")
    assert response.headers["www-authenticate"] == "Bearer"


def test_the_frameworks_own_errors_are_problems_too(api: Served) -> None:
    """A client needs one reader for errors."""
    _is_problem(api.client.get("/nowhere"), 404, "not_found")
    response = api.client.get("/v1/events")
    _is_problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST"
    for content_type in ("application/json", "text/plain", ""):
        _is_problem(api.post_event(GOOD, content_type=content_type), 400, "not_a_cloudevent")
    _is_problem(api.post_event(GOOD, content_encoding="gzip"), 415, "unsupported_content_type")


def test_a_defect_tells_the_client_nothing_but_that(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """What went wrong inside is for the log."""

    def break_down(*_: object) -> None:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr(api.services.behind.store, "accept", break_down)
    with capture_logs() as lines:
        response = api.post_event(GOOD)
    _is_problem(response, 500, "defect")
    assert "hunter2" not in response.text
    assert any("exc_info" in line for line in lines)
