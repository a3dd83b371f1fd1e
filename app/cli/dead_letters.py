"""``python -m app dead-letters``: find what gave up, and read why and what to do."""

from __future__ import annotations

import json as json_text
import re
from datetime import datetime, timedelta
from typing import Annotated, get_args

import typer
from rich.console import Console

from app.adapters.postgresql.dead_letter_reading import DeadLetterFilter, DeadLetterReading
from app.cli import dead_letters_view
from app.cli.database_at_hand import database_at_hand
from app.cli.runs import InvalidChoiceError
from app.data_plane.dead_letters import settling
from app.data_plane.dead_letters.letters import Cause, DeadLetterRow, State
from app.data_plane.ports import Queue
from app.kernel.clock import SystemClock
from app.kernel.errors import NotFoundError

dead_letters = typer.Typer(help="Dead letters: what gave up, and why.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Id = Annotated[
    str, typer.Argument(help="A dead letter's id, or the beginning of one (8 characters or more).")
]
ANY = "any"
SHORTEST_BEGINNING = 8

_AGO = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class UnknownDeadLetterError(NotFoundError):
    """No dead letter goes by that id."""

    code = "unknown_dead_letter"


@dead_letters.command("list")
def list_dead_letters(
    state: Annotated[
        str, typer.Option(help="Only those in this state: open, replayed, settled, any.")
    ] = "open",
    queue: Annotated[str | None, typer.Option(help="Only those of this queue.")] = None,
    cause: Annotated[
        str | None, typer.Option(help="Only those of this cause, such as failed_delivery.")
    ] = None,
    code: Annotated[str | None, typer.Option(help="Only those with this error code.")] = None,
    workflow: Annotated[str | None, typer.Option(help="Only those of this workflow.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only those of this tenant; - for nobody's.")] = None,
    since: Annotated[str | None, typer.Option(help="Only since then: 90m, 24h, 7d, or a time.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    before: Annotated[str | None, typer.Option(help="Only those behind this id: the next page.")] = None,
    json: Json = False,
) -> None:
    """List dead letters, those that gave up last first."""
    wanted = chosen(
        state=state, queue=queue, cause=cause, code=code, workflow=workflow, tenant=tenant, since=since
    )
    with database_at_hand("interlock_api", size=2) as database:
        reading = DeadLetterReading(database)
        last = find(reading, before) if before is not None else None
        rows = reading.page(wanted, limit, last)
    if json:
        print(json_text.dumps({"dead_letters": [dead_letters_view.row_as_json(row) for row in rows]}))
    else:
        dead_letters_view.print_rows(Console(), rows, wanted, limit)


@dead_letters.command()
def show(name: Id, json: Json = False) -> None:
    """Say what gave up, why, and what to do."""
    with database_at_hand("interlock_api", size=2) as database:
        row = find(DeadLetterReading(database), name)
    if json:
        print(json_text.dumps(dead_letters_view.row_as_json(row)))
    else:
        dead_letters_view.print_row(Console(highlight=False), row)


@dead_letters.command("settle")
def settle_dead_letters(
    name: Annotated[str | None, typer.Argument(help="A dead letter's id, or the beginning of one.")] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every open one of a message that the options name.")
    ] = False,
    queue: Annotated[str | None, typer.Option(help="With --all: only those of this queue.")] = None,
    cause: Annotated[str | None, typer.Option(help="With --all: only those of this cause.")] = None,
    code: Annotated[str | None, typer.Option(help="With --all: only those with this error code.")] = None,
    tenant: Annotated[
        str | None, typer.Option(help="With --all: only those of this tenant; - for nobody's.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="With --all: only since then: 90m, 24h, 7d, or a time.")
    ] = None,
    actor: Annotated[str, typer.Option(help="Who says so.")] = "",
    reason: Annotated[str, typer.Option(help="Why; it is kept.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell which it would be.")] = False,
    json: Json = False,
) -> None:
    """Say that nothing is to be done about a message that gave up: its content is not kept, and cannot be replayed."""
    if (name is None) != every:
        raise InvalidChoiceError(
            "It is not said what to settle, or said twice.", "Give an id, or --all and no id."
        )
    wanted = chosen(
        state="open", queue=queue, cause=cause, code=code, workflow=None, tenant=tenant, since=since
    )
    with database_at_hand("interlock_api", size=2) as database:
        reading = DeadLetterReading(database)
        if name is not None:
            rows = [find(reading, name)]
            settling.check(rows[0])
        else:
            rows = [row for row in reading.all(wanted) if row.message_digest]
        if dry_run:
            settled = tuple(row.dead_letter_id for row in rows)
        else:
            settled = settling.settle(reading, rows, actor, reason)
    if json:
        print(json_text.dumps({"settled": list(settled), "dry_run": dry_run}))
    else:
        dead_letters_view.print_settled(settled, dry_run=dry_run)


def chosen(
    *,
    state: str | None,
    queue: str | None,
    cause: str | None,
    code: str | None,
    workflow: str | None,
    tenant: str | None,
    since: str | None,
) -> DeadLetterFilter:
    """The filter that these options mean. Raises InvalidChoiceError for a value that none of them can have."""
    if tenant == "":
        raise InvalidChoiceError("The tenant is empty.", "Name one, or give - for what is nobody's.")
    states = get_args(State)
    if state not in (None, ANY, *states):
        raise InvalidChoiceError(
            f"There is no state {state!r}.", f"Choose one of {', '.join((*states, ANY))}."
        )
    return DeadLetterFilter(
        state=next((word for word in states if word == state), None),
        queue=_one_of("queue", queue, [one.value for one in Queue]),
        cause=Cause(known) if (known := _one_of("cause", cause, [one.value for one in Cause])) else None,
        code=code,
        workflow=workflow,
        tenant=tenant,
        since=moment(since) if since is not None else None,
    )


def moment(text: str) -> datetime:
    """A time: so long ago (``90m``, ``24h``, ``7d``), or RFC 3339. Raises InvalidChoiceError."""
    if (ago := _AGO.fullmatch(text)) is not None:
        return SystemClock().now() - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise InvalidChoiceError(
            f"{text!r} is no time.", "Give how long ago (90m, 24h, 7d), or a time as 2026-01-31T12:00:00Z."
        )
    return at


def find(reading: DeadLetterReading, name: str) -> DeadLetterRow:
    """The dead letter of that id, or of the only id that begins so. Raises UnknownDeadLetterError."""
    if len(name.removeprefix("dlr_")) < SHORTEST_BEGINNING:
        raise UnknownDeadLetterError(
            f"{name!r} is too short for an id.", f"Give {SHORTEST_BEGINNING} characters or more of it."
        )
    found = reading.named(name if name.startswith("dlr_") else f"dlr_{name}")
    if len(found) > 1:
        ids = ", ".join(row.dead_letter_id for row in found)
        raise UnknownDeadLetterError(f"More than one id begins with {name!r}.", f"Such as {ids}.")
    if not found:
        raise UnknownDeadLetterError(
            f"There is no dead letter {name!r}.", "Look at `python -m app dead-letters list --state any`."
        )
    return found[0]


def _one_of(what: str, value: str | None, known: list[str]) -> str | None:
    if value is not None and value not in known:
        raise InvalidChoiceError(f"There is no {what} {value!r}.", f"Choose one of {', '.join(known)}.")
    return value
