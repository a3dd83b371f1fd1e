"""``python -m app actions settle``: say what became of what is in doubt, of one action or of all at one target."""

from __future__ import annotations

import json as json_text
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from app.adapters.postgresql.reading_actions import ActionFilter, ActionReading, ListedAction
from app.cli import actions_view
from app.cli.actions import Json, Since, Target, Tenant, Workflow, actions, find, reading
from app.cli.dead_letters import moment
from app.cli.recording_at_hand import AtHand, recording_at_hand
from app.cli.runs import InvalidChoiceError
from app.cli.traced import traced
from app.data_plane.dispatch.settle import (
    Settled,
    Settlement,
    check,
    foresee,
    foresee_all,
    settle,
    settle_all,
)
from app.kernel.errors import InterlockError

__all__ = ["actions"]

BATCH = 64
"""Actions that are settled in one commit."""

Name = Annotated[
    str | None,
    typer.Argument(help="An action's id, or the beginning of one (8 characters or more).", metavar="ID"),
]


@dataclass(frozen=True, slots=True)
class _Said:
    """What a person says, and of what."""

    applied: bool
    actor: str
    reason: str
    dry_run: bool

    def of(self, row: ListedAction) -> Settlement:
        return Settlement(
            row.tenant_id, row.orchestration_id, row.action_id, self.applied, self.actor, self.reason
        )


@dataclass(slots=True)
class CameOut:
    """What came out of settling many."""

    settled: list[Settled] = field(default_factory=list)
    failed: list[tuple[ListedAction, InterlockError]] = field(default_factory=list)
    more: bool = False
    """Whether there are others that were not tried."""


@actions.command("settle")
def settle_actions(
    name: Name = None,
    every: Annotated[
        bool, typer.Option("--all", help="All in doubt at one target, as far as the filters leave them.")
    ] = False,
    target: Target = None,
    workflow: Workflow = None,
    tenant: Tenant = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="With --all: how many at most.")] = 1000,
    applied: Annotated[
        bool | None,
        typer.Option("--applied/--not-applied", help="What became of it at its target.", show_default=False),
    ] = None,
    actor: Annotated[str, typer.Option(help="Who says so.")] = "",
    reason: Annotated[str, typer.Option(help="How you know; it is kept.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would follow.")] = False,
    json: Json = False,
) -> None:
    """Say what became of what is in doubt: it was applied, or it was not. With --all, of everything at one target.

    Exits with 1 when one of them could not be settled.
    """
    wanted = _filter(name, every, target, workflow, tenant, since)
    if applied is None:
        raise InvalidChoiceError(
            "It is not said what became of it.", "Look at its target; then give --applied or --not-applied."
        )
    said = _Said(applied, actor, reason, dry_run)
    with recording_at_hand(tenant) as at_hand, traced():
        if wanted is None:
            _settle_one(at_hand, name or "", said, json=json)
        else:
            _settle_many(at_hand, wanted, said, limit, json=json)


def _filter(
    name: str | None,
    every: bool,
    target: str | None,
    workflow: str | None,
    tenant: str | None,
    since: str | None,
) -> ActionFilter | None:
    """The filter, or None where one is named. Raises InvalidChoiceError when neither or both were said."""
    if (name is not None) == every:
        raise InvalidChoiceError(
            "It is not said what to settle, or said twice.", "Give an id, or --all with --target and no id."
        )
    if name is not None:
        if any(value is not None for value in (target, workflow, tenant, since)):
            raise InvalidChoiceError("A filter goes with --all.", "Give an id and no filter, or --all.")
        return None
    if target is None:
        raise InvalidChoiceError(
            "It is not said at which target.", "What became of actions is found out there: give --target."
        )
    return ActionFilter("in_doubt", target, workflow, moment(since) if since is not None else None)


def _settle_one(at_hand: AtHand, name: str, said: _Said, *, json: bool) -> None:
    row = find(at_hand, name)
    settlement = said.of(row)
    if said.dry_run:
        loaded = at_hand.recorder.load([row.tenant_id], [row.orchestration_id])
        if row.orchestration_id not in loaded:
            run = at_hand.reading.views([row.orchestration_id])[row.orchestration_id].row
            at_hand.releases.get(run.release)
        settled = foresee(loaded[row.orchestration_id], settlement)
    else:
        check(settlement)
        settled = settle(at_hand.recorder, settlement)
    if json:
        print(json_text.dumps({**asdict(settled), "dry_run": said.dry_run}))
    else:
        actions_view.print_settled(Console(highlight=False), settled, dry_run=said.dry_run)


def _settle_many(at_hand: AtHand, wanted: ActionFilter, said: _Said, limit: int, *, json: bool) -> None:
    check(Settlement("", "", "", said.applied, said.actor, said.reason))
    listed = reading(at_hand)
    came_out = CameOut()
    total = min(limit, listed.count(wanted))
    columns = (TextColumn("Settling"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, console=Console(stderr=True, quiet=json), disable=json or total < 2, transient=True
    ) as bar:
        task = bar.add_task("", total=total)
        for rows, more in _batches(listed, wanted, limit):
            came_out.more = more
            if not _settle_batch(at_hand, rows, said, came_out):
                came_out.more = True
                break
            bar.advance(task, len(rows))
    if json:
        told = actions_view.came_out_as_json(came_out.settled, came_out.failed)
        print(json_text.dumps({**told, "dry_run": said.dry_run, "more": came_out.more}))
    else:
        console = Console(highlight=False)
        actions_view.print_came_out(console, came_out.settled, came_out.failed, dry_run=said.dry_run)
        if came_out.more:
            console.print("There are more that were not tried: give --limit, or run it again.")
    if came_out.failed:
        raise typer.Exit(1)


def _batches(
    listed: ActionReading, wanted: ActionFilter, limit: int
) -> Iterator[tuple[Sequence[ListedAction], bool]]:
    """The rows up to the limit, a batch at a time, and whether there are others behind the limit."""
    left = limit
    for rows in listed.all(wanted, BATCH):
        part = rows[:left]
        left -= len(part)
        more = len(part) < len(rows) or (left == 0 and bool(listed.page(wanted, 1, rows[-1])))
        yield part, more
        if left == 0:
            return


def _settle_batch(at_hand: AtHand, rows: Sequence[ListedAction], said: _Said, came_out: CameOut) -> bool:
    """Settle one batch; False when it could not be recorded at all, so that others would not be either."""
    settlements = [said.of(row) for row in rows]
    try:
        answers = (foresee_all if said.dry_run else settle_all)(at_hand.recorder, settlements)
    except InterlockError as error:
        came_out.failed += [(row, error) for row in rows]
        return False
    for row, answer in zip(rows, answers, strict=True):
        if isinstance(answer, Settled):
            came_out.settled.append(answer)
        else:
            came_out.failed.append((row, answer))
    return True
