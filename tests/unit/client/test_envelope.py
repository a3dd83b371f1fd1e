"""The envelope follows CloudEvents 1.0: what breaks its rules is refused, the rest survives every mode."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.envelope import Envelope, from_bytes, from_json
from interlock.errors import InvalidInputError
from interlock.http_binding import receive, to_binary, to_structured

EVENT = Envelope(id="1", source="/repo", type="dev.interlock.issue", tenantid="demo", data={"a": 1})
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def _code(members: dict[str, Any]) -> str:
    with pytest.raises(InvalidInputError) as refused:
        from_json(members)
    return refused.value.code


def _with(**changes: Any) -> dict[str, Any]:
    return {**EVENT.to_json(), **changes}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"specversion": "0.3"}, "unsupported_specversion"),
        ({"specversion": None}, "not_a_cloudevent"),
        ({"tenantid": None}, "missing_tenant"),
        ({"tenantid": ""}, "missing_tenant"),
        ({"tenantid": "a,b"}, "invalid_attribute"),
        ({"tenantid": "Demo"}, "invalid_attribute"),
        ({"id": None}, "missing_attribute"),
        ({"source": None}, "missing_attribute"),
        ({"type": None}, "missing_attribute"),
        ({"id": ""}, "invalid_attribute"),
        ({"id": 1}, "invalid_attribute"),
        ({"id": "x" * 256}, "invalid_attribute"),
        ({"id": "a\nb"}, "invalid_attribute"),
        ({"id": "\uffff"}, "invalid_attribute"),
        ({"source": "not a uri"}, "invalid_attribute"),
        ({"source": "%zz"}, "invalid_attribute"),
        ({"source": "/" + "x" * 1024}, "invalid_attribute"),
        ({"time": "yesterday"}, "invalid_attribute"),
        ({"time": "2026-01-01T00:00:00"}, "invalid_attribute"),
        ({"time": "2026-02-30T00:00:00Z"}, "invalid_attribute"),
        ({"dataschema": "issue/2"}, "invalid_attribute"),
        ({"subject": ""}, "invalid_attribute"),
        ({"datacontenttype": "text/xml"}, "unsupported_content_type"),
        ({"datacontenttype": "application/json; charset=latin-1"}, "unsupported_content_type"),
        ({"Extension": "x"}, "invalid_attribute"),
        ({"extension": 1.5}, "invalid_attribute"),
        ({"extension": {"a": 1}}, "invalid_attribute"),
        ({"extension": 2**31}, "invalid_attribute"),
        ({"extensions": "x"}, "invalid_attribute"),
        ({"data_base64": "e30="}, "invalid_data"),
        ({"data": None, "data_base64": "%"}, "invalid_data"),
        ({"data": None, "data_base64": "eyJhIjox"}, "not_json"),
    ],
    ids=str,
)
def test_an_event_that_breaks_a_rule_is_refused(changes: dict[str, Any], code: str) -> None:
    """Each rule has a code that a sender can act on."""
    assert _code(_with(**changes)) == code


@pytest.mark.parametrize("value", [None, 1, "text", [], [EVENT.to_json()]], ids=repr)
def test_json_that_is_no_object_is_no_event(value: Any) -> None:
    """A batch is only taken where it says that it is one."""
    with pytest.raises(InvalidInputError) as refused:
        from_json(value)
    assert refused.value.code == "not_a_cloudevent"


@pytest.mark.parametrize(
    "changes",
    [
        {"source": "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66"},
        {"source": "https://[2001:db8::1]:8443/a%20b?c=d#e"},
        {"source": "relative/path"},
        {"time": "2026-01-01t00:00:00.123456789+05:30"},
        {"time": "2016-12-31T23:59:60Z"},
        {"datacontenttype": "application/vnd.github+json; charset=UTF-8"},
        {"id": "Ж 😀"},
        {"partitionkey": "a", "sampledrate": 5, "urgent": True},
    ],
    ids=str,
)
def test_an_event_within_the_rules_keeps_all_that_it_has(changes: dict[str, Any]) -> None:
    """Attributes that Interlock does not interpret are not lost either."""
    assert from_json(_with(**changes)).to_json() == _with(**changes)


def test_data_in_base64_is_the_same_data() -> None:
    """Some libraries send bytes that way; the digest must not depend on it."""
    encoded = from_json(_with(data=None, data_base64="eyJhIjoxfQ=="))
    assert encoded.data_digest == EVENT.data_digest


def test_an_unusable_trace_parent_is_dropped_and_the_event_taken() -> None:
    """Tracing refuses no event (W3C Trace Context, section 3.2.2.6)."""
    assert from_json(_with(traceparent="00-zz-1")).traceparent is None
    assert from_json(_with(traceparent=TRACEPARENT)).traceparent == TRACEPARENT


def test_the_digest_covers_the_data_alone() -> None:
    """Libraries stamp the time anew when they send again: that is the same event all the same."""
    assert replace(EVENT, time="2026-01-01T00:00:00Z").data_digest == EVENT.data_digest
    assert replace(EVENT, data={"a": 2}).data_digest != EVENT.data_digest


def test_an_envelope_does_not_change() -> None:
    """What was checked stays checked."""
    with pytest.raises(FrozenInstanceError):
        EVENT.id = "2"  # type: ignore[misc]


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"]), min_size=1, max_size=30)
DATA = st.dictionaries(TEXT, st.integers() | TEXT | st.lists(st.booleans()))
ENVELOPES = st.builds(
    Envelope,
    id=TEXT,
    source=st.sampled_from(["/a", "https://example.com/a%20b?c", "urn:a:b"]),
    type=TEXT,
    tenantid=st.sampled_from(["demo", "a-b_c"]),
    data=st.dictionaries(TEXT, st.integers() | TEXT | st.lists(st.booleans()))
    | st.lists(st.integers(), min_size=1),
    subject=st.none() | TEXT,
    time=st.none() | st.just("2026-01-01T00:00:00Z"),
    traceparent=st.none() | st.just(TRACEPARENT),
    extensions=st.dictionaries(st.sampled_from(["custom", "other1"]), TEXT),
)


@given(ENVELOPES)
def test_structured_and_binary_mode_carry_the_same_event(envelope: Envelope) -> None:
    """Whatever the text, in headers or in the body, it comes out as it went in."""
    for message in (to_structured(envelope), to_binary(envelope)):
        assert receive(message.headers.items(), message.body).envelopes == (envelope,)
        assert all(value.isascii() for value in message.headers.values())
    assert from_bytes(envelope.to_bytes()) == envelope


def _receive_code(headers: dict[str, str], body: bytes) -> str:
    with pytest.raises(InvalidInputError) as refused:
        receive(headers.items(), body)
    return refused.value.code


def test_a_batch_is_read_in_order_and_a_bad_one_says_which() -> None:
    """A sender of a hundred events must not search for the one."""
    headers = {"content-type": "application/cloudevents-batch+json"}
    two = [_with(id="1"), _with(id="2")]
    received = receive(headers.items(), json.dumps(two).encode())
    assert received.batch
    assert [envelope.id for envelope in received.envelopes] == ["1", "2"]
    with pytest.raises(InvalidInputError, match="Event 1 of the batch"):
        receive(headers.items(), json.dumps([_with(), _with(source="not a uri")]).encode())
    assert _receive_code(headers, json.dumps([_with()] * 101).encode()) == "batch_too_long"
    assert _receive_code(headers, json.dumps(_with()).encode()) == "not_a_cloudevent"


def test_a_request_that_is_in_no_mode_is_refused() -> None:
    """Guessing would turn a wrong header into a wrong event."""
    body = EVENT.to_bytes()
    assert _receive_code({"content-type": "application/json"}, body) == "not_a_cloudevent"
    assert _receive_code({"content-type": "application/cloudevents+xml"}, body) == "unsupported_content_type"
    charset = {"content-type": "application/cloudevents+json; charset=utf-16"}
    assert _receive_code(charset, body) == "unsupported_content_type"


def test_binary_mode_refuses_headers_that_two_readers_understand_differently() -> None:
    """Doubled headers, escapes that are none, and bytes that are no UTF-8."""
    message = to_binary(EVENT)
    for name, value in {"ce-id": "%zz", "ce-subject": "%ff", "ce-data": "x"}.items():
        assert _receive_code({**message.headers, name: value}, message.body) == "invalid_attribute"
    with pytest.raises(InvalidInputError) as refused:
        receive([*message.headers.items(), ("CE-ID", "2")], message.body)
    assert refused.value.code == "duplicate_header"
    without_type = {name: value for name, value in message.headers.items() if name != "content-type"}
    assert _receive_code(without_type, message.body) == "unsupported_content_type"
