"""Spans as they are read back from the local store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Json = Mapping[str, object]
"""Attributes: names, and values as JSON has them."""


@dataclass(frozen=True, slots=True)
class StoredLink:
    """Another span that has to do with this one; it need not have been recorded."""

    trace_id: str
    span_id: str
    attributes: Json


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """Something that happened within a span."""

    at_ns: int
    name: str
    attributes: Json


@dataclass(frozen=True, slots=True)
class StoredSpan:
    """One span. Times are nanoseconds since the epoch; keys that it does not have are empty.

    A span without a ``tenant_id`` is infrastructure's, such as that of a message that carried steps of many.
    """

    trace_id: str
    span_id: str
    parent_span_id: str
    tenant_id: str
    event_id: str
    orchestration_id: str
    run_id: str
    name: str
    service: str
    kind: str
    start_ns: int
    end_ns: int
    status: str
    status_text: str
    attributes: Json
    links: tuple[StoredLink, ...]
    events: tuple[StoredEvent, ...]
