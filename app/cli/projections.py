"""``python -m app projections``: the read models, made anew from the journals."""

from __future__ import annotations

import json as json_text
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from app.adapters.postgresql.reading import Reading
from app.adapters.postgresql.rebuild import Rebuilt, rebuild_projections
from app.cli.database_at_hand import database_at_hand

projections = typer.Typer(help="The read models: compare them with the journals, rebuild them.")


@projections.callback()
def frame() -> None:
    """Makes a group of commands even of one."""


@projections.command()
def rebuild(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what differs.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make the rows of decisions, actions and dead letters what the journals say, and tell which were not.

    Dead letters of messages that no journal knows stay as they are.
    """
    with database_at_hand("interlock_control") as database:
        tenants = Reading(database).tenants()
        console = Console(stderr=True, quiet=json)
        with Progress(console=console, disable=json, transient=True) as bar:
            task = bar.add_task("Orchestrations", total=None)
            rebuilt = rebuild_projections(
                database, tenants, dry_run=dry_run, advance=lambda count: bar.advance(task, count)
            )
    if json:
        shown = {**asdict(rebuilt), "identical": rebuilt.identical, "dry_run": dry_run}
        print(json_text.dumps(shown))
    else:
        _print(rebuilt, dry_run=dry_run)


def _print(rebuilt: Rebuilt, *, dry_run: bool) -> None:
    print(f"{rebuilt.orchestrations} orchestrations, {rebuilt.rows} rows according to their journals.")
    if rebuilt.identical:
        print("The read models are identical to them.")
        return
    verb = "would be" if dry_run else "were"
    for words, keys in (
        (f"missing and {verb} added", rebuilt.missing),
        (f"different and {verb} replaced", rebuilt.differing),
        (f"there without a fact and {verb} removed", rebuilt.extra),
    ):
        if keys:
            print(f"  {len(keys)} {words}, such as {', '.join(keys[:3])}")
