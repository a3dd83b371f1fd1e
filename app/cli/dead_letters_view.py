"""How dead letters are shown: as tables and plain words for people, as one object for programs."""

from __future__ import annotations

from dataclasses import asdict, replace

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from app.adapters.postgresql.dead_letter_reading import DeadLetterFilter
from app.data_plane.dead_letters.letters import NO_TENANT, DeadLetterRow

SHOWN_OF_AN_ID = 16
"""Characters; every command takes the beginning of an id."""

_MARK = {"open": "red", "replayed": "green", "settled": "green"}


def row_as_json(row: DeadLetterRow) -> dict[str, object]:
    """A row with its enumerations as text."""
    return {**asdict(row), "cause": row.cause.value, "fate": row.fate.value}


def print_rows(
    console: Console, rows: tuple[DeadLetterRow, ...], wanted: DeadLetterFilter, limit: int
) -> None:
    """A page of dead letters."""
    if not rows:
        narrowed = replace(wanted, state=None) != DeadLetterFilter()
        which = f"{wanted.state} dead letter" if wanted.state is not None else "dead letter"
        console.print(f"There is no {which}{' like that' if narrowed else ''}.", highlight=False)
        return
    table = Table(
        Column("dead letter", no_wrap=True),
        Column("cause, code", overflow="fold"),
        Column("workflow, queue", overflow="fold"),
        Column("times", justify="right"),
        Column("last", no_wrap=True),
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
        pad_edge=False,
    )
    for row in rows:
        table.add_row(
            row.dead_letter_id[:SHOWN_OF_AN_ID],
            f"{row.cause.value}\n  {escape(row.code)}",
            f"{escape(row.workflow) or '-'}\n  {escape(row.queue) or '-'}",
            str(row.times),
            f"{row.last_at[5:10]} {row.last_at[11:16]}" + ("" if wanted.state else f"\n{_state(row.state)}"),
        )
    console.print(table)
    console.print("What to do: python -m app dead-letters show ID", highlight=False)
    if len(rows) == limit:
        console.print(f"More: --before {rows[-1].dead_letter_id}", soft_wrap=True)


def print_row(console: Console, row: DeadLetterRow) -> None:
    """One dead letter."""

    def line(text: str) -> None:
        console.print(text, soft_wrap=True)

    line(f"[bold]{row.dead_letter_id}[/] {_state(row.state)}")
    line(f"  {escape(row.what)}")
    line(f"  [bold]What to do:[/] {escape(row.remedy)}\n")
    whose = "not known" if row.tenant_id == NO_TENANT else row.tenant_id
    times = "once" if row.times == 1 else f"{row.times} times, first at {row.first_at[:19]}Z"
    for name, value in (
        ("cause", f"{row.cause.value}, code {row.code} ({row.fate.value})"),
        ("happened", f"{times}, last at {row.last_at[:19]}Z" if row.times > 1 else f"at {row.last_at[:19]}Z"),
        ("queue", row.queue),
        ("tenant", whose),
        ("workflow", row.workflow),
        ("event", row.event_id),
        ("orchestration", row.orchestration_id),
        ("run", row.run_id),
        ("step", row.step_id if row.step_id != row.run_id else ""),
        ("message", f"SHA-256 {row.message_digest}" if row.message_digest else ""),
        ("settled", f"by {row.settled_by}: {row.settled_because}" if row.settled_by else ""),
    ):
        if value:
            line(f"  {name:<13}  {escape(value)}")


def print_settled(settled: tuple[str, ...], *, dry_run: bool) -> None:
    """Which dead letters a person has closed, or would close."""
    if not settled:
        print("There is no open dead letter of a message like that.")
        return
    one = len(settled) == 1
    verb = "would be" if dry_run else "is" if one else "are"
    print(f"{settled[0] if one else f'{len(settled)} dead letters'} {verb} settled.")


def _state(state: str) -> str:
    colour = _MARK.get(state)
    return f"[{colour}]{state}[/]" if colour else state
