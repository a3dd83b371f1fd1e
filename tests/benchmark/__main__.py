"""``make bench``: what Interlock costs beside a bare Celery canvas, measured in one run on this machine."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table

from tests.benchmark import (
    bare_peer,
    gateway,
    memory,
    parsing,
    record,
    redaction,
    reference_workflow,
    second_worker,
    straggler,
    telemetry,
    waiting,
)
from tests.benchmark.running import service

console = Console()


@dataclass(frozen=True)
class Figure:
    """One measured line of the report."""

    name: str
    value: str
    note: str


def speed(count: int) -> list[Figure]:
    """Workflows per second of the reference workflow and of its peer."""
    peer = bare_peer.best(max(100, count // 8))
    with service() as running:
        reference_workflow.saturate(running, 200, "warm")
        idle = reference_workflow.trickle(running, 30, "idle")
        ours = reference_workflow.saturate(running, count, "load")
    return [
        Figure("bare canvas, best pool", f"{peer.per_second:.0f}/s", f"{peer.name}; {peer.tried}"),
        Figure(
            "reference workflow", f"{ours.per_second:.0f}/s", f"{count} workflows in {ours.seconds:.1f} s"
        ),
        Figure("times the bare canvas", f"{ours.per_second / peer.per_second:.1f}", "aim: 10; never below 1"),
        Figure("latency, idle", _latency(idle), "one at a time, from acceptance to end"),
        Figure("latency, saturated", _latency(ours), "all at once, so mostly queueing"),
    ]


def _latency(seen: reference_workflow.Throughput) -> str:
    return f"p50 {seen.p50_ms:.0f} ms, p99 {seen.p99_ms:.0f} ms"


def stragglers(_count: int) -> list[Figure]:
    """A batch of 64 with one run of 3 s."""
    seen = straggler.measure()
    note = "the others' effects, after the first acceptance; the straggler's own follows"
    return [
        Figure("63 beside a straggler of 3 s", f"{seen.others_seconds:.2f} s", note),
        Figure("the straggler itself", f"{seen.straggler_seconds:.2f} s", ""),
    ]


def scaling(_count: int) -> list[Figure]:
    """A second agent_runs worker beside the first."""
    seen = second_worker.measure()
    return [
        Figure("agents that wait 1 s, one worker", f"{seen.alone_per_second:.0f} runs/s", ""),
        Figure(
            "with a second worker",
            f"{seen.together_per_second:.0f} runs/s",
            f"{seen.ratio:.2f} times; aim: 1.7",
        ),
        Figure("dispatch p95", _dispatch(seen), "from decision to receipt"),
    ]


def _dispatch(seen: second_worker.Scaling) -> str:
    return f"{seen.dispatch_alone_ms:.0f} ms, then {seen.dispatch_together_ms:.0f} ms"


def waits(_count: int) -> list[Figure]:
    """A thousand runs whose model takes a second, on one agent_runs process."""
    seen = waiting.measure()
    beyond = seen.seconds - seen.ideal_seconds
    return [
        Figure(
            f"{seen.runs} model calls of 1 s, one process",
            f"{seen.seconds:.1f} s",
            f"{beyond:.1f} s beyond the ideal of {seen.ideal_seconds:.0f} s; aim: within 8",
        ),
        Figure("calls in flight at once", f"{seen.most_at_once}", "as the model's server saw it; aim: 200"),
        Figure("that process, at its largest", f"{seen.memory_mb:.0f} MB PSS", "aim: below 250"),
    ]


def sizes(_count: int) -> list[Figure]:
    """Memory of an idle `up`."""
    seen = memory.measure()
    return [
        Figure(
            "idle worker, largest",
            f"{seen.largest_worker_mb:.0f} MB PSS",
            f"{seen.largest_worker}; aim: below 120",
        ),
        Figure(
            "idle up, whole", f"{seen.whole_mb:.0f} MB PSS", f"{seen.processes} processes; aim: below 900"
        ),
    ]


def records(count: int) -> list[Figure]:
    """Verifying, anchoring and archiving; 42 facts to an orchestration (`--count 24000` makes a million)."""
    seen = record.measure(count)
    return [
        Figure("audit verify", f"{seen.facts / seen.verifying:,.0f} facts/s", f"{seen.facts:,} facts"),
        Figure("one look for anchors, idle", f"{seen.idle_look * 1000:.0f} ms", "every 5 s"),
        Figure("one look after 100 workflows", f"{seen.busy_look * 1000:.0f} ms", ""),
        Figure("the first look ever", f"{seen.first_look:.1f} s", "reads every chain"),
        Figure("retention", f"{seen.removed / seen.removing:.0f} orchestrations/s", "archived and removed"),
    ]


def readings(_count: int) -> list[Figure]:
    """Reading answers of models: long ones, and hostile ones."""
    figures = [
        Figure(
            f"1 MB {seen.name}",
            f"{seen.seconds:.2f} s",
            f"{seen.seconds / seen.characters * 1e9:.0f} ns/character",
        )
        for seen in parsing.long_readings()
    ]
    for size, every in zip(parsing.HOSTILE, (1, 3), strict=True):
        seen = parsing.hostile_readings(size, every)
        slowest, largest = max(seen, key=lambda one: one.seconds), max(seen, key=lambda one: one.megabytes)
        note = f"{len(seen)} answers; slowest: {slowest.name}; aim: below 2 s and 200 MB"
        value = f"{slowest.seconds:.2f} s, {largest.megabytes} MB"
        figures.append(Figure(f"hostile, {size / 1e6:g} MB, worst", value, note))
    return figures


def verdicts(_count: int) -> list[Figure]:
    """Verdicts of the gateway, beside a bare evaluation by Cedar."""
    bare, *seen = gateway.costs()
    return [
        Figure(bare.name, f"{bare.microseconds:.0f} µs", "the policies parsed before"),
        *(
            Figure(
                f"verdict, {one.name}",
                f"{one.microseconds:.0f} µs",
                f"{one.microseconds / bare.microseconds:.2f} times the bare one; aim: below 250 µs",
            )
            for one in seen
        ),
    ]


def telling(count: int) -> list[Figure]:
    """Throughput with telemetry and without."""
    seen = telemetry.measure(max(300, count // 2))
    spans = f"{seen.spans:,} spans were kept of {seen.workflows:,} workflows"
    return [
        Figure("without telemetry", _each(seen.off), ""),
        Figure("with telemetry", _each(seen.on), spans),
        Figure("what it takes of the throughput", f"{seen.share:.0%}", "by the medians; aim: at most 15 %"),
    ]


def _each(speeds: tuple[float, ...]) -> str:
    return ", ".join(f"{speed:.0f}/s" for speed in speeds)


def redactions(_count: int) -> list[Figure]:
    """Redaction of lines, text and values."""
    return [Figure(one.name, f"{one.microseconds:,.1f} µs", one.aim) for one in redaction.costs()]


PARTS: dict[str, Callable[[int], list[Figure]]] = {
    "speed": speed,
    "stragglers": stragglers,
    "scaling": scaling,
    "waiting": waits,
    "memory": sizes,
    "record": records,
    "parsing": readings,
    "gateway": verdicts,
    "telemetry": telling,
    "redaction": redactions,
}


def main() -> None:
    """Run the parts and print what was seen."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"some of {', '.join(PARTS)}; without any, all")
    parser.add_argument("--count", type=int, default=3000, help="workflows of the speed part")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    if unknown := set(chosen.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    figures: list[Figure] = []
    for name in chosen.parts or PARTS:
        console.log(f"measuring {name}")
        figures += PARTS[name](chosen.count)
    if chosen.json:
        print(json.dumps([asdict(figure) for figure in figures]))
        return
    table = Table("figure", "value", "note", title=f"{os.cpu_count()} cores, all in one run")
    for figure in figures:
        table.add_row(figure.name, figure.value, figure.note)
    console.print(table)


if __name__ == "__main__":
    main()
