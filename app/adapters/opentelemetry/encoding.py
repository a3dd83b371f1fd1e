"""Finished spans as one redacted JSON document, which is what the span store takes.

It is made in the process that does the work, so it is made to cost little: what repeats within a batch (names, models,
stages) is redacted once, and numbers and derived ids not at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import orjson
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, SpanContext

from app.telemetry import naming
from app.telemetry.redaction import redact, redact_value

MOST_CHARACTERS = 2_000
"""Of one text in a span; what is longer is cut, after it was redacted."""

_DERIVED = frozenset(
    {
        *(naming.TENANT_ID, naming.ORCHESTRATION_ID, naming.RUN_ID, naming.ACTION_ID, naming.REPLAY_ID),
        *(naming.RELEASE, naming.DECISION_DIGEST, naming.PROPOSAL_DIGEST),
    }
)
"""Attributes whose values are names of ours or digests, in which nobody can put anything."""

_TENANT = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LARGEST = 2**63
_NUMBERS = frozenset({bool, int, float})

Object = dict[str, object]


@dataclass(frozen=True, slots=True)
class Batch:
    """Spans on their way to the store: a JSON array, whose spans there are in it, and how many."""

    document: str
    tenants: frozenset[str]
    spans: int


class Redactor:
    """Redacts the texts of one batch, each different one once."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._values: dict[tuple[str, object], object] = {}

    def text(self, text: str) -> str:
        """``text`` redacted, and cut where it is too long."""
        known = self._texts.get(text)
        if known is None:
            known = self._texts[text] = redact(text)[:MOST_CHARACTERS]
        return known

    def attributes(self, attributes: Mapping[str, object] | None) -> Object:
        """Attributes as JSON has them."""
        if not attributes:
            return {}
        value_of = self._value
        return {name: value_of(name, value) for name, value in _plain(attributes).items()}

    def _value(self, name: str, value: object) -> object:
        if name in _DERIVED:
            return value
        kind = type(value)
        if kind is str:
            key = (name, value)
            if key not in self._values:
                shown = redact_value(value, name)
                self._values[key] = shown[:MOST_CHARACTERS] if isinstance(shown, str) else shown
            return self._values[key]
        return value if kind in _NUMBERS else redact_value(value, name)


def _plain(attributes: Mapping[str, object]) -> Mapping[str, object]:
    """The same as a dictionary, which the SDK's own mappings are slow to be gone through instead of."""
    copy: Callable[[], Mapping[str, object]] | None = getattr(attributes, "copy", None)
    return copy() if copy is not None else attributes


def encoded(spans: Sequence[ReadableSpan], service: str) -> Batch:
    """The spans as the store takes them. Never raises for what is in them."""
    redactor = Redactor()
    rows = [_row(span, service, redactor) for span in spans]
    return Batch(
        _document(rows), frozenset(str(row["tenant_id"]) for row in rows if row["tenant_id"]), len(rows)
    )


def _row(span: ReadableSpan, service: str, redactor: Redactor) -> Object:
    context = span.get_span_context()
    assert context is not None
    attributes = redactor.attributes(span.attributes)
    keys = {name: attributes.pop(name, "") for name in naming.CORRELATION_KEYS}
    if _TENANT.fullmatch(str(keys[naming.TENANT_ID])) is None:
        keys[naming.TENANT_ID] = ""
    start = span.start_time or 0
    return {
        **_ids(context),
        "parent_span_id": f"{span.parent.span_id:016x}" if span.parent else "",
        **keys,
        "name": redactor.text(span.name),
        "service": service,
        "kind": span.kind.name.lower(),
        "start_ns": start,
        "end_ns": span.end_time or start,
        "status": span.status.status_code.name.lower(),
        "status_text": redactor.text(span.status.description or ""),
        "attributes": attributes,
        "links": [_link(link, redactor) for link in span.links],
        "events": [_event(event, redactor) for event in span.events],
    }


def _link(link: Link, redactor: Redactor) -> Object:
    return {**_ids(link.context), "attributes": redactor.attributes(link.attributes)}


def _event(event: Event, redactor: Redactor) -> Object:
    return {
        "at_ns": event.timestamp,
        "name": redactor.text(event.name),
        "attributes": redactor.attributes(event.attributes),
    }


def _ids(context: SpanContext) -> Object:
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


def _document(rows: list[Object]) -> str:
    try:
        document = orjson.dumps(rows)
    except TypeError:
        # A lone surrogate, or an integer beyond 64 bits.
        document = orjson.dumps(_encodable(rows))
    # PostgreSQL has no text with a NUL in it.
    return document.replace(b"\\u0000", b"\\ufffd").decode()


def _encodable(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
        # In hexadecimal, as Python writes no decimal of more than 4,300 digits.
        return hex(value)[:MOST_CHARACTERS]
    if isinstance(value, dict):
        return {_encodable(name): _encodable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_encodable(item) for item in value]
    return value
