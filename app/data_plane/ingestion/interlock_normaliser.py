"""The normaliser ``interlock/1``: events of our own types, whose data names its schema and version."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import ValidationError

from app.data_plane.ingestion.domain_event import (
    Alert,
    Check,
    Comment,
    DomainEvent,
    Issue,
    Part,
    Repository,
    Sender,
    cut,
)
from app.data_plane.ingestion.errors import InvalidDataError, UnknownSchemaVersionError, UnknownTypeError
from app.data_plane.ingestion.upcasting import UPCASTERS
from app.kernel.errors import PermanentError
from interlock.canonical import JsonValue, canonical_bytes
from interlock.envelope import Envelope

NAME = "interlock/1"
TYPE_PREFIX = "dev.interlock."

_SCHEMA = re.compile(r"urn:interlock:schema:([a-z]{1,32}):([1-9][0-9]{0,5})")
_SECTIONS: Mapping[str, type[Issue | Check | Alert]] = {"issue": Issue, "check": Check, "alert": Alert}
_LONG_TEXTS = {"issue": "body", "check": "summary", "alert": "description"}


class _Around(Part):
    """What may stand beside the section's own fields in the data."""

    action: str = ""
    repository: Repository | None = None
    sender: Sender | None = None
    comment: Comment | None = None


def normalise(envelope: Envelope) -> DomainEvent:
    """The normalised event of one of our own types.

    Raises:
        UnknownTypeError, UnknownSchemaVersionError, InvalidDataError: see their codes.
    """
    name = envelope.type.removeprefix(TYPE_PREFIX)
    section = _SECTIONS.get(name)
    if section is None:
        raise unknown_type()
    data = UPCASTERS.upcast(name, _version(envelope.dataschema, name), _object(envelope.data))
    around = {key: value for key, value in data.items() if key in _Around.model_fields}
    if name != "issue" and "comment" in around:
        raise InvalidDataError("Only an issue has a comment.", "Leave data.comment out.")
    own = {key: value for key, value in data.items() if key not in around}
    comment = around.get("comment")
    if isinstance(comment, Mapping):
        around["comment"] = _shortened(comment, "body")
    try:
        outside = _Around.model_validate_json(canonical_bytes(around))
        inside = section.model_validate_json(canonical_bytes(_shortened(own, _LONG_TEXTS[name])))
    except ValidationError as error:
        raise _invalid(error) from None
    return DomainEvent(
        type=envelope.type,
        source_kind="interlock",
        action=outside.action,
        repository=outside.repository,
        sender=outside.sender,
        section=inside,
        comment=outside.comment,
    )


def unknown_type() -> PermanentError:
    """The error for a type that no normaliser reads."""
    types = ", ".join(f"{TYPE_PREFIX}{name}" for name in _SECTIONS)
    return UnknownTypeError(
        "No normaliser reads events of this type.",
        f"Send one of {types}, or a GitHub webhook.",
    )


def _version(dataschema: str | None, name: str) -> int:
    match = _SCHEMA.fullmatch(dataschema or "")
    if match is None or match[1] != name:
        raise UnknownSchemaVersionError(
            f"The event's dataschema is not a version of the schema {name}.",
            f"Name it, as urn:interlock:schema:{name}:{UPCASTERS.current[name]}.",
        )
    return int(match[2])


def _object(data: JsonValue) -> Mapping[str, JsonValue]:
    if isinstance(data, Mapping):
        return data
    raise InvalidDataError("The event's data is not an object.", "Send the fields of its schema.")


def _shortened(data: Mapping[str, JsonValue], key: str) -> Mapping[str, JsonValue]:
    long = data.get(key)
    if not isinstance(long, str):
        return data
    kept, truncated = cut(long)
    return {**data, key: kept, "truncated": True} if truncated else data


def _invalid(error: ValidationError) -> InvalidDataError:
    first = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(str(part)[:64] for part in first["loc"])
    return InvalidDataError(
        f"The event's data does not fit its schema: {where}: {first['msg'].lower()}.",
        "Correct the field; the schemas are in app/data_plane/ingestion/domain_event.py.",
    )
