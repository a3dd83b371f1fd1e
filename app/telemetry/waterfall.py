"""A trace as a waterfall: its spans in order below their parents, and what each says in a few words.

It takes whatever was recorded: spans whose parents are gone, spans that were written twice, links that lead nowhere.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.telemetry import naming
from app.telemetry.stored_spans import StoredLink, StoredSpan

_WORDS: tuple[tuple[str, str], ...] = (
    (naming.WORKFLOW, "{}"),
    (naming.GEN_AI_PROVIDER, "{}"),
    (naming.STAGE, "stage {}"),
    (naming.RULE, "by {}"),
    (naming.ACTION_TOOL, "{}"),
    (naming.TARGET, "at {}"),
    (naming.ATTEMPT, "attempt {}"),
    (naming.HTTP_STATUS, "HTTP {}"),
    (naming.EFFECT, "{}"),
    (naming.OUTCOME, "{}"),
    (naming.BATCH_SIZE, "{} steps"),
)
"""What a span says of itself, in this order; its name says the rest."""

_FORMER = {
    "retry": "again after {}:",
    "lapse": "again after {}, which nobody heard of again:",
    "resume": "resumed by a person after {}, which gave up:",
}
_OTHERS = {
    "replay": "replay of",
    "continues": "goes on after a wait, with",
    "redelivery": "delivered again, first as",
    "carries": "carried",
}
CARRIED_BY = "carried_by"


@dataclass(frozen=True, slots=True)
class Line:
    """One span in its place.

    Args:
        depth: how many spans above it are shown.
        orphan: it had a parent, which is not there.
        offset_ns: from the trace's beginning.
        words: what it says, besides its name.
        remarks: what it is linked with, and what happened in it; a line each.
    """

    span: StoredSpan
    depth: int
    orphan: bool
    offset_ns: int
    words: str
    remarks: tuple[str, ...]

    @property
    def duration_ns(self) -> int:
        """How long it took."""
        return max(0, self.span.end_ns - self.span.start_ns)

    @property
    def failed(self) -> bool:
        """Whether it ended with an error."""
        return self.span.status == "error"

    @property
    def waited(self) -> bool:
        """Whether it is a wait for somebody, in which nothing was done."""
        return self.span.name.split(" ")[0].endswith("_wait")


@dataclass(frozen=True, slots=True)
class Waterfall:
    """One trace. Times are nanoseconds since the epoch."""

    trace_id: str
    start_ns: int
    end_ns: int
    lines: tuple[Line, ...]


def waterfall(trace_id: str, spans: Iterable[StoredSpan], known: Sequence[StoredSpan] = ()) -> Waterfall:
    """The waterfall of one trace's spans, of which there is at least one.

    Args:
        known: other spans that links may lead to.
    """
    unique = {span.span_id: span for span in spans}
    ordered = sorted(unique.values(), key=lambda span: (span.start_ns, -span.end_ns, span.span_id))
    start = ordered[0].start_ns
    found = {(span.trace_id, span.span_id): span for span in (*known, *ordered)}
    lines = tuple(
        Line(
            span,
            depth,
            orphan=depth == 0 and span.parent_span_id != "",
            offset_ns=span.start_ns - start,
            words=_words(span.attributes),
            remarks=(*_linked(span, found), *_happened(span)),
        )
        for span, depth in _in_order(ordered, unique)
    )
    return Waterfall(trace_id, start, max(span.end_ns for span in ordered), lines)


def carriers(spans: Iterable[StoredSpan]) -> tuple[str, ...]:
    """The traces of the messages that carried these spans' work, in the order of the spans."""
    named = (link.trace_id for span in spans for link in span.links if _kind(link) == CARRIED_BY)
    return tuple(dict.fromkeys(named))


def _in_order(
    ordered: Sequence[StoredSpan], unique: Mapping[str, StoredSpan]
) -> Iterable[tuple[StoredSpan, int]]:
    """Parents before their children; spans that are each other's parents come last, as if they had none."""
    below: defaultdict[str, list[StoredSpan]] = defaultdict(list)
    for span in ordered:
        below[span.parent_span_id if span.parent_span_id in unique else ""].append(span)
    seen: set[str] = set()
    for root in (*below[""], *ordered):
        waiting = [(root, 0)]
        while waiting:
            span, depth = waiting.pop()
            if span.span_id in seen:
                continue
            seen.add(span.span_id)
            yield span, depth
            waiting += [(child, depth + 1) for child in reversed(below[span.span_id])]


def _words(attributes: Mapping[str, object]) -> str:
    said = [form.format(attributes[name]) for name, form in _WORDS if attributes.get(name) not in (None, "")]
    tokens = [attributes.get(name) for name in (naming.GEN_AI_INPUT_TOKENS, naming.GEN_AI_OUTPUT_TOKENS)]
    if any(tokens):
        said.append("{}+{} tokens".format(*(count or 0 for count in tokens)))
    if attributes.get(naming.DEGRADED) is True:
        said.append("degraded")
    if naming.ERROR_TYPE in attributes:
        said.append(f"error: {attributes[naming.ERROR_TYPE]}")
    return ", ".join(said)


def _linked(span: StoredSpan, found: Mapping[tuple[str, str], StoredSpan]) -> Iterable[str]:
    carried = sum(_kind(link) == "carries" for link in span.links)
    if carried:
        yield f"↪ carried steps of {carried} recorded orchestration{'s' if carried > 1 else ''}"
    for link in span.links:
        kind, target = _kind(link), found.get((link.trace_id, link.span_id))
        if kind in _FORMER:
            attempt = span.attributes.get(naming.ATTEMPT)
            before = (
                f"attempt {attempt - 1}" if isinstance(attempt, int) and attempt > 1 else "the one before"
            )
            if kind == "lapse" and target is None:
                yield f"↪ {before} (left no span: its worker was lost)"
            else:
                yield f"↪ {_FORMER[kind].format(before)}{_where(link, target)}"
        elif kind not in (CARRIED_BY, "carries"):
            yield f"↪ {_OTHERS.get(kind, 'linked with')}{_where(link, target)}"


def _where(link: StoredLink, target: StoredSpan | None) -> str:
    if target is None:
        return f" span {link.span_id} of trace {link.trace_id[:16]} (not recorded, or gone)"
    whose = f" of {target.orchestration_id[:16]}" if target.orchestration_id else ""
    return f" {target.name}{whose}"


def _happened(span: StoredSpan) -> Iterable[str]:
    for event in span.events:
        told = ", ".join(
            f"{name.rpartition('.')[2]} {value}" for name, value in event.attributes.items() if value != ""
        )
        yield f"· {event.name}{': ' if told else ''}{told}"


def _kind(link: StoredLink) -> str:
    return str(link.attributes.get(naming.LINK, ""))
