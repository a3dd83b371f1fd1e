"""How a trace is shown: as a waterfall for people, as its spans for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from rich.console import Console
from rich.text import Text

from app.adapters.postgresql.reading_traces import TracedRun
from app.adapters.postgresql.spans import MOST_SPANS
from app.cli.trace import Traced
from app.kernel.clock import to_text
from app.telemetry import naming
from app.telemetry.stored_spans import StoredSpan
from app.telemetry.waterfall import Line, Waterfall, waterfall

SHOWN_OF_AN_ID = 16
_NAME, _TIME = 40, 8
"""Columns of a span's name, and of each of its two times."""
_NARROWEST_BAR = 10


def as_json(traced: Traced) -> dict[str, object]:
    """The spans as they are stored, by trace, and what has none."""
    return {
        "runs": [_run(run) for run in traced.runs],
        "traces": [_trace(key, spans) for key, spans in traced.traces.items()],
        "messages": [_trace(key, spans) for key, spans in traced.messages.items()],
        "missing": traced.missing,
        "cut": traced.cut,
    }


def print_traced(console: Console, traced: Traced) -> None:
    """Every trace, the messages that carried it, and what is missing."""
    everything = [span for spans in (*traced.traces.values(), *traced.messages.values()) for span in spans]
    for number, (key, spans) in enumerate(traced.traces.items()):
        if number:
            console.print()
        found = waterfall(key, spans, everything)
        own = {span.orchestration_id for span in spans}
        _print_head(console, found, [run for run in traced.runs if run.orchestration_id in own])
        _print_lines(console, found, found, traced.pointed_at)
    if traced.messages:
        first = min(span.start_ns for spans in traced.traces.values() for span in spans)
        last = max(span.end_ns for spans in traced.traces.values() for span in spans)
        console.print("\n[bold]Messages that carried it[/], each a trace of its own")
        for key, spans in traced.messages.items():
            _print_lines(console, waterfall(key, spans, everything), Waterfall("", first, last, ()), "")
    for which, why in traced.missing.items():
        _say(console, f"\nThere is no span of {which}: {why}.")
    if traced.cut:
        _say(
            console,
            f"\nOnly the first {MOST_SPANS:,} spans are shown: ask for one of its orchestrations.",
        )
    if len(traced.runs) == 1:
        _say(console, f"\nWhy: python -m app runs explain {traced.runs[0].orchestration_id[:SHOWN_OF_AN_ID]}")


def _run(run: TracedRun) -> dict[str, object]:
    return {**asdict(run), "created_at": to_text(run.created_at)}


def _trace(trace_id: str, spans: Sequence[StoredSpan]) -> dict[str, object]:
    return {"trace_id": trace_id, "spans": [asdict(span) for span in spans]}


def _print_head(console: Console, found: Waterfall, runs: Sequence[TracedRun]) -> None:
    took = duration(found.end_ns - found.start_ns)
    console.print(f"[bold]trace {found.trace_id}[/]  {len(found.lines)} spans, {took}", soft_wrap=True)
    for run in runs:
        lane = "" if run.lane == "live" else f" ({run.lane})"
        text = f"{run.orchestration_id}{lane} {run.workflow}, {run.status}; event {run.event_id}"
        _say(console, text)


def _print_lines(console: Console, found: Waterfall, scale: Waterfall, pointed_at: str) -> None:
    width = max(_NARROWEST_BAR, console.width - _NAME - 2 * (_TIME + 1) - 34)
    for line in found.lines:
        console.print(_line(line, scale, width, pointed_at), soft_wrap=True)
        indent = "  " * line.depth
        for remark in line.remarks:
            console.print(Text(f"{indent}    {_printable(remark)}", style="dim"), soft_wrap=True)
        if line.orphan and line.span.tenant_id:
            above = f"{indent}    ⌃ below span {line.span.parent_span_id}, which is a sender's, or gone"
            console.print(Text(above, style="dim"), soft_wrap=True)


def _line(line: Line, scale: Waterfall, width: int, pointed_at: str) -> Text:
    span = line.span
    is_asked_for = pointed_at != "" and pointed_at in (span.run_id, span.attributes.get(naming.ACTION_ID))
    name = "  " * line.depth + _printable(span.name)
    name = name if len(name) <= _NAME else name[: _NAME - 1] + "…"
    style = "red" if line.failed else "dim" if line.waited else ""
    text = Text(f"{name:<{_NAME}}", style=f"bold {style}".strip() if is_asked_for else style)
    text.append(
        f" {duration(span.start_ns - scale.start_ns):>{_TIME}} {duration(line.duration_ns):>{_TIME}} "
    )
    text.append(bar(line, scale, width), style=style or "cyan")
    text.append(f" {_printable(line.words)}".rstrip(), style="red" if line.failed else "")
    return text


def bar(line: Line, scale: Waterfall, width: int) -> str:
    """Where in the whole a span was, in ``width`` characters; a wait is lighter than work."""
    whole = max(1, scale.end_ns - scale.start_ns)
    begins = min(width - 1, max(0, (line.span.start_ns - scale.start_ns) * width // whole))
    ends = min(width, max(begins + 1, -(-(line.span.end_ns - scale.start_ns) * width // whole)))
    return " " * begins + ("░" if line.waited else "█") * (ends - begins) + " " * (width - ends)


def duration(nanoseconds: int) -> str:
    """A length of time in at most eight characters."""
    if nanoseconds < 0:
        return "-" + duration(-nanoseconds)
    for unit, size in (("µs", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)):
        # From 999.5 on, three digits are written 1e+03.
        if nanoseconds < (59.95 if unit == "s" else 999.5) * size:
            return f"{nanoseconds / size:.3g} {unit}" if nanoseconds else "0"
    return " ".join(_parts(nanoseconds // 1_000_000_000))


def _parts(seconds: int) -> Iterator[str]:
    """The two largest units."""
    units = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
    first = next(place for place, (_, size) in enumerate(units) if seconds >= size)
    for unit, size in units[first : first + 2]:
        yield f"{seconds // size}{unit}"
        seconds %= size


def _say(console: Console, text: str) -> None:
    console.print("\n" * text.startswith("\n") + _printable(text.lstrip("\n")), soft_wrap=True, markup=False)


def _printable(text: str) -> str:
    """Without what a terminal would obey: names and ids of events come from outside."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)
