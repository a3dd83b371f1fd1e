"""``python -m app audit``: was anything changed in the record, and up to when would that be seen?"""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn, track

from app.adapters.anchor_file import AnchorFolder
from app.adapters.archive_file import SUFFIX, read_archive
from app.adapters.postgresql.anchoring import PostgresqlHeads
from app.adapters.postgresql.auditing import journals_as_of_now
from app.adapters.scratch_notes import ScratchNotes
from app.cli.database_at_hand import database_at_hand
from app.cli.replay_trail import replays
from app.data_plane.audit.anchorer import Anchorer
from app.data_plane.audit.verify import Audit, Auditor
from app.kernel.clock import SystemClock
from app.kernel.errors import NotFoundError
from config import settings

audit = typer.Typer(
    help="The record: verify it, anchor it, read who had what done again.", no_args_is_help=True
)
audit.command()(replays)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--anchors",
        help="The folder of anchors; else the service's own.",
        show_default=False,
        file_okay=False,
    ),
]


class NoAnchorsError(NotFoundError):
    """The folder that was named holds no anchors."""

    code = "no_anchors"


@audit.command()
def verify(anchors: Folder = None, json: Json = False) -> None:
    """Read every fact and every anchor; name the first row that is not what it was, and exit with 1 if there is one."""
    folder = AnchorFolder(anchors or settings.load().anchors)
    # Before the database is read: whatever was anchored by now must then be found there.
    written = folder.as_of_now()
    if anchors is not None and not written.files:
        raise NoAnchorsError(
            f"There are no anchors in {anchors}.",
            "Name the folder that holds the service's anchors (000001.jsonl and so on).",
        )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True, quiet=json)
    with (
        database_at_hand("interlock_api") as database,
        journals_as_of_now(database) as journals,
        ScratchNotes() as notes,
        Progress(*columns, console=console, disable=json, transient=True) as bar,
    ):
        if journals is None:
            found = Audit()
        else:
            task = bar.add_task("Facts", total=journals.about())
            found = Auditor(journals, written, notes, lambda count: bar.advance(task, count)).verify()
    if json:
        print(json_text.dumps(_as_json(found, folder.folder, written.files)))
    else:
        _print(found, folder.folder, written.files)
    raise typer.Exit(0 if found.whole else 1)


@audit.command()
def anchor(anchors: Folder = None, json: Json = False) -> None:
    """Anchor now what the service would anchor within seconds: before a backup, or where no service runs."""
    folder = AnchorFolder(anchors or settings.load().anchors)
    with database_at_hand("interlock_worker") as database:
        written = Anchorer(PostgresqlHeads(database), folder, SystemClock()).anchor()
    if json:
        counts = {"heads": written.heads, "lines": written.lines} if written is not None else None
        print(json_text.dumps({"folder": str(folder.folder), "written": counts}))
    elif written is None:
        print("The service is anchoring at this moment; nothing was left to do.")
    elif written.lines == 0:
        print(f"Nothing was recorded since the last anchor in {folder.folder}.")
    else:
        print(f"The heads of {written.heads:,} chains are anchored in {folder.folder}.")


@audit.command()
def archive(
    path: Annotated[
        Path, typer.Argument(help="An archive that retention wrote, or a folder of them.", exists=True)
    ],
    json: Json = False,
) -> None:
    """Read archives back: is what they hold what was recorded? Needs no database."""
    files = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]
    orchestrations = facts = 0
    console = Console(stderr=True, quiet=json)
    for file in track(files, "Archives", console=console, disable=json, transient=True):
        for kept in read_archive(file):
            orchestrations, facts = orchestrations + 1, facts + len(kept.facts)
    if json:
        print(json_text.dumps({"files": len(files), "orchestrations": orchestrations, "facts": facts}))
    else:
        print(
            f"{orchestrations:,} orchestrations with {facts:,} facts in {len(files)} archives are what was recorded."
        )


def _as_json(found: Audit, folder: Path, files: int) -> dict[str, object]:
    seen = found.anchors
    faults = [{"chain": fault.place, "seq": fault.seq, "reason": fault.reason} for fault in found.faults]
    return {
        "whole": found.whole,
        "facts": found.facts,
        "chains": found.orchestrations + found.runs,
        "orchestrations": found.orchestrations,
        "runs": found.runs,
        "anchors": {
            "folder": str(folder),
            "files": files,
            "lines": seen.lines,
            "heads": seen.heads,
            "cut_off_lines": seen.cut_off,
            "removed_chains": seen.removed,
            "until": seen.until,
            "facts_since": seen.facts_since,
            "oldest_since": seen.oldest_since,
        },
        "bad_chains": len(found.bad),
        "first": faults[0] if faults else None,
        "faults": faults,
    }


def _print(found: Audit, folder: Path, files: int) -> None:
    console = Console(highlight=False, soft_wrap=True)
    if not found.facts and not found.anchors.lines and found.whole:
        console.print("Nothing is recorded here yet.")
        return
    chains = found.orchestrations + found.runs
    console.print(
        f"{found.facts:,} facts in {chains:,} chains were read"
        f" ({found.orchestrations:,} orchestrations, {found.runs:,} runs)."
    )
    for line in _about_anchors(found, folder, files):
        console.print(line, markup=False)
    if found.whole:
        console.print("[green]Every fact is what it was.[/]")
        return
    console.print(f"[bold red]First bad row:[/] {found.faults[0]}")
    for fault in found.faults[1:10]:
        console.print(f"  also {fault}", markup=False)
    if len(found.bad) > 1:
        console.print(
            f"In all, {len(found.bad):,} chains have a bad row; --json lists the first {len(found.faults)}."
        )


def _about_anchors(found: Audit, folder: Path, files: int) -> list[str]:
    seen = found.anchors
    if seen.until is None:
        return [
            f"There are no anchors in {folder}: a chain that was rewritten whole, a tail that was cut off and an"
            " orchestration that was deleted whole cannot be seen. A running service anchors every few seconds."
        ]
    told = [
        f"{seen.heads:,} anchored heads were compared, in {seen.lines:,} lines of {files} files in {folder}."
        f" They reach up to {seen.until}."
    ]
    if seen.facts_since:
        told.append(
            f"{seen.facts_since:,} facts since then are not anchored yet (from {seen.oldest_since} on)."
        )
    if seen.removed:
        told.append(f"{seen.removed:,} anchored chains were removed by retention; their archives hold them.")
    if seen.cut_off:
        told.append(f"{seen.cut_off} lines of the anchors were cut off by a crash, and continued after.")
    return told
