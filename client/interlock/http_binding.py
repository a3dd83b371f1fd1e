"""CloudEvents over HTTP: structured, binary and (for reading) batch mode.

Source: HTTP Protocol Binding for CloudEvents 1.0.2; header values are percent-encoded (section 3.1.3.2).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote_to_bytes

from interlock import attributes as rules
from interlock import envelope as json_format
from interlock import strict_json
from interlock.canonical import canonical_bytes
from interlock.envelope import Envelope
from interlock.errors import InvalidInputError

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
MAX_BATCH = 100
"""Events in one batch."""

_SAFE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in ' "%')
_BAD_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class HttpMessage:
    """What goes into an HTTP request: headers in lower case, and the body."""

    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Received:
    """The events of one HTTP message; ``batch`` tells whether it came in batch mode."""

    envelopes: tuple[Envelope, ...]
    batch: bool = False


def to_structured(envelope: Envelope) -> HttpMessage:
    """The event with its attributes in the body."""
    return HttpMessage({"content-type": f"{STRUCTURED}; charset=utf-8"}, envelope.to_bytes())


def to_binary(envelope: Envelope) -> HttpMessage:
    """The event with its attributes in headers and its data as the body."""
    headers = {"content-type": envelope.datacontenttype}
    for name, value in envelope.attributes().items():
        if name != "datacontenttype":
            text = str(value).lower() if isinstance(value, bool) else str(value)
            headers[f"ce-{name}"] = quote(text, safe=_SAFE)
    envelope.to_bytes()  # refuses data that is not JSON under the same code as structured mode
    return HttpMessage(headers, b"" if envelope.data is None else canonical_bytes(envelope.data))


def receive(
    headers: Iterable[tuple[str, str]], body: bytes, *, max_bytes: int = strict_json.MAX_BYTES
) -> Received:
    """The events of an HTTP message in any of the three modes.

    Raises:
        InvalidInputError: ``not_a_cloudevent`` when it is in no mode, ``unsupported_content_type``,
            ``duplicate_header``, ``batch_too_long``, and the codes of ``interlock.envelope.from_bytes``.
    """
    named = _by_name(headers)
    content_type = named.get("content-type", "")
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type.startswith("application/cloudevents"):
        if media_type not in {STRUCTURED, BATCH} or not rules.is_json_media_type(content_type):
            raise InvalidInputError(
                "unsupported_content_type",
                "CloudEvents are taken in the JSON format and UTF-8 only.",
                f"Send {STRUCTURED} or {BATCH}.",
            )
        if media_type == BATCH:
            return Received(_batch(body, max_bytes), batch=True)
        return Received((json_format.from_bytes(body, max_bytes=max_bytes),))
    if "ce-specversion" in named:
        return Received((_binary(named, body, max_bytes),))
    raise InvalidInputError(
        "not_a_cloudevent",
        "The request is no CloudEvent: neither its content type nor a ce-specversion header says so.",
        f"Send the event as {STRUCTURED}, or its attributes in ce- headers.",
    )


def _by_name(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    named: dict[str, str] = {}
    for name, value in headers:
        key = name.lower()
        if key in named and (key.startswith("ce-") or key == "content-type"):
            raise InvalidInputError("duplicate_header", f"The header {key} came twice.", "Send it once.")
        named[key] = value
    return named


def _batch(body: bytes, max_bytes: int) -> tuple[Envelope, ...]:
    items = strict_json.read(body, max_bytes=max_bytes)
    if not isinstance(items, list):
        raise InvalidInputError(
            "not_a_cloudevent", "The batch is not a JSON array.", "Send an array of events."
        )
    if len(items) > MAX_BATCH:
        raise InvalidInputError(
            "batch_too_long", f"The batch has more than {MAX_BATCH} events.", "Send it in parts."
        )
    envelopes: list[Envelope] = []
    for index, item in enumerate(items):
        try:
            envelopes.append(json_format.from_json(item))
        except InvalidInputError as error:
            raise InvalidInputError(
                error.code, f"Event {index} of the batch: {error.what}", error.remedy
            ) from None
    return tuple(envelopes)


def _binary(named: Mapping[str, str], body: bytes, max_bytes: int) -> Envelope:
    members = {
        name.removeprefix("ce-"): _decode(name, value)
        for name, value in named.items()
        if name.startswith("ce-")
    }
    if "datacontenttype" in members or "data" in members:
        raise rules.invalid("ce-datacontenttype or ce-data", "is not a header of binary mode")
    members["datacontenttype"] = named.get("content-type", "" if body else json_format.JSON_CONTENT_TYPE)
    without_data = json_format.from_attributes(members, None)
    return replace(without_data, data=strict_json.read(body, max_bytes=max_bytes)) if body else without_data


def _decode(name: str, value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    if _BAD_ESCAPE.search(value):
        raise rules.invalid(name, "has a % that begins no escape")
    try:
        # Servers hand over header bytes as Latin-1 text.
        return unquote_to_bytes(value.encode("latin-1")).decode("utf-8")
    except UnicodeError:
        raise rules.invalid(name, "is not percent-encoded UTF-8") from None
