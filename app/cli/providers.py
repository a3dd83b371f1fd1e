"""``python -m app providers``: where the models' circuit breakers stand, how they moved, and forcing one."""

from __future__ import annotations

import json as json_text
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated

import redis
import typer
from rich.console import Console

from app.adapters.postgresql.breakers import PostgresqlBreakers
from app.adapters.redis.breaker_states import BreakerStates
from app.adapters.redis.connection import connect
from app.cli import providers_view
from app.cli.database_at_hand import database_at_hand
from app.data_plane.breakers import (
    BreakerName,
    BreakerOrder,
    BreakerReading,
    NewOrder,
    Ordered,
    check_order,
    named,
    standings,
)
from app.kernel.clock import SystemClock
from config import settings

providers = typer.Typer(help="Providers: their circuit breakers, and forcing one.", no_args_is_help=True)

LAST_CHANGES = 5
REDIS_SECONDS = 1.0

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Provider = Annotated[str, typer.Argument(help="A provider's name, as releases have it.")]
Model = Annotated[str | None, typer.Option(help="Which of its models; needed where it has several.")]
Actor = Annotated[str, typer.Option(help="Who orders it.")]
Reason = Annotated[str, typer.Option(help="Why; it is kept.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only tell what would be ordered.")]


@providers.command()
def status(json: Json = False) -> None:
    """Show every provider that takes traffic: its breaker, what was ordered of it, and the last changes."""
    with _record() as record:
        known, orders = record.providers(), record.orders()
        changes, recent = record.last_changes(), record.history(None, LAST_CHANGES)
    names = {one.breaker for one in known if one.policy is not None} | set(orders)
    readings = _readings(names)
    found = standings(known, readings, orders, changes)
    if json:
        told = {
            "redis": readings is not None,
            "providers": [providers_view.standing_as_json(one) for one in found],
            "changes": [providers_view.entry_as_json(one) for one in recent],
        }
        print(json_text.dumps(told))
    else:
        providers_view.print_status(Console(highlight=False), found, recent, redis=readings is not None)


@providers.command()
def history(
    provider: Annotated[str | None, typer.Argument(help="Only this provider's.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    json: Json = False,
) -> None:
    """List how breakers moved and what was ordered of them, the newest first."""
    with _record() as record:
        entries = record.history(provider, limit)
    if json:
        print(json_text.dumps({"history": [providers_view.entry_as_json(one) for one in entries]}))
    else:
        providers_view.print_history(Console(highlight=False), entries, provider, limit)


@providers.command("force-open")
def force_open(
    provider: Provider,
    model: Model = None,
    actor: Actor = "",
    reason: Reason = "",
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Let nobody ask a provider's model until it is released."""
    _order(provider, model, "forced_open", actor, reason, dry_run=dry_run, json=json)


@providers.command("force-closed")
def force_closed(
    provider: Provider,
    model: Model = None,
    actor: Actor = "",
    reason: Reason = "",
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Let everybody ask a provider's model, whatever its breaker counts, until it is released."""
    _order(provider, model, "forced_closed", actor, reason, dry_run=dry_run, json=json)


@providers.command()
def release(
    provider: Provider,
    model: Model = None,
    actor: Actor = "",
    reason: Reason = "",
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Give a forced breaker back to itself."""
    _order(provider, model, "released", actor, reason, dry_run=dry_run, json=json)


def _order(
    provider: str, model: str | None, state: Ordered, actor: str, reason: str, *, dry_run: bool, json: bool
) -> None:
    with _record() as record:
        orders = record.orders()
        name = named(record.providers(), {*orders, *record.last_changes()}, provider, model)
        new = NewOrder(name, state, actor, reason)
        if dry_run:
            check_order(new, orders.get(name))
            order = BreakerOrder(name, state, actor, reason, SystemClock().now())
        else:
            order = record.order(new)
    if json:
        print(json_text.dumps({**providers_view.entry_as_json(order), "dry_run": dry_run}))
    else:
        providers_view.print_order(Console(highlight=False), order, dry_run=dry_run)


@contextmanager
def _record() -> Iterator[PostgresqlBreakers]:
    with database_at_hand("interlock_api") as database:
        yield PostgresqlBreakers(database)


def _readings(names: set[BreakerName]) -> Mapping[BreakerName, BreakerReading] | None:
    """Where these breakers stand and all others that Redis knows of; None when it does not answer."""
    client = connect(settings.load().effective_redis_url, most_connections=2, socket_seconds=REDIS_SECONDS)
    try:
        states = BreakerStates(client)
        return states.read(sorted(names | states.kept()))
    except redis.RedisError:
        return None
    finally:
        client.close()
