"""``python -m app runs``: find orchestrations, read what happened and why, verify, cancel."""

from __future__ import annotations

import json as json_text
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, get_args

import typer
from rich.console import Console

from app.adapters.postgresql.reading import Reading, RunView, Wanted
from app.adapters.postgresql.reading_traces import TraceReading
from app.adapters.postgresql.releases import PostgresqlReleases
from app.cli import runs_view, trace_view
from app.cli.database_at_hand import database_at_hand
from app.cli.recording_at_hand import recording_at_hand
from app.cli.releases import Actor
from app.cli.tools_at_hand import tools_at_hand
from app.cli.trace import Kept, gather
from app.cli.traced import traced
from app.data_plane.orchestration.cancel import Cancellation, foresee
from app.data_plane.orchestration.cancel import cancel as cancel_run
from app.data_plane.replay.explain import explain as explain_record
from app.data_plane.replay.verify import verify as verify_record
from app.kernel.clock import SystemClock
from app.kernel.errors import NotFoundError, PermanentError
from app.kernel.facts import OrchestrationStatus
from config import settings

runs = typer.Typer(help="Orchestrations: list, show, explain, trace, verify, cancel.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Id = Annotated[str, typer.Argument(help="An id, or the beginning of one (8 characters or more).")]
SHORTEST_BEGINNING = 8


class UnknownRunError(NotFoundError):
    """No orchestration goes by that id."""

    code = "unknown_orchestration"


class InvalidChoiceError(PermanentError):
    """An argument has a value that it cannot have."""

    code = "invalid_argument"


@runs.command("list")
def list_runs(
    state: Annotated[
        str | None, typer.Option("--state", "--status", help="Only those in this state, such as in_review.")
    ] = None,
    workflow: Annotated[str | None, typer.Option(help="Only those of this workflow.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only those of this tenant.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    before: Annotated[str | None, typer.Option(help="Only those older than this id: the next page.")] = None,
    json: Json = False,
) -> None:
    """List orchestrations, the newest first."""
    states = get_args(OrchestrationStatus)
    if state is not None and state not in states:
        raise InvalidChoiceError(f"There is no state {state!r}.", f"Choose one of {', '.join(states)}.")
    with _reading(tenant) as (reading, _):
        last = named_view(reading, before).row if before is not None else None
        rows = reading.runs(Wanted(state, workflow, limit, last))
    if json:
        print(json_text.dumps({"runs": [runs_view.row_as_json(row) for row in rows]}))
    else:
        runs_view.print_rows(Console(), rows, limit)


@runs.command()
def show(name: Id, json: Json = False) -> None:
    """Show everything that is recorded of one orchestration: its facts, and its runs' own."""
    with _reading() as (reading, _):
        view = named_view(reading, name)
    if json:
        print(json_text.dumps(runs_view.view_as_json(view)))
    else:
        runs_view.print_view(Console(highlight=False), view)


@runs.command()
def explain(name: Id, json: Json = False) -> None:
    """Say what happened, why, which version decided, and how to replay it safely."""
    with _reading() as (reading, releases):
        view = named_view(reading, name)
        explanation = explain_record(view.record, releases.get(view.row.release))
    if json:
        print(json_text.dumps(asdict(explanation)))
    else:
        runs_view.print_explanation(Console(highlight=False), explanation)


@runs.command("trace")
def show_trace(
    name: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="An orchestration, event, run, action or trace: its id, or the beginning of one (8 characters).",
        ),
    ],
    messages: Annotated[
        bool, typer.Option("--messages", help="Also the Celery messages that carried it.")
    ] = False,
    json: Json = False,
) -> None:
    """Show when what happened, and how long it took: the spans of one trace, or of all of an event, as a waterfall."""
    with database_at_hand("interlock_api", size=2) as database:
        reading = TraceReading(database, Reading(database).tenants())
        kept = Kept(settings.load().span_retention_hours, SystemClock().now())
        found = gather(reading, name, kept, messages=messages)
    if json:
        print(json_text.dumps(trace_view.as_json(found)))
    else:
        trace_view.print_traced(Console(highlight=False), found)


@runs.command()
def verify(
    name: Annotated[str | None, typer.Argument(help="An id, or the beginning of one.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Verify every orchestration.")] = False,
    json: Json = False,
) -> None:
    """Decide again from the record, offline, and compare. Exits with 1 at a difference."""
    if (name is None) != every:
        raise InvalidChoiceError(
            "It is not said what to verify, or said twice.", "Give an id, or --all and no id."
        )
    with _reading() as (reading, releases):
        if name is not None:
            view = named_view(reading, name)
            verification = verify_record(view.record, releases.get(view.row.release))
            runs_view.print_verification(Console(highlight=False), verification, as_json=json)
            matches = verification.matches
        else:
            matches = runs_view.verify_every(reading, releases, as_json=json)
    if not matches:
        raise typer.Exit(1)


@runs.command()
def cancel(
    name: Id,
    actor: Actor,
    reason: Annotated[str, typer.Option(help="Why; it is kept.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be done.")] = False,
    json: Json = False,
) -> None:
    """End an orchestration: what is unsent stays unsent, what is on its way is waited for."""
    if not dry_run and not reason.strip():
        raise InvalidChoiceError("The reason is empty.", "Say why with --reason.")
    with recording_at_hand() as at_hand, traced():
        row = named_view(at_hand.reading, name).row
        steps = at_hand.reading.open_steps(row.orchestration_id)
        loaded = at_hand.recorder.load([row.tenant_id], [row.orchestration_id])
        if row.orchestration_id not in loaded:
            at_hand.releases.get(row.release)
        foreseen = foresee(loaded[row.orchestration_id].state, steps)
        status = row.status
        if not dry_run:
            cancellation = Cancellation(row.tenant_id, row.orchestration_id, actor, reason.strip(), steps)
            status = cancel_run(at_hand.recorder, cancellation).status
    if json:
        told = {"orchestration_id": row.orchestration_id, "status": status, "dry_run": dry_run}
        print(json_text.dumps({**told, **asdict(foreseen)}))
    else:
        runs_view.print_cancelled(row.orchestration_id, status, foreseen, dry_run=dry_run)


@contextmanager
def _reading(tenant: str | None = None) -> Iterator[tuple[Reading, PostgresqlReleases]]:
    with database_at_hand("interlock_api", size=2) as database:
        tenants = (tenant,) if tenant is not None else ()
        yield Reading(database, tenants), PostgresqlReleases(database, tools_at_hand())


def named_view(reading: Reading, name: str) -> RunView:
    """The orchestration of that id, or of the only id that begins so."""
    if len(name) < SHORTEST_BEGINNING:
        raise UnknownRunError(
            f"{name!r} is too short for an id.", f"Give {SHORTEST_BEGINNING} characters or more of it."
        )
    found = reading.named(name if name.startswith("orc_") else f"orc_{name}")
    if len(found) > 1:
        raise UnknownRunError(f"More than one id begins with {name!r}.", f"Such as {', '.join(found)}.")
    if not found:
        raise UnknownRunError(f"There is no orchestration {name!r}.", "Look at `python -m app runs list`.")
    return reading.views(found)[found[0]]
