"""Where spans are: trace parents (W3C Trace Context), ids derived from what a span is, and links between spans.

A span of a step gets its id from the step, so that whoever does the step again can point at the span of the attempt
before, also when its worker was killed before it wrote anything.
"""

from __future__ import annotations

import hashlib
import re
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, TraceFlags

from app.telemetry import naming

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


class LinkKind(StrEnum):
    """Why a span points at another one that is not its parent."""

    CARRIES = "carries"
    """A message's, at the orchestrations whose work it carried."""
    CARRIED_BY = "carried_by"
    """An orchestration's, at the message that carried it."""
    RETRY = "retry"
    """At the attempt before, which ended and is made again."""
    LAPSE = "lapse"
    """At the attempt before, which nobody heard of again: its worker died, was too slow, or met a defect."""
    CONTINUES = "continues"
    """At the part of the run before it waited."""
    REDELIVERY = "redelivery"
    """A message's, at its first delivery."""
    REPLAY = "replay"
    """A rerun's first span, at the original's."""
    RESUME = "resume"
    """At the attempt that gave up, before a person had it resumed."""


@dataclass(frozen=True, slots=True)
class Linked:
    """A span that caused another one without being its parent, by its trace parent."""

    traceparent: str
    kind: LinkKind


@dataclass(frozen=True, slots=True)
class WantedIds:
    """The ids of the next span that is started in this context; 0 lets chance decide."""

    span_id: int
    trace_id: int = 0


_wanted: ContextVar[WantedIds | None] = ContextVar("interlock_wanted_ids", default=None)


def want(ids: WantedIds | None) -> None:
    """The span that is started next in this context has these ids; None when chance decides again."""
    _wanted.set(ids)


def wanted() -> WantedIds | None:
    """What the generator of ids is asked for now."""
    return _wanted.get()


def derived(*parts: str | int) -> int:
    """A span's id from what it is: the same parts give the same id, in every process."""
    return int.from_bytes(_digest(parts)[:8], "big") or 1


def derived_trace(*parts: str | int) -> int:
    """A trace's id, derived in the same way from other bytes."""
    return int.from_bytes(_digest(parts)[8:24], "big") or 1


def _digest(parts: tuple[str | int, ...]) -> bytes:
    return hashlib.sha256("\x1f".join(map(str, parts)).encode("utf-8", "replace")).digest()


def beside(traceparent: str, span_id: int) -> str:
    """The trace parent of another span of the same trace."""
    return f"{traceparent[:36]}{span_id:016x}{traceparent[52:]}"


def written(trace_id: int, span_id: int, *, sampled: bool = True) -> str:
    """The trace parent with these ids."""
    return f"00-{trace_id:032x}-{span_id:016x}-{int(sampled):02x}"


def traceparent_of(of: Span) -> str | None:
    """The traceparent that continues ``of``; None when there is no trace."""
    found = of.get_span_context()
    if not found.is_valid:
        return None
    return written(found.trace_id, found.span_id, sampled=found.trace_flags.sampled)


def accepted_traceparent(header: str | None) -> str | None:
    """A traceparent from outside as it may be stored; None when it is absent or not one of version 00."""
    if header is None:
        return None
    text = header.strip()
    return text if span_context(text) is not None else None


def is_unsampled(traceparent: str) -> bool:
    """Whether nothing below it is recorded: the last bit of its flags; others may be set (Trace Context, level 2)."""
    return traceparent[-1] in "02468ace"


def is_sampled(traceparent: str | None) -> bool:
    """Whether spans below it are recorded: to be asked before anything is gathered for them."""
    return traceparent is not None and not is_unsampled(traceparent)


# Asked for by every span and link of an orchestration.
@lru_cache(maxsize=1024)
def span_context(traceparent: str) -> SpanContext | None:
    """The same as OpenTelemetry has it; None when it is not one of version 00."""
    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None:
        return None
    found = SpanContext(int(match[1], 16), int(match[2], 16), True, TraceFlags(int(match[3], 16) & 1))
    return found if found.is_valid else None


def standing_for(traceparent: str) -> Span:
    """What stands for a span that is recorded elsewhere, or later."""
    found = span_context(traceparent)
    return NonRecordingSpan(found) if found is not None else NonRecordingSpan(SpanContext(0, 0, False))


def link_to(linked: Linked) -> Link | None:
    """The same as OpenTelemetry has it; None for one that leads nowhere."""
    found = span_context(linked.traceparent)
    return Link(found, {naming.LINK: linked.kind.value}) if found is not None else None
