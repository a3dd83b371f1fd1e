"""The envelope: one CloudEvents 1.0 event in Interlock's terms, and its JSON format.

An event is identified by (``tenantid``, ``source``, ``id``). Its data is JSON. The HTTP modes are in
``interlock.http_binding``.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from interlock import attributes as rules
from interlock import strict_json
from interlock.canonical import JsonValue, NotCanonicalError, canonical_bytes, digest
from interlock.errors import InvalidInputError

SPECVERSION = "1.0"
JSON_CONTENT_TYPE = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One event. ``extensions`` holds the attributes that Interlock does not interpret; none is lost.

    Args:
        source: where it happened, a URI reference; ``id`` is unique within it.
        time: when it happened (RFC 3339); it enters no digest of the data.
        dataschema: what ``data`` is, as ``urn:interlock:schema:issue:2``.
        traceparent: W3C trace context of whoever made the event.

    Raises:
        InvalidInputError: ``missing_tenant``, ``invalid_attribute``, ``unsupported_specversion`` or
            ``unsupported_content_type``.
    """

    id: str
    source: str
    type: str
    tenantid: str
    data: JsonValue = None
    subject: str | None = None
    time: str | None = None
    datacontenttype: str = JSON_CONTENT_TYPE
    dataschema: str | None = None
    traceparent: str | None = None
    extensions: Mapping[str, str | int | bool] = field(default_factory=dict)
    specversion: str = SPECVERSION

    def __post_init__(self) -> None:
        if self.specversion != SPECVERSION:
            raise InvalidInputError(
                "unsupported_specversion",
                "The event is not of CloudEvents version 1.0.",
                "Send it with specversion 1.0.",
            )
        rules.check_tenant(self.tenantid)
        rules.check_text("id", self.id, rules.MAX_ID)
        rules.check_text("type", self.type, rules.MAX_TYPE)
        rules.check_text("source", self.source, rules.MAX_URI)
        if not rules.is_uri_reference(self.source):
            raise rules.invalid("source", "is not a URI reference (RFC 3986)")
        self._check_optional()
        self._check_extensions()

    def _check_optional(self) -> None:
        if self.subject is not None:
            rules.check_text("subject", self.subject)
        if self.time is not None and not rules.is_time(self.time):
            raise rules.invalid("time", "is not a time with its offset (RFC 3339)")
        if self.dataschema is not None:
            rules.check_text("dataschema", self.dataschema, rules.MAX_URI)
            if not rules.is_uri(self.dataschema):
                raise rules.invalid("dataschema", "is not a URI (RFC 3986)")
        if self.traceparent is not None and not rules.is_traceparent(self.traceparent):
            raise rules.invalid("traceparent", "is not a trace parent (W3C Trace Context)")
        if not rules.is_json_media_type(self.datacontenttype):
            raise InvalidInputError(
                "unsupported_content_type",
                "The event's data is not JSON in UTF-8.",
                "Send data with datacontenttype application/json.",
            )

    def _check_extensions(self) -> None:
        for name, value in self.extensions.items():
            rules.check_name(name)
            if name in _OWN or name in {"data_base64", "database64"}:
                raise rules.invalid(name, "is no extension attribute")
            if isinstance(value, str):
                rules.check_text(f"The extension {name}", value)
            elif not isinstance(value, bool) and not (isinstance(value, int) and -(2**31) <= value < 2**31):
                raise rules.invalid(
                    f"The extension {name}", "is not a string, a boolean or an integer of 32 bits"
                )

    @property
    def data_digest(self) -> str:
        """SHA-256 of the data's canonical JSON: two events of one id, type and digest are duplicates.

        Raises NotCanonicalError when the data is not JSON.
        """
        return digest(self.data)

    def attributes(self) -> dict[str, str | int | bool]:
        """The context attributes that are set, by their CloudEvents names."""
        named = {name: getattr(self, name) for name in _ATTRIBUTES}
        return {name: value for name, value in named.items() if value is not None} | dict(self.extensions)

    def to_json(self) -> dict[str, JsonValue]:
        """The event in CloudEvents' JSON format; data that is null is left out."""
        members: dict[str, JsonValue] = dict(self.attributes())
        if self.data is not None:
            members["data"] = self.data
        return members

    def to_bytes(self) -> bytes:
        """The canonical bytes of the event's JSON format.

        Raises InvalidInputError ``not_json_value`` when the data is not JSON.
        """
        try:
            return canonical_bytes(self.to_json())
        except NotCanonicalError as error:
            raise InvalidInputError(
                "not_json_value", f"The event's data is not JSON: {error}.", "Send plain JSON values."
            ) from None


