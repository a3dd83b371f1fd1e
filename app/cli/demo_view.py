"""What the demo shows: bars while it runs, the result and the commands to look further at its end."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from app.adapters.postgresql.reading import Counts, RunView
from app.cli.demo_result import Disagreement, Shown
from app.cli.webhook_feed import Answers
from app.data_plane.replay.explain import decision_of
from interlock.canonical import JsonObject

ID_LENGTH = 16
LONGEST_VALUE = 32
"""Characters of a decision's field that are shown; of longer texts only the length is told."""
WIDE = 120
"""Columns from which a decision stands on the line of its run."""
SHOWN_DISAGREEMENTS = 6
_TO_ANSWER = {"awaiting_approval": "approvals list", "in_review": "reviews list"}


class Bars:
    """Three bars: webhooks answered, orchestrations closed, effects confirmed."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._sent = progress.add_task("Webhooks answered", total=None)
        self._closed = progress.add_task("Orchestrations closed", total=None)
        self._confirmed = progress.add_task("Effects confirmed", total=None)

    def update(self, answers: Answers, counts: Counts) -> None:
        """Show the newest numbers."""
        every, open_ones = sum(counts.orchestrations.values()), counts.open_orchestrations
        confirmed = counts.actions.get("confirmed", 0)
        # What waits for a person comes to no end by itself, and so the bars do not wait for it.
        unsent = sum(counts.actions.get(state, 0) for state in ("denied", "awaiting_approval"))
        effects = sum(counts.actions.values()) - unsent
        self._progress.update(self._sent, total=answers.total, completed=answers.answered)
        ends = every - counts.waiting_for_people
        self._progress.update(self._closed, total=ends or None, completed=every - open_ones)
        self._progress.update(self._confirmed, total=effects or None, completed=confirmed)


@contextmanager
def progress(console: Console) -> Iterator[Bars]:
    """The bars, for as long as the block lasts."""
    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=console.quiet) as shown:
        yield Bars(shown)


def show(console: Console, shown: Shown, home: Path) -> None:
    """The result, and how to go on from here."""
    _show_numbers(console, shown)
    _show_approvals(console, shown)
    _title(console, "Some decisions, and why")
    for view in shown.some:
        _show_decision(console, view)
    _show_disagreements(console, shown)
    _title(console, "Decided by the releases")
    for workflow, digest in shown.releases.items():
        console.print(f"  {workflow:<15} {digest[:ID_LENGTH]}")
    phases = shown.phases
    console.print(
        f"\nDone in {shown.seconds:g} s: started in {phases.starting:.1f} s, webhooks to effects in"
        f" {phases.events:.1f} s, stopped in {phases.stopping:.1f} s.",
        soft_wrap=True,
    )
    console.print("Every process that was started has ended.")
    console.print("The data stays until the next demo. To look further:\n")
    example = shown.some[0].row.orchestration_id if shown.some else None
    approved = shown.approvals[0].action_id if shown.approvals else None
    for line in next_commands(home, example, shown.orchestrations, approved):
        console.print(f"  {line}", soft_wrap=True, markup=False)


def next_commands(
    home: Path, example: str | None, states: Mapping[str, int] = {}, approved: str | None = None
) -> tuple[str, ...]:
    """Command lines that work as they are, pasted where the demo was run.

    Args:
        states: how many orchestrations there are of each; of those that wait for a person it is told how to answer.
        approved: an action that a person consented to.
    """
    begin = f"INTERLOCK_HOME={shlex.quote(_from_here(home))} {shlex.quote(_from_here(Path(sys.executable)))}"
    rest = ["runs list"]
    rest += [f"runs explain {example}", f"runs trace {example}"] if example is not None else []
    rest += [f"approvals show {approved}"] if approved is not None else []
    rest += [command for state, command in _TO_ANSWER.items() if states.get(state)]
    return tuple(f"{begin} -m app {command}" for command in (*rest, "runs verify --all", "releases list"))


def _from_here(path: Path) -> str:
    """Relative where it is below the working folder; a link (the environment's Python) stays one."""
    here = Path.cwd()
    whole = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow the link out of the environment
    return str(whole.relative_to(here)) if whole.is_relative_to(here) else str(whole)


def _title(console: Console, text: str) -> None:
    console.print(Text(f"\n{text}", style="bold"))


def _show_numbers(console: Console, shown: Shown) -> None:
    _title(console, "The main job")
    table = Table(Column(), Column(justify="right"), box=None, show_header=False, padding=(0, 2))
    table.add_row("events accepted", str(shown.events))
    table.add_row("  of these unrouted (no workflow subscribes)", str(shown.unrouted))
    table.add_row("duplicates, answered and not done again", str(shown.duplicates))
    for state, count in shown.orchestrations.items():
        table.add_row(f"orchestrations {state}", str(count))
    table.add_row("decisions", str(shown.decisions))
    for state, count in shown.actions.items():
        table.add_row(f"actions {state}", str(count))
    for name in ("received", "applied", "repeated"):
        table.add_row(f"effects {name} by the sink", str(shown.sink.get(name, 0)))
    console.print(table)


def _show_approvals(console: Console, shown: Shown) -> None:
    if not shown.approvals:
        return
    _title(console, "Waited for a person's consent, and has it")
    for one in shown.approvals:
        line = Text(f"  {one.orchestration_id[:ID_LENGTH]}  {one.name}: {one.tool} at {one.target}")
        console.print(line.append(f", approved by {one.actor}", style="dim"))


def _show_decision(console: Console, view: RunView) -> None:
    made = decision_of(view.record)
    event = view.row.event_type.removeprefix("com.github.")
    head = f"  {view.row.orchestration_id[:ID_LENGTH]}  {view.row.workflow:<15} {event}"
    decision = Text(_compact(made.fields), style="bold")
    if console.width >= WIDE:
        console.print(Text(f"{head:<64}  ").append_text(decision), overflow="ellipsis", no_wrap=True)
    else:
        console.print(Text(head, style="cyan"), overflow="ellipsis", no_wrap=True)
        console.print(Padding(decision, (0, 0, 0, 4)))
    console.print(Padding(Text(made.reason, style="dim"), (0, 0, 0, 4)))


def _compact(fields: JsonObject) -> str:
    """The short fields; of a text only how long it is."""
    told = {name: str(value) for name, value in fields.items() if value not in ("", None)}
    return ", ".join(
        f"{name}: {value}" if len(value) <= LONGEST_VALUE else f"{name} of {len(value)} characters"
        for name, value in sorted(told.items(), key=lambda item: len(item[1]) > LONGEST_VALUE)
    )


def _show_disagreements(console: Console, shown: Shown) -> None:
    many = len({item.orchestration_id for item in shown.disagreements})
    _title(console, f"Agents disagreed in {many} of {shown.decisions} decisions (the side in bold won)")
    for item in shown.disagreements[:SHOWN_DISAGREEMENTS]:
        console.print(Text(f"  {item.orchestration_id[:ID_LENGTH]}  stage {item.stage}"))
        console.print(Padding(_sides(item), (0, 0, 0, 4)))
    if len(shown.disagreements) > SHOWN_DISAGREEMENTS:
        console.print(f"  and {len(shown.disagreements) - SHOWN_DISAGREEMENTS} more stages")


def _sides(item: Disagreement) -> Text:
    """The winner's side first, bold."""
    line = Text()
    for number, (side, agents) in enumerate(item.sides.items()):
        line.append("; " if number else "")
        line.append(side, style="" if number else "bold")
        line.append(f" ({', '.join(agents)})", style="dim")
    return line
