"""How providers and their breakers are shown: as tables and plain words for people, as one object for programs."""

from __future__ import annotations

from datetime import datetime

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from app.data_plane.breakers import BreakerChange, BreakerOrder, BreakerStanding
from app.kernel.clock import to_text

Entry = BreakerOrder | BreakerChange
_MARK = {"closed": "green", "open": "red", "half-open": "yellow"}
_OBEYED = "Workers obey within about a second."


def standing_as_json(one: BreakerStanding) -> dict[str, object]:
    """One provider's model; what is not known is null."""
    found, policy = one.reading, one.policy
    return {
        "provider": one.breaker.provider,
        "model": one.breaker.model,
        "kind": one.kind,
        "routed": one.routed,
        "state": found.state if found is not None and has_breaker(one) else None,
        "failures": found.failures if found is not None and has_breaker(one) else None,
        "threshold": policy.failures if policy is not None else None,
        "open_seconds": policy.open_seconds if policy is not None else None,
        "since": _text(found.since if found is not None else None),
        "probing": found.probing if found is not None else None,
        "probed_at": _text(one.probed_at),
        "order": entry_as_json(one.order) if one.order is not None else None,
        "changed": entry_as_json(one.changed) if one.changed is not None else None,
    }


def entry_as_json(entry: Entry) -> dict[str, object]:
    """An order, or a change that a breaker made by itself (its actor is null)."""
    named = {"at": to_text(entry.at), "provider": entry.breaker.provider, "model": entry.breaker.model}
    if isinstance(entry, BreakerOrder):
        return {**named, "from": None, "to": entry.state, "actor": entry.actor, "reason": entry.reason}
    return {**named, "from": entry.from_state, "to": entry.to_state, "actor": None, "reason": entry.reason}


def has_breaker(one: BreakerStanding) -> bool:
    """Whether it has a breaker: its kind has, or no release says what it is."""
    return one.policy is not None or not one.kind


def print_status(
    console: Console, standings: tuple[BreakerStanding, ...], recent: tuple[Entry, ...], *, redis: bool
) -> None:
    """All providers, and what happened last."""
    if not redis:
        console.print(
            "[yellow]Redis does not answer: where breakers stand is not known, and until it does they are closed.[/]"
            " Start it (`python -m app up`), or check INTERLOCK_REDIS_URL. What is forced holds all the same.",
            soft_wrap=True,
        )
    if not standings:
        console.print("No release takes traffic yet, and no breaker is open or forced.")
    else:
        table = Table(
            "provider",
            "model",
            Column("kind", overflow="fold"),
            Column("state", no_wrap=True),
            "failures",
            Column("since", no_wrap=True),
        )
        for one in standings:
            table.add_row(*_cells(one))
        console.print(table)
        for note in filter(None, map(_note, standings)):
            console.print(note, soft_wrap=True)
    if recent:
        console.print("\n[bold]Last changes[/]")
        for entry in recent:
            console.print(f"  {_line(entry)}", soft_wrap=True)


def print_history(console: Console, entries: tuple[Entry, ...], provider: str | None, limit: int) -> None:
    """Orders and changes, the newest first."""
    if not entries:
        whose = f"of {escape(provider)}" if provider is not None else "of any provider"
        console.print(f"No breaker {whose} has moved or was ordered to.")
        return
    for entry in entries:
        console.print(_line(entry), soft_wrap=True)
    if len(entries) == limit:
        console.print(f"There may be more: --limit {min(1000, limit * 10)}")


def print_order(console: Console, order: BreakerOrder, *, dry_run: bool) -> None:
    """What was ordered, or would be."""
    verb = "would be" if dry_run else "is"
    means = {
        "forced_open": "nobody asks it, and agents go on to their next provider.",
        "forced_closed": "everybody asks it, whatever its breaker counts.",
        "released": "its breaker decides again.",
    }
    console.print(
        f"{escape(str(order.breaker))} {verb} {order.state}: {means[order.state]}"
        + ("" if dry_run else f" {_OBEYED}"),
        soft_wrap=True,
    )


def _cells(one: BreakerStanding) -> tuple[str, ...]:
    kind = one.kind or "in no release"
    named = (
        escape(one.breaker.provider),
        escape(one.breaker.model),
        kind if one.routed else f"{kind}, not routed",
    )
    found = one.reading
    if not has_breaker(one):
        return *named, "no breaker", "-", "-"
    state = _state(found.state) if found is not None else "not known"
    if one.order is not None and one.order.forces:
        state = f"[yellow]{one.order.state}[/] ({state})"
    if found is None:
        return *named, state, "-", "-"
    threshold = f" of {one.policy.failures}" if one.policy is not None else ""
    return *named, state, f"{found.failures}{threshold}", _time(found.since)


def _note(one: BreakerStanding) -> str:
    """Who forced it and why, or when it is probed; empty where there is nothing to say."""
    name, found = escape(str(one.breaker)), one.reading
    if one.order is not None and one.order.forces:
        return f"{name}: {_said(one.order)} since {_time(one.order.at)}"
    if one.probed_at is not None:
        return f"{name}: the first question after {_time(one.probed_at)} probes it"
    if found is not None and found.state == "half-open":
        return f"{name}: {'a question probes it now' if found.probing else 'the next question probes it'}"
    return ""


def _said(order: BreakerOrder) -> str:
    return f"[bold]{order.state}[/] by {escape(order.actor)}, {escape(order.reason)},"


def _line(entry: Entry) -> str:
    at = f"{to_text(entry.at)[:23]}Z  {escape(str(entry.breaker))}"
    if isinstance(entry, BreakerOrder):
        return f"{at}  [bold]{entry.state}[/] by {escape(entry.actor)}: {escape(entry.reason)}"
    return f"{at}  {entry.from_state} -> {_state(entry.to_state)}: {escape(entry.reason)}"


def _state(state: str) -> str:
    return f"[{_MARK[state]}]{state}[/]"


def _time(at: datetime | None) -> str:
    return to_text(at)[:19] if at is not None else "-"


def _text(at: datetime | None) -> str | None:
    return to_text(at) if at is not None else None
