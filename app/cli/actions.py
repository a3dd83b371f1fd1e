"""``python -m app actions``: find actions, read what became of them, and settle those that are in doubt."""

from __future__ import annotations

import json as json_text
from dataclasses import asdict
from typing import Annotated, get_args

import typer
from rich.console import Console

from app.adapters.postgresql.reading_actions import ActionReading
from app.cli import actions_view
from app.cli.recording_at_hand import AtHand, recording_at_hand
from app.cli.runs import InvalidChoiceError
from app.data_plane.dispatch.settle import Settlement, UnknownActionError, check, foresee, settle
from app.data_plane.orchestration.state import ActionStatus
from app.data_plane.replay.explain_action import explain_action
from app.kernel.clock import SystemClock

actions = typer.Typer(help="Actions: list, show, settle what is in doubt.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Id = Annotated[str, typer.Argument(help="An action's id, or the beginning of one (8 characters or more).")]
SHORTEST_BEGINNING = 8


@actions.command("list")
def list_actions(
    state: Annotated[str | None, typer.Option(help="Only those in this state, such as in_doubt.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only those of this tenant.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    json: Json = False,
) -> None:
    """List actions, those of the newest orchestrations first."""
    states = get_args(ActionStatus)
    if state is not None and state not in states:
        raise InvalidChoiceError(f"There is no state {state!r}.", f"Choose one of {', '.join(states)}.")
    with recording_at_hand(tenant) as at_hand:
        rows = _reading(at_hand).newest(state, limit)
    if json:
        print(json_text.dumps({"actions": [actions_view.row_as_json(row) for row in rows]}))
    else:
        actions_view.print_rows(Console(), rows, state, limit)


@actions.command()
def show(name: Id, json: Json = False) -> None:
    """Say what an action is, what was tried, what came back, and what can be done."""
    with recording_at_hand() as at_hand:
        action_id, orchestration_id = _find(at_hand, name)
        view = at_hand.reading.views([orchestration_id])[orchestration_id]
        story = explain_action(
            view.record, at_hand.releases.get(view.row.release), action_id, SystemClock().now()
        )
    if json:
        print(json_text.dumps(asdict(story)))
    else:
        actions_view.print_story(Console(highlight=False), story)


@actions.command("settle")
def settle_action(
    name: Id,
    applied: Annotated[
        bool | None,
        typer.Option("--applied/--not-applied", help="What became of it at its target.", show_default=False),
    ] = None,
    actor: Annotated[str, typer.Option(help="Who says so.")] = "",
    reason: Annotated[str, typer.Option(help="How you know; it is kept.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would follow.")] = False,
    json: Json = False,
) -> None:
    """Say what became of an action that is in doubt: it was applied, or it was not."""
    if applied is None:
        raise InvalidChoiceError(
            "It is not said what became of it.", "Look at its target; then give --applied or --not-applied."
        )
    with recording_at_hand() as at_hand:
        action_id, orchestration_id = _find(at_hand, name)
        row = at_hand.reading.views([orchestration_id])[orchestration_id].row
        settlement = Settlement(row.tenant_id, orchestration_id, action_id, applied, actor, reason)
        if dry_run:
            loaded = at_hand.recorder.load([row.tenant_id], [orchestration_id])
            if orchestration_id not in loaded:
                at_hand.releases.get(row.release)
            settled = foresee(loaded[orchestration_id], settlement)
        else:
            check(settlement)
            settled = settle(at_hand.recorder, settlement)
    if json:
        print(json_text.dumps({**asdict(settled), "dry_run": dry_run}))
    else:
        actions_view.print_settled(Console(highlight=False), settled, dry_run=dry_run)


def _reading(at_hand: AtHand) -> ActionReading:
    return ActionReading(at_hand.database, at_hand.reading.tenants())


def _find(at_hand: AtHand, name: str) -> tuple[str, str]:
    """The action of that id, or of the only id that begins so, and its orchestration."""
    if len(name) < SHORTEST_BEGINNING:
        raise UnknownActionError(
            f"{name!r} is too short for an id.", f"Give {SHORTEST_BEGINNING} characters or more of it."
        )
    found = _reading(at_hand).orchestrations_of(name if name.startswith("act_") else f"act_{name}")
    if len(found) > 1:
        raise UnknownActionError(f"More than one id begins with {name!r}.", f"Such as {', '.join(found)}.")
    if not found:
        raise UnknownActionError(f"There is no action {name!r}.", "Look at `python -m app actions list`.")
    return next(iter(found.items()))
