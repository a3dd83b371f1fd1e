"""Every way in which a message can be bad, as bytes on the broker's list; each holds the same secret."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Mapping

from interlock.canonical import JsonValue
from interlock.envelope import Envelope
from interlock.ingestion_message import sign

SECRET = "hunter2-of-the-tests"  # a secret without a known form: redaction would not find it
SIGNING_KEY = b"the signing key of the tests' own"
STEP = "run_" + "0" * 32


def wire(
    arguments: object,
    headers: Mapping[str, object] | None = None,
    *,
    queue: str = "ingestion",
    body: bytes | None = None,
    content_type: str = "application/json",
    **properties: object,
) -> bytes:
    """A message as kombu puts it into the list: the arguments (or the body itself) in base64."""
    raw = body if body is not None else json.dumps([arguments, {}, {}]).encode()
    return json.dumps(
        {
            "body": base64.b64encode(raw).decode(),
            "content-encoding": "utf-8",
            "content-type": content_type,
            "headers": {} if headers is None else headers,
            "properties": {
                "delivery_tag": str(uuid.uuid4()),
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": queue},
                "priority": 0,
                "body_encoding": "base64",
                **properties,
            },
        }
    ).encode()


def task(name: object, **more: object) -> dict[str, object]:
    """The headers of a message that asks for a task."""
    return {"id": str(uuid.uuid4()), "task": name, "lang": "py", "root_id": None, **more}


def ingestion(message: JsonValue) -> bytes:
    """A message to the ingestion task."""
    return wire([message], task("interlock.ingestion.accept"))


def signed(event_type: str, key: bytes = SIGNING_KEY) -> dict[str, JsonValue]:
    """The signed message of an event that holds the secret."""
    event = Envelope(
        id=f"of-{event_type}", source="/tests", type=event_type, tenantid="demo", data={"note": SECRET}
    )
    return sign(event, None, key, max_bytes=100_000).to_json()


NOT_MESSAGES: dict[str, bytes] = {
    "bytes that are no text": b"\xff\xfe" + SECRET.encode(),
    "text that is not JSON": f"{{{SECRET}".encode(),
    "JSON that is no object": json.dumps(SECRET).encode(),
    "nested without an end": b"[" * 100_000 + SECRET.encode(),
    "no properties": json.dumps({"body": SECRET, "headers": {}}).encode(),
    "no delivery tag": json.dumps({"body": SECRET, "properties": {"delivery_info": {}}}).encode(),
    "no route": wire([SECRET], delivery_info={}),
    "a body that is not base64": wire([]).replace(b'"body": "', b'"body": "a'),
    "an unknown body encoding": wire([SECRET], body_encoding="rot13"),
    "headers that are no object": json.dumps({**json.loads(wire([SECRET])), "headers": None}).encode(),
}

UNDECODABLE: dict[str, bytes] = {
    "a body that is not JSON": wire(None, task("interlock.ingestion.accept"), body=b"{" + SECRET.encode()),
    "a body that cannot be inflated": wire(
        None, task("interlock.ingestion.accept", compression="application/x-gzip"), body=SECRET.encode()
    ),
}

REJECTED: dict[str, tuple[str, bytes]] = {
    "a pickle": (
        "content_disallowed",
        wire(
            None,
            task("interlock.ingestion.accept"),
            body=SECRET.encode(),
            content_type="application/x-python-serialize",
        ),
    ),
    "no task": ("no_task", wire(None, body=json.dumps({"note": SECRET}).encode())),
    "a task that is no name": ("invalid_headers", wire([SECRET], task([SECRET]))),
    "a task without an id": (
        "invalid_headers",
        wire([SECRET, "no id"], {"task": "interlock.ingestion.accept"}),
    ),
    "limits that are none": (
        "invalid_headers",
        wire([SECRET, "limits"], task("interlock.ingestion.accept", timelimit=SECRET)),
    ),
    "a body that is null": (
        "invalid_message",
        wire(None, task("interlock.ingestion.accept"), body=b"null"),
    ),
    "a body that is too short": (
        "invalid_message",
        wire(None, task("interlock.ingestion.accept"), body=json.dumps([SECRET]).encode()),
    ),
    "an expiry that is no time": (
        "invalid_headers",
        wire([SECRET, "expires"], task("interlock.ingestion.accept", expires=SECRET)),
    ),
    "a time beyond every clock": (
        "invalid_headers",
        wire([SECRET, "eta"], task("interlock.ingestion.accept", eta="9999-12-31T23:59:59")),
    ),
}

REFUSED: dict[str, tuple[str, str, JsonValue]] = {
    "no ingestion message": ("not_a_message", "-", SECRET),
    "a signature of somebody else": (
        "bad_signature",
        "-",
        signed("dev.interlock.a", b"some other key than that"),
    ),
    "an event of an unknown type": ("unknown_type", "demo", signed("dev.interlock.unknown")),
}
"""By name: the code, whose it is, and the message."""

UNKNOWN_TASK = wire([[STEP], SECRET], task("interlock.retired.task"), queue="agent_runs")
