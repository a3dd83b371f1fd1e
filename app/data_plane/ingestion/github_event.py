"""A GitHub webhook as a CloudEvent: its type, its source and its id."""

from __future__ import annotations

import re
from urllib.parse import quote

from app.data_plane.ingestion.errors import InvalidEventError
from app.data_plane.ingestion.lenient import section, text
from interlock.attributes import invalid
from interlock.canonical import JsonValue
from interlock.envelope import Envelope
from interlock.errors import InvalidInputError

TYPE_PREFIX = "com.github."

_EVENT = re.compile(r"[a-z][a-z0-9_]{0,63}")
_DELIVERY = re.compile(r"[A-Za-z0-9-]{1,64}")
_NOT_IN_A_TYPE = re.compile(r"[^A-Za-z0-9._-]")


def to_envelope(
    tenant: str, event: str, delivery: str, payload: JsonValue, *, traceparent: str | None = None
) -> Envelope:
    """The envelope of one delivery; it has no time, because GitHub's redelivery would carry another.

    Args:
        event: the header ``X-GitHub-Event``.
        delivery: the header ``X-GitHub-Delivery``, a GUID that a redelivery keeps.

    Raises:
        InvalidEventError: ``invalid_attribute`` or ``missing_tenant``.
    """
    try:
        if not _EVENT.fullmatch(event):
            raise invalid("X-GitHub-Event", "is missing or not the name of an event")
        if not _DELIVERY.fullmatch(delivery):
            raise invalid("X-GitHub-Delivery", "is missing or not a GUID")
        return Envelope(
            id=delivery,
            source=_source(payload),
            type=event_type(event, text(section(payload), "action")),
            tenantid=tenant,
            data=payload,
            traceparent=traceparent,
        )
    except InvalidInputError as error:
        raise InvalidEventError(error) from None


def event_type(event: str, action: str) -> str:
    """The CloudEvents type of a GitHub event, as ``com.github.issues.opened``."""
    # repository_dispatch has actions that users choose: whatever characters they have must fit a type.
    named = _NOT_IN_A_TYPE.sub("_", action)[:100]
    return f"{TYPE_PREFIX}{event}.{named}" if named else f"{TYPE_PREFIX}{event}"


def kind_of(type_: str) -> str:
    """The GitHub event of a CloudEvents type: ``issues`` of ``com.github.issues.opened``."""
    return type_.removeprefix(TYPE_PREFIX).partition(".")[0]


def _source(payload: JsonValue) -> str:
    name = (
        text(section(payload, "repository"), "full_name")
        or text(section(payload, "organization"), "login")
        or "unknown"
    )
    return f"https://github.com/{quote(name[:200], safe='/')}"
