"""``python -m app releases``: publish documents, see what is published, move traffic."""

from __future__ import annotations

import getpass
import json as json_text
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.control_plane.publishing import Change, PublishedRelease, Routing
from app.control_plane.release_desk import ReleaseDesk, Report, Request
from app.control_plane.statements import statements_of
from app.kernel.clock import to_text
from app.kernel.release import Release
from app.kernel.tool_spec import AgentTool
from config import settings

releases = typer.Typer(help="Publish documents as releases, and see what is published.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def login() -> str:
    """Who runs this process, for the record of who changed what."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user that no password file knows
        return f"uid-{os.getuid()}"


Actor = Annotated[
    str, typer.Option(help="Who you are; else your login.", default_factory=login, show_default=False)
]

_SHIPPED = settings.CHECKOUT / "config"


@releases.command()
def publish(
    actor: Actor,
    folder: Annotated[Path, typer.Option(help="The folder of documents.")] = _SHIPPED,
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    if_empty: Annotated[
        bool, typer.Option("--if-empty", help="Only where nothing is published yet; then --route is on.")
    ] = False,
    route: Annotated[
        bool | None, typer.Option("--route/--no-route", help="Let the newest releases take the traffic.")
    ] = None,
    provider: Annotated[
        str | None, typer.Option(help="Let this provider answer for every agent: another release.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be done.")] = False,
    json: Json = False,
) -> None:
    """Check, compile and publish a folder. Traffic stays where it is without --route."""
    moves = if_empty if route is None else route
    # Moving traffic wants a reason; filling an empty catalogue and adding a version explain themselves.
    explained = reason or ("" if moves and not if_empty else f"published from {folder.name}")
    change = Change(actor, explained)
    request = Request(folder, change, route=moves, if_empty=if_empty, dry_run=dry_run, provider=provider)
    with _desk() as desk:
        report = desk.publish(request)
    if json:
        print(json_text.dumps({**asdict(report), "dry_run": dry_run}))
    else:
        _print_report(report, dry_run=dry_run)


@releases.command("list")
def list_releases(json: Json = False) -> None:
    """List the published releases, and which of them take traffic."""
    with _desk() as desk:
        found = desk.list()
    if json:
        rows = [{**_row(row), "channels": list(channels)} for row, channels in found]
        print(json_text.dumps({"releases": rows}))
        return
    table = Table("workflow", "version", "release", "takes traffic on", "published", "by")
    for row, channels in found:
        cells = (row.workflow, str(row.version), row.digest[:12], ", ".join(channels) or "-")
        table.add_row(*cells, to_text(row.published_at)[:19], row.published_by)
    Console().print(table)


@releases.command()
def show(
    name: Annotated[str, typer.Argument(help="A digest, the beginning of one, or a workflow's name.")],
    json: Json = False,
) -> None:
    """Show what one release is made of."""
    with _desk() as desk:
        row, release, routings = desk.show(name)
    if json:
        routed = [{**asdict(item), "changed_at": to_text(item.changed_at)} for item in routings]
        content = release.model_dump(mode="json")
        print(json_text.dumps({**_row(row), "routings": routed, "release": content}))
    else:
        _print_release(row, release, routings)


@releases.command()
def route(
    actor: Actor,
    name: Annotated[str, typer.Argument(help="A digest, or the beginning of one.")],
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    json: Json = False,
) -> None:
    """Let a published release take its workflow's traffic. What runs stays with its own."""
    with _desk() as desk:
        row, moved = desk.route(name, Change(actor, reason))
    if json:
        print(json_text.dumps({**_row(row), "moved": moved}))
    else:
        verb = "now takes" if moved else "already takes"
        print(f"{row.workflow}/{row.version} ({row.digest[:12]}) {verb} the traffic of {row.workflow}.")


@contextmanager
def _desk() -> Iterator[ReleaseDesk]:
    from app.adapters.postgresql.catalogue import PostgresqlCatalogue
    from app.cli.database_at_hand import database_at_hand
    from app.cli.tools_at_hand import tools_at_hand

    with database_at_hand("interlock_control") as database:
        yield ReleaseDesk(PostgresqlCatalogue(database), tools_at_hand())


def _row(row: PublishedRelease) -> dict[str, str | int]:
    return {
        "digest": row.digest,
        "workflow": row.workflow,
        "version": row.version,
        "published_at": to_text(row.published_at),
        "published_by": row.published_by,
    }


def _print_report(report: Report, *, dry_run: bool) -> None:
    console = Console(highlight=False)
    if report.skipped:
        console.print("Releases are published here already; nothing was changed.")
        return
    table = Table("workflow", "release", "new", "traffic")
    for name, digest in report.releases.items():
        workflow = name.partition("/")[0]
        moved = "moves here" if workflow in report.routed else "stays"
        table.add_row(name, digest[:12], "yes" if digest in report.new_releases else "no", moved)
    console.print(table)
    verb = "would be" if dry_run else "were"
    new = len(report.new_documents)
    console.print(f"{new} documents {verb} added, {report.known_documents} were published before.")


def _print_release(row: PublishedRelease, release: Release, routings: tuple[Routing, ...]) -> None:
    console = Console(highlight=False)
    console.print(f"[bold]{row.workflow}/{row.version}[/] {row.digest}")
    console.print(f"published {to_text(row.published_at)} by {row.published_by}")
    for item in routings:
        console.print(f"{item.channel} since {to_text(item.changed_at)} by {item.changed_by}: {item.reason}")
    table = Table("part", "what")
    table.add_row("subscribes", "\n".join(release.template.subscribes))
    for stage in release.template.stages:
        after = f" after {', '.join(stage.after)}" if stage.after else ""
        agents = ", ".join(f"{name}/{release.agents[name].version}" for name in stage.agents)
        table.add_row(f"stage {stage.name}", f"{stage.aggregation.rule} of {agents}{after}")
    for action in release.template.actions:
        tool = release.tools[action.tool]
        table.add_row(f"action {action.name}", f"{tool.name}/{tool.version} at {action.target}")
    for provider in release.providers.values():
        table.add_row("provider", f"{provider.name}/{provider.version} ({provider.kind}, {provider.model})")
    for agent in release.agents.values():
        if agent.tools:
            calls = "\n".join(_told_tool(called, release) for called in agent.tools)
            table.add_row(f"agent {agent.name} calls", calls)
    table.add_row("policy", f"{release.policy.name}/{release.policy.version}")
    for statement in statements_of(release.policy):
        if "approval" in statement.annotations:
            asked = "two people are asked" if "four_eyes" in statement.annotations else "a person is asked"
            why = statement.annotations["approval"]
            table.add_row(f"{statement.effect} {statement.name}", escape(f"{asked}: {why}"))
    console.print(table)


def _told_tool(called: AgentTool, release: Release) -> str:
    tool = release.tools[called.tool]
    where = f" at {called.target}" if called.target is not None else ""
    return f"{tool.name}/{tool.version} ({tool.effect}){where}"
