"""What was measured, as tables for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from tests.faults.matrix import MatrixReport
from tests.faults.one_by_one import OneByOneReport
from tests.faults.planted import Seen
from tests.faults.recovery import Recovery
from tests.faults.storm import StormReport
from tests.faults.verdict import Verdict


def show_matrix(console: Console, report: MatrixReport) -> None:
    """Crashes, recoveries and the checker's verdict."""
    hit = sum(crash.strike is not None for crash in report.crashes)
    console.print(f"[bold]Matrix[/]: {hit} of {len(report.crashes)} crashes hit")
    show_recoveries(console, report.recoveries)
    show_verdict(console, report.verdict)
    _show_failures(console, report.failures)


def show_storm(console: Console, report: StormReport) -> None:
    """Faults by kind, recoveries and the checker's verdict."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(report.by_kind.items()))
    console.print(
        f"[bold]Storm[/]: {report.plan.workflows} workflows under {len(report.faults)} faults"
        f" (seed {report.plan.seed}, {len(report.missed)} missed) in {report.seconds:.0f} s: {kinds}"
    )
    show_recoveries(console, report.recoveries)
    show_verdict(console, report.verdict)
    _show_failures(console, report.failures)


def show_one_by_one(console: Console, report: OneByOneReport) -> None:
    """How many kinds hit, recoveries and the checker's verdict."""
    console.print(f"[bold]One by one[/]: {len(report.struck)} faults hit, {len(report.missed)} never did")
    show_recoveries(console, report.recoveries)
    show_verdict(console, report.verdict)
    _show_failures(console, report.failures)


def show_planted(console: Console, seen: Sequence[Seen]) -> None:
    """Each bug and what the checker saw of it."""
    table = Table("planted bug", "what it is", "met", "seen as", title="What the checker sees")
    for one in seen:
        kinds = ", ".join(f"{kind} ({count})" for kind, count in sorted(one.violations.items())) or "nothing"
        table.add_row(one.bug, one.what, str(one.met), kinds if one.is_seen else f"[red]{kinds}[/]")
    console.print(table)


def show_recoveries(console: Console, recoveries: Sequence[Recovery]) -> None:
    """p50, p95 and the longest, by kind of fault."""
    table = Table("recovery from", "count", "p50", "p95", "longest", "limit of p95")
    for one in recoveries:
        limit = f"{one.limit:g} s" if one.limit is not None else "-"
        p95 = f"{one.p95:.1f} s" if one.is_within else f"[red]{one.p95:.1f} s[/]"
        table.add_row(one.group, str(one.count), f"{one.p50:.1f} s", p95, f"{one.longest:.1f} s", limit)
    console.print(table)


def show_verdict(console: Console, verdict: Verdict) -> None:
    """Each promise, how often it was broken, and what a zero shows (rule of three, 95 %)."""
    table = Table("promise broken", "count", "of", "true rate below")
    for figure in verdict.figures:
        bound = f"{100 * figure.bound:.2g} %" if figure.bound is not None else "-"
        count = str(figure.count) if figure.count == 0 else f"[red]{figure.count}[/]"
        table.add_row(figure.kind.replace("_", " "), count, str(figure.cases), bound)
    console.print(table)
    console.print(", ".join(f"{count} {name}" for name, count in verdict.counts.items()))
    for doubt in verdict.false_doubts[:10]:
        console.print(f"Known and in doubt: {doubt}", highlight=False)
    for violation in verdict.violations[:20]:
        console.print(f"[red]{violation.kind}[/] {violation.subject}: {violation.detail}", highlight=False)


def _show_failures(console: Console, failures: Sequence[str]) -> None:
    for failure in failures:
        console.print(f"[red]Failed:[/] {failure}", highlight=False)
