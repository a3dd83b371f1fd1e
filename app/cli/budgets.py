"""``python -m app budgets``: what may be spent, what was, and what is held for questions under way."""

from __future__ import annotations

import json as json_text
from dataclasses import asdict
from typing import Annotated, get_args

import typer
from rich.console import Console
from rich.table import Table

from app.adapters.postgresql.budget_reading import BudgetReading, BudgetRow
from app.adapters.postgresql.reading import Reading
from app.cli.database_at_hand import database_at_hand
from app.cli.runs import InvalidChoiceError
from app.data_plane.budgets.reservations import NANO_USD, Level

budgets = typer.Typer(help="Budgets: what may be spent, and what was.", no_args_is_help=True)

LEVELS = tuple(level for level in get_args(Level) if level != "call")


@budgets.command("list")
def list_budgets(
    level: Annotated[str, typer.Option(help="Of tenants, orchestrations or runs.")] = "tenant",
    account: Annotated[
        str, typer.Option(help="Only this one: TENANT/PERIOD, an orchestration's or a run's id.")
    ] = "",
    tenant: Annotated[str | None, typer.Option(help="Only those of this tenant.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many lines.")] = 20,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List budgets that questions were asked under, the newest first."""
    if level not in LEVELS:
        raise InvalidChoiceError(f"There is no level {level!r}.", f"Choose one of {', '.join(LEVELS)}.")
    with database_at_hand("interlock_api") as database:
        reading = BudgetReading(database, (tenant,) if tenant else Reading(database).tenants())
        rows = reading.newest(level, account=account, limit=limit)
    if json:
        print(json_text.dumps({"budgets": [{**asdict(row), "free": row.free} for row in rows]}))
    elif rows:
        Console().print(_table(rows))
    else:
        Console().print(
            f"No question was asked under a budget of a{'n' if level[0] in 'aeiou' else ''} {level} yet."
            " Budgets stand in tenants' documents and in workflow templates (`budget`, `run_budget`, `call_budget`)."
        )


def _table(rows: tuple[BudgetRow, ...]) -> Table:
    table = Table("account", "unit", "limit", "spent", "presumed", "held", "free")
    for row in rows:
        amounts = (row.limit, row.spent, row.presumed, row.reserved, row.free)
        table.add_row(
            row.account_id, _UNITS.get(row.unit, row.unit), *(_shown(row.unit, one) for one in amounts)
        )
    return table


_UNITS = {"nano_usd": "US dollars", "milliseconds": "seconds"}


def _shown(unit: str, amount: int) -> str:
    if unit == "nano_usd":
        return f"{amount / NANO_USD:.6f}"
    return f"{amount / 1000:.1f}" if unit == "milliseconds" else f"{amount:,}"
