"""``python -m app actions list|show``: find actions, and read what became of them."""

from __future__ import annotations

import json as json_text
from dataclasses import asdict
from typing import Annotated, get_args

import typer
from rich.console import Console

from app.adapters.postgresql.reading_actions import ActionFilter, ActionReading, ListedAction
from app.cli import actions_view
from app.cli.dead_letters import moment
from app.cli.recording_at_hand import AtHand, recording_at_hand
from app.cli.runs import InvalidChoiceError
from app.data_plane.dispatch.settle import UnknownActionError
from app.data_plane.orchestration.action_state import ActionStatus
from app.data_plane.replay.explain_action import explain_action
from app.kernel.clock import SystemClock

actions = typer.Typer(help="Actions: list, show, settle what is in doubt.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Id = Annotated[str, typer.Argument(help="An action's id, or the beginning of one (8 characters or more).")]
Target = Annotated[str | None, typer.Option(help="Only those at this target.")]
Workflow = Annotated[str | None, typer.Option(help="Only those of this workflow.")]
Tenant = Annotated[str | None, typer.Option(help="Only those of this tenant.")]
Since = Annotated[
    str | None, typer.Option(help="Only of what was accepted since then: 90m, 24h, 7d, or a time.")
]
SHORTEST_BEGINNING = 8


@actions.command("list")
def list_actions(
    state: Annotated[str | None, typer.Option(help="Only those in this state, such as in_doubt.")] = None,
    target: Target = None,
    workflow: Workflow = None,
    tenant: Tenant = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    before: Annotated[str | None, typer.Option(help="Only those behind this id: the next page.")] = None,
    json: Json = False,
) -> None:
    """List actions, those of the newest orchestrations first."""
    states = get_args(ActionStatus)
    if state is not None and state not in states:
        raise InvalidChoiceError(f"There is no state {state!r}.", f"Choose one of {', '.join(states)}.")
    wanted = ActionFilter(state, target, workflow, moment(since) if since is not None else None)
    with recording_at_hand(tenant) as at_hand:
        last = find(at_hand, before) if before is not None else None
        rows = reading(at_hand).page(wanted, limit, last)
    if json:
        print(json_text.dumps({"actions": [actions_view.row_as_json(row) for row in rows]}))
    else:
        actions_view.print_rows(Console(), rows, wanted, limit)


@actions.command()
def show(name: Id, json: Json = False) -> None:
    """Say what an action is, what was tried, what came back, and what can be done."""
    with recording_at_hand() as at_hand:
        row = find(at_hand, name)
        view = at_hand.reading.views([row.orchestration_id])[row.orchestration_id]
        story = explain_action(
            view.record, at_hand.releases.get(view.row.release), row.action_id, SystemClock().now()
        )
    if json:
        print(json_text.dumps(asdict(story)))
    else:
        actions_view.print_story(Console(highlight=False), story)


def reading(at_hand: AtHand) -> ActionReading:
    """The lists of actions."""
    return ActionReading(at_hand.database, at_hand.reading.tenants())


def find(at_hand: AtHand, name: str, listed_by: str = "actions list") -> ListedAction:
    """The action of that id, or of the only id that begins so. Raises UnknownActionError.

    Args:
        listed_by: the command that names such actions.
    """
    if len(name.removeprefix("act_")) < SHORTEST_BEGINNING:
        raise UnknownActionError(
            f"{name!r} is too short for an id.", f"Give {SHORTEST_BEGINNING} characters or more of it."
        )
    found = reading(at_hand).beginning(name if name.startswith("act_") else f"act_{name}")
    if len(found) > 1:
        ids = ", ".join(row.action_id for row in found)
        raise UnknownActionError(f"More than one id begins with {name!r}.", f"Such as {ids}.")
    if not found:
        raise UnknownActionError(f"There is no action {name!r}.", f"Look at `python -m app {listed_by}`.")
    return found[0]
