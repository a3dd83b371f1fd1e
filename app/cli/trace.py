"""What ``runs trace`` shows: whose trace an id means, its spans, and, where there are none, why."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.adapters.postgresql.reading_traces import TracedRun, TraceReading
from app.adapters.postgresql.spans import MOST_SPANS
from app.kernel.errors import NotFoundError
from app.telemetry import naming
from app.telemetry.stored_spans import StoredSpan
from app.telemetry.waterfall import carriers

SHORTEST_BEGINNING = 8
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_PREFIXES = ("orc_", "run_", "act_")
LOST = "its process was lost with its span"
"""What the first span of a trace says when it did not arrive."""
_EXPLAIN = "The record is whole all the same: python -m app runs explain {}"


class UnknownTraceError(NotFoundError):
    """Nothing that could have a trace goes by that id."""

    code = "unknown_trace"


class NotTracedError(NotFoundError):
    """It is there, and no span of it is."""

    code = "not_traced"


@dataclass(frozen=True, slots=True)
class Meant:
    """What an id means.

    Args:
        orchestrations: the ids of orchestrations; empty when it is a trace's.
        trace_ids: the ids of traces, where it is one's.
        pointed_at: of the run or action that was asked for, to be pointed out.
    """

    orchestrations: tuple[str, ...] = ()
    trace_ids: tuple[str, ...] = ()
    pointed_at: str = ""


@dataclass(frozen=True, slots=True)
class Traced:
    """What there is to show.

    Args:
        runs: the orchestrations, also those without a span.
        traces: by trace id, in the order of their beginnings; each trace's spans in order.
        messages: the same of the messages that carried them, if they were asked for.
        missing: by orchestration id: why there is no span of it.
        cut: whether there are more spans than were read.
    """

    runs: tuple[TracedRun, ...]
    traces: dict[str, list[StoredSpan]]
    messages: dict[str, list[StoredSpan]]
    missing: dict[str, str]
    pointed_at: str
    cut: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """For how long spans are kept, and what time it is."""

    hours: float
    now: datetime


def gather(reading: TraceReading, name: str, kept: Kept, *, messages: bool) -> Traced:
    """Everything about the trace or traces that ``name`` means.

    Raises:
        UnknownTraceError: nothing goes by that id, or more than one thing does.
        NotTracedError: no span of it was recorded, or none is left.
    """
    meant = find(reading, name)
    trace_ids = meant.trace_ids or _traces_of(reading, meant.orchestrations)
    spans = reading.spans.spans(trace_ids)
    cut = len(spans) == MOST_SPANS
    if meant.orchestrations:
        spans = _with_those_above(spans, frozenset(meant.orchestrations))
    named = meant.orchestrations or tuple({one.orchestration_id for one in spans if one.orchestration_id})
    runs = reading.runs(named)
    spans = (*_beginnings_that_were_lost(runs, spans), *spans)
    seen = {span.orchestration_id for span in spans}
    missing = {run.orchestration_id: _why_not(run, kept) for run in runs if run.orchestration_id not in seen}
    if not spans:
        raise _not_traced(name, missing)
    carried = reading.spans.spans(carriers(spans)) if messages else ()
    return Traced(runs, _by_trace(spans), _by_trace(carried), missing, meant.pointed_at, cut)


def find(reading: TraceReading, name: str) -> Meant:
    """What ``name`` means. Raises UnknownTraceError."""
    traceparent = _TRACEPARENT.fullmatch(name)
    if traceparent is not None:
        return Meant(trace_ids=(traceparent[1],))
    if not name.startswith(_PREFIXES):
        of_event = reading.of_event(name)
        if of_event:
            return Meant(of_event)
    if len(name.removeprefix(name[:4] if name.startswith(_PREFIXES) else "")) < SHORTEST_BEGINNING:
        _refuse_event_without_orchestration(reading, name)
        raise UnknownTraceError(
            f"{name!r} is too short for an id.", f"Give {SHORTEST_BEGINNING} characters or more of it."
        )
    found = list(_beginnings(reading, name))
    if len(found) > 1:
        ids = ", ".join(one for one, _ in found)
        raise UnknownTraceError(f"More than one id begins with {name!r}.", f"Such as {ids}.")
    if not found:
        _refuse_event_without_orchestration(reading, name)
        raise UnknownTraceError(
            f"Nothing goes by {name!r}.",
            "Give the id of an orchestration, an event, a run, an action or a trace: python -m app runs list",
        )
    return found[0][1]


def _beginnings(reading: TraceReading, name: str) -> Sequence[tuple[str, Meant]]:
    """Everything whose id begins so, up to a few, each with what it means."""
    prefixed = name if name.startswith(_PREFIXES) else f"orc_{name}"
    found = [
        (one, Meant((of,), pointed_at="" if one == of else one))
        for one, of in reading.beginning(prefixed).items()
    ]
    if not name.startswith(_PREFIXES):
        found += [(one, Meant(trace_ids=(one,))) for one in reading.spans.traces_that_begin(name)]
        found += [(one, Meant(reading.of_event(one))) for one in reading.events_that_begin(name)]
    return found


def _refuse_event_without_orchestration(reading: TraceReading, name: str) -> None:
    state = reading.event_state(name)
    if state:
        raise NotTracedError(
            f"Event {name!r} is {state}: it started no orchestration, and nothing of it was traced.",
            "Look at its line in the logs, and at the subscriptions of the tenant's workflows.",
        )


def _traces_of(reading: TraceReading, orchestrations: Sequence[str]) -> tuple[str, ...]:
    recorded = [run.trace_id for run in reading.runs(orchestrations) if run.is_recorded]
    return tuple(dict.fromkeys((*recorded, *reading.spans.traces_of(orchestrations))))


def _with_those_above(spans: Sequence[StoredSpan], orchestrations: frozenset[str]) -> tuple[StoredSpan, ...]:
    """The spans of these orchestrations, and those above them: a host's trace may hold other ones' as well."""
    by_id = {(span.trace_id, span.span_id): span for span in spans}
    kept: dict[tuple[str, str], StoredSpan] = {}
    for span in spans:
        above: StoredSpan | None = span if span.orchestration_id in orchestrations else None
        while above is not None and (above.trace_id, above.span_id) not in kept:
            kept[above.trace_id, above.span_id] = above
            above = by_id.get((above.trace_id, above.parent_span_id))
    return tuple(span for key, span in by_id.items() if key in kept)


def _beginnings_that_were_lost(
    runs: Sequence[TracedRun], spans: Sequence[StoredSpan]
) -> tuple[StoredSpan, ...]:
    """The first spans of those of which only later ones arrived, as their rows know them.

    A process that is killed takes with it the spans of its last second, also of what it had committed.
    """
    arrived = {(span.trace_id, span.span_id) for span in spans}
    begun = {(span.orchestration_id, span.trace_id) for span in spans}
    return tuple(
        _first_span(run, run.traceparent[36:52])
        for run in runs
        if (run.orchestration_id, run.trace_id) in begun and run.is_recorded and run.traceparent is not None
        if (run.trace_id, run.traceparent[36:52]) not in arrived
    )


def _first_span(run: TracedRun, span_id: str) -> StoredSpan:
    at_ns = int(run.created_at.timestamp() * 1e6) * 1000
    return StoredSpan(
        trace_id=run.trace_id,
        span_id=span_id,
        parent_span_id="",
        tenant_id=run.tenant_id,
        event_id=run.event_id,
        orchestration_id=run.orchestration_id,
        run_id="",
        name=naming.SPAN_RERUN if run.lane == "rerun" else naming.SPAN_INGESTION,
        service="",
        kind="internal",
        start_ns=at_ns,
        end_ns=at_ns,
        status="unset",
        status_text="",
        attributes={naming.WORKFLOW: run.workflow, naming.OUTCOME: LOST},
        links=(),
        events=(),
    )


def _by_trace(spans: Sequence[StoredSpan]) -> dict[str, list[StoredSpan]]:
    traces: dict[str, list[StoredSpan]] = {}
    for span in spans:
        traces.setdefault(span.trace_id, []).append(span)
    return traces


def _why_not(run: TracedRun, kept: Kept) -> str:
    if run.traceparent is None:
        return "it was accepted while telemetry was off (INTERLOCK_TELEMETRY)"
    if not run.is_recorded:
        return (
            "its trace was not chosen when it began: a share of new traces is recorded "
            "(INTERLOCK_TRACE_SAMPLE_RATIO), and so many a second (INTERLOCK_TRACES_PER_SECOND)"
        )
    if run.created_at < kept.now - timedelta(hours=kept.hours):
        return f"spans are kept for {kept.hours:g} hours (INTERLOCK_SPAN_RETENTION_HOURS), and these are gone"
    return (
        "none of its spans has arrived: they take a second or two, and are dropped while PostgreSQL is away "
        "(interlock_spans_dropped_total)"
    )


def _not_traced(name: str, missing: dict[str, str]) -> NotTracedError:
    if not missing:
        return NotTracedError(
            f"There is no span of {name!r}: its trace was never recorded, or its spans are gone.",
            "Find the orchestration, and read its record: python -m app runs list, runs explain ID",
        )
    which, why = next(iter(missing.items()))
    others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
    return NotTracedError(f"There is no span of {which}{others}: {why}.", _EXPLAIN.format(which))
