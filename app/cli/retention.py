"""``python -m app retention``: closed orchestrations are archived and removed, a batch at a time."""

from __future__ import annotations

import json as json_text
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.adapters.anchor_file import AnchorFolder
from app.adapters.archive_file import ArchiveFolder
from app.adapters.postgresql.reading import Reading
from app.adapters.postgresql.retention import PostgresqlClosed
from app.cli.database_at_hand import database_at_hand
from app.data_plane.retention.retention import Cut, Retained, Retention
from app.kernel.clock import SystemClock, to_text
from app.kernel.errors import PermanentError
from config import settings

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LONGEST_SECONDS = 100 * 366 * _UNITS["d"]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Folder = typer.Option(file_okay=False, show_default=False)


class InvalidAgeError(PermanentError):
    """An age that cannot be understood."""

    code = "invalid_age"


def retention(
    older_than: Annotated[str, typer.Option(help="How long ago they were closed: 30d, 12h, 6w.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be removed.")] = False,
    archive: Annotated[
        Path | None, typer.Option(help="Where archives go; else the run folder's own.", file_okay=False)
    ] = None,
    anchors: Annotated[
        Path | None,
        typer.Option(help="The folder of the service's anchors, if not its own.", file_okay=False),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, max=5000, help="Orchestrations in one transaction.")] = 500,
    open_dead_letters: Annotated[
        bool, typer.Option("--open-dead-letters", help="Also those with a dead letter that is still open.")
    ] = False,
    json: Json = False,
) -> None:
    """Archive and remove closed orchestrations, with everything of them but their events. What is open stays."""
    seconds = age_in_seconds(older_than)
    chosen = settings.load()
    archives = ArchiveFolder(archive or chosen.archive, SystemClock())
    written = AnchorFolder(anchors or chosen.anchors)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True, quiet=json)
    with database_at_hand("interlock_retention") as database:
        tenants = Reading(database).tenants()
        closed = PostgresqlClosed(database, tenants)
        cut = Cut(closed.before(seconds), open_dead_letters)
        with Progress(*columns, console=console, disable=json, transient=True) as bar:
            task = bar.add_task("Orchestrations", total=closed.count(cut) if tenants else 0)
            work = Retention(closed, archives, written, SystemClock(), lambda count: bar.advance(task, count))
            do: Callable[..., Retained] = work.count if dry_run else work.remove
            done = do(cut, size=batch) if tenants else Retained()
    if json:
        print(json_text.dumps(_as_json(done, cut, archives.folder, dry_run=dry_run)))
    else:
        _print(done, cut, archives.folder, dry_run=dry_run)
    if done.faults:
        raise typer.Exit(1)


def age_in_seconds(text: str) -> int:
    """``30d`` and the like. Raises InvalidAgeError."""
    found = re.fullmatch(r"(\d{1,10})([smhdw])", text.strip())
    seconds = int(found[1]) * _UNITS[found[2]] if found is not None else _LONGEST_SECONDS + 1
    if seconds > _LONGEST_SECONDS:
        raise InvalidAgeError(
            f"{text!r} is no age.", "Write a number and a unit: 30d (s, m, h, d or w), at most 100 years."
        )
    return seconds


def _as_json(done: Retained, cut: Cut, archive: Path, *, dry_run: bool) -> dict[str, object]:
    return {
        "dry_run": dry_run,
        "closed_before": to_text(cut.closed_before),
        "removed": {"orchestrations": done.orchestrations, "facts": done.facts, "contents": done.contents},
        "batches": done.batches,
        "stays": {reason.name.lower(): count for reason, count in done.stays.items() if count},
        "archive": str(archive),
        "archives": done.archives,
        "faults": [{"chain": fault.place, "seq": fault.seq, "reason": fault.reason} for fault in done.faults],
    }


def _print(done: Retained, cut: Cut, archive: Path, *, dry_run: bool) -> None:
    console = Console(highlight=False, soft_wrap=True)
    when = to_text(cut.closed_before)[:19].replace("T", " ")
    if not done.orchestrations and not done.contents:
        console.print(f"Nothing to remove: no orchestration that was closed before {when} UTC may go.")
    else:
        verb = "would be removed" if dry_run else "were removed"
        console.print(
            f"{done.orchestrations:,} orchestrations that were closed before {when} UTC {verb},"
            f" with {done.facts:,} facts, and {done.contents:,} contents that nothing names any more."
        )
    if done.archives:
        console.print(f"They are archived in {archive}: {len(done.archives)} files, one for each batch.")
    for reason, count in done.stays.items():
        if count:
            console.print(f"  {count:,} stay: {reason.value}.")
    for fault in done.faults[:10]:
        console.print(f"[bold red]Not whole, and kept as evidence:[/] {fault}")
