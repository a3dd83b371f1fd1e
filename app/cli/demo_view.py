"""What the demo shows: bars while it runs, tables and the commands to look further at its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from app.adapters.postgresql.reading import Counts, RunView
from app.cli.webhook_feed import Answers
from app.data_plane.replay.explain import decision_of

ID_LENGTH = 16


@dataclass(slots=True)
class Shown:
    """The demo's result. ``events`` are the distinct ones, those that nobody subscribes to among them."""

    events: int
    duplicates: int
    unrouted: int
    orchestrations: Mapping[str, int]
    decisions: int
    actions: Mapping[str, int]
    sink: Mapping[str, int]
    releases: Mapping[str, str]
    some: tuple[RunView, ...]
    seconds: float = 0.0

    def as_json(self) -> dict[str, object]:
        """The object that ``--json`` prints."""
        return {name: value for name, value in asdict(self).items() if name != "some"}


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
        confirmed, denied = counts.actions.get("confirmed", 0), counts.actions.get("denied", 0)
        effects = sum(counts.actions.values()) - denied
        self._progress.update(self._sent, total=answers.total, completed=answers.answered)
        self._progress.update(self._closed, total=every or None, completed=every - open_ones)
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


def show(console: Console, shown: Shown, kept: Path | None) -> None:
    """The tables, and how to go on from here."""
    console.print(_numbers(shown))
    console.print(_decisions(shown.some))
    console.print(_releases(shown))
    console.print(f"Done in {shown.seconds:g} s. Every process that was started has ended.")
    example = shown.some[0].row.orchestration_id if shown.some else "ID"
    if kept is None:
        console.print(
            "The data is gone with its folder. To look further, run [bold]python -m app demo --keep[/], "
            "which says how to open it."
        )
        return
    console.print(f"\nThe data is kept in {kept}. To look further:", soft_wrap=True)
    for line in (
        f"export INTERLOCK_HOME={kept}",
        "python -m app up --detach --no-flower",
        "python -m app runs list",
        f"python -m app runs explain {example}",
        "python -m app runs verify --all",
        "python -m app down",
    ):
        console.print(f"  {line}", soft_wrap=True)


def _numbers(shown: Shown) -> Table:
    table = Table("what", "number", title="The main job", title_justify="left")
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
    return table


def _decisions(views: tuple[RunView, ...]) -> Table:
    table = Table(
        "run", "workflow", "event", "decision and reason", title="Some decisions", title_justify="left"
    )
    for view in views:
        made = decision_of(view.record)
        fields = ", ".join(f"{name}: {value}" for name, value in made.fields.items() if value != "")[:120]
        table.add_row(
            view.row.orchestration_id[:ID_LENGTH],
            view.row.workflow,
            view.row.event_type.removeprefix("com.github."),
            f"[bold]{escape(fields)}[/]\n{escape(made.reason[:240])}",
        )
    return table


def _releases(shown: Shown) -> Table:
    table = Table("workflow", "release", title="Decided by", title_justify="left")
    for workflow, digest in shown.releases.items():
        table.add_row(workflow, digest[:16])
    return table