_OWN = frozenset(item.name for item in fields(Envelope))
_ATTRIBUTES = (
    "specversion",
    "id",
    "source",
    "type",
    "tenantid",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
    "traceparent",
)


def from_bytes(body: bytes, *, max_bytes: int = strict_json.MAX_BYTES) -> Envelope:
    """The event in CloudEvents' JSON format, read strictly.

    Raises InvalidInputError, with the codes of ``strict_json.read`` and ``from_json``.
    """
    return from_json(strict_json.read(body, max_bytes=max_bytes))


def from_json(value: JsonValue) -> Envelope:
    """The event that ``value`` is, in CloudEvents' JSON format.

    Attributes that are null count as unset. An unusable trace parent is dropped: tracing refuses no event.

    Raises:
        InvalidInputError: ``not_a_cloudevent``, ``missing_attribute``, ``invalid_data`` or one of Envelope's.
    """
    if not isinstance(value, Mapping):
        raise InvalidInputError(
            "not_a_cloudevent", "The JSON is not an object.", "Send a CloudEvents 1.0 event."
        )
    members: dict[str, JsonValue] = {name: item for name, item in value.items() if item is not None}
    data = _data(members)
    return from_attributes(members, data)


def from_attributes(members: Mapping[str, JsonValue], data: JsonValue) -> Envelope:
    """The event with these context attributes; see ``from_json`` for what it raises."""
    if "specversion" not in members:
        raise InvalidInputError(
            "not_a_cloudevent",
            "The event has no specversion.",
            "Send a CloudEvents 1.0 event (attributes specversion, id, source, type, tenantid).",
        )
    own = {name: _own(name, value) for name, value in members.items() if name in _OWN}
    for name in ("id", "source", "type"):
        if name not in own:
            raise InvalidInputError(
                "missing_attribute", f"The event has no {name}.", f"Add the attribute {name}."
            )
    if not rules.is_traceparent(own.get("traceparent", "")):
        own.pop("traceparent", None)
    return Envelope(
        id=own["id"],
        source=own["source"],
        type=own["type"],
        tenantid=own.get("tenantid", ""),
        data=data,
        subject=own.get("subject"),
        time=own.get("time"),
        datacontenttype=own.get("datacontenttype", JSON_CONTENT_TYPE),
        dataschema=own.get("dataschema"),
        traceparent=own.get("traceparent"),
        extensions={name: _extension(name, value) for name, value in members.items() if name not in _OWN},
        specversion=own["specversion"],
    )


def _own(name: str, value: JsonValue) -> str:
    if name in {"data", "extensions"} or not isinstance(value, str):
        raise rules.invalid(name, "is not a string attribute")
    return value


def _extension(name: str, value: JsonValue) -> str | int | bool:
    rules.check_name(name)
    if isinstance(value, (str, int)):
        return value
    raise rules.invalid(f"The extension {name}", "is not a string, a boolean or an integer")


def _data(members: dict[str, JsonValue]) -> JsonValue:
    encoded = members.pop("data_base64", None)
    if encoded is None:
        return members.pop("data", None)
    if "data" in members or not isinstance(encoded, str):
        raise InvalidInputError(
            "invalid_data", "The event has both data and data_base64, or no text in it.", "Send one of them."
        )
    try:
        return strict_json.read(base64.b64decode(encoded, validate=True))
    except binascii.Error:
        raise InvalidInputError(
            "invalid_data", "The event's data_base64 is not base64.", "Encode it as in RFC 4648, section 4."
        ) from None
