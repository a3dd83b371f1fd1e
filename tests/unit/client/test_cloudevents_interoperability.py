"""The official CloudEvents library is the peer: it reads what we write, and we read what it writes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cloudevents.core.bindings import http as official
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from interlock.envelope import Envelope
from interlock.http_binding import receive, to_binary, to_structured

DATA = {"title": "Ünïcode 😀", "number": 9007199254740993, "nested": {"list": [1, None, True]}}
ATTRIBUTES = {
    "id": 'Ж %41 "1"',
    "source": "https://example.com/a?b=c",
    "type": "dev.interlock.issue",
    "subject": "Grüße, Welt",
    "datacontenttype": "application/json",
    "dataschema": "urn:interlock:schema:issue:2",
    "tenantid": "demo",
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "custom": "extension",
}


def _ours() -> Envelope:
    named = {name: value for name, value in ATTRIBUTES.items() if name != "custom"}
    return Envelope(
        **named,  # type: ignore[arg-type]
        time="2026-01-02T03:04:05Z",
        data=DATA,
        extensions={"custom": "extension"},
    )


def _theirs() -> CloudEvent:
    return CloudEvent({**ATTRIBUTES, "time": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)}, DATA)


@pytest.mark.parametrize("write", [to_structured, to_binary])
def test_the_official_library_reads_what_we_write(write: type[to_structured]) -> None:  # type: ignore[valid-type]
    """In both modes, with every attribute."""
    message = write(_ours())
    read = official.from_http(official.HTTPMessage(dict(message.headers), message.body), JSONFormat())
    assert read.get_data() == DATA
    assert read.get_attributes() == _theirs().get_attributes()


@pytest.mark.parametrize("write", [official.to_structured, official.to_binary])
def test_we_read_what_the_official_library_writes(write: type[official.to_binary]) -> None:  # type: ignore[valid-type]
    """In both modes, and the digest of the data is the one of our own envelope."""
    message = write(_theirs(), JSONFormat())
    (read,) = receive(message.headers.items(), message.body).envelopes
    assert read == _ours()
    assert read.data_digest == _ours().data_digest
