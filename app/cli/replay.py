"""``python -m app replay`` and ``replays``: do one orchestration again; read who did what, why, and what came out."""

from __future__ import annotations

import json as json_text
from typing import Annotated, Literal, get_args

import typer
from rich.console import Console

from app.cli import replay_view
from app.cli.replay_at_hand import ReplayAtHand, replaying_at_hand
from app.cli.replay_run import Choices, replay_all
from app.cli.runs import InvalidChoiceError
from app.cli.runs import verify as verify_run
from app.data_plane.replay.register import ReplayRow, ReplayState, Wanted
from app.data_plane.replay.request import Person, Way

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Actor = Annotated[str, typer.Option(help="Who you are; it is kept.")]
Reason = Annotated[str, typer.Option(help="Why; it is kept.")]
ReleaseOption = Annotated[
    str,
    typer.Option(
        "--release", help="Of a rerun: a digest, or its beginning; else the one that takes the traffic."
    ),
]
Again = Annotated[bool, typer.Option("--again", help="Although its event was started anew before.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only tell what would be done.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for what comes out.")]
Deadline = Annotated[float, typer.Option(help="Seconds that are waited once the last one is due.", min=0.1)]

replays = typer.Typer(
    help="What was replayed: who, why, what was planned, what came out.", no_args_is_help=True
)


def replay(
    name: Annotated[str, typer.Argument(help="An orchestration's id, or the beginning of one.")],
    mode: Annotated[
        Literal["verify", "resume", "rerun"],
        typer.Option(help="Decide again from the record; go on from where it gave up; start its event anew."),
    ] = "verify",
    actor: Actor = "",
    reason: Reason = "",
    release: ReleaseOption = "",
    again: Again = False,
    dry_run: DryRun = False,
    wait: Wait = True,
    deadline: Deadline = 60.0,
    json: Json = False,
) -> None:
    """Replay one orchestration. Exits with 1 when that was refused, failed, or gave up again."""
    if mode == "verify":
        verify_run(name, every=False, json=json)
        return
    if mode == "resume" and release:
        raise InvalidChoiceError(
            "A resumed orchestration stays pinned to its release.",
            "Leave --release out, or use --mode rerun.",
        )
    choices = Choices(dry_run=dry_run, wait=wait, json=json, seconds=deadline)
    with replaying_at_hand() as at_hand:
        subject = at_hand.subject(name)
        replay_all(at_hand, [subject], Way(mode, release, again), Person(actor, reason), choices)


@replays.command("list")
def list_replays(
    state: Annotated[str | None, typer.Option(help="Only those in this state.")] = None,
    actor: Annotated[str | None, typer.Option(help="Only those that this person asked for.")] = None,
    of: Annotated[str | None, typer.Option(help="Only those of this orchestration.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only those of this tenant.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    before: Annotated[str | None, typer.Option(help="Only those older than this id: the next page.")] = None,
    json: Json = False,
) -> None:
    """List replays, the newest first."""
    with replaying_at_hand(tenant) as at_hand:
        wanted = Wanted(
            state=_state(state),
            actor=actor,
            orchestration_id=at_hand.subject(of).orchestration_id if of is not None else None,
            limit=limit,
            before=at_hand.replay(before) if before is not None else None,
        )
        rows = at_hand.replays.newest(at_hand.reading.tenants(), wanted)
    if json:
        print(json_text.dumps({"replays": [replay_view.row_as_json(row) for row in rows]}))
    else:
        replay_view.print_rows(Console(highlight=False), rows, limit)


@replays.command()
def show(
    name: Annotated[str, typer.Argument(help="A replay's id, or the beginning of one.")], json: Json = False
) -> None:
    """Show one replay: who, why, what was planned, what came out."""
    with replaying_at_hand() as at_hand:
        row = at_hand.replay(name)
        reason, planned = _kept(at_hand, row)
    if json:
        plan = json_text.loads(planned) if planned is not None else None
        print(json_text.dumps({**replay_view.row_as_json(row), "reason": reason, "plan": plan}))
    else:
        replay_view.print_row(Console(highlight=False), row, reason, planned)


def _state(name: str | None) -> ReplayState | None:
    for state in get_args(ReplayState):
        if name == state:
            chosen: ReplayState = state
            return chosen
    if name is not None:
        choice = ", ".join(get_args(ReplayState))
        raise InvalidChoiceError(f"There is no state {name!r}.", f"Choose one of {choice}.")
    return None


def _kept(at_hand: ReplayAtHand, row: ReplayRow) -> tuple[str | None, str | None]:
    """The reason and the plan, as the payload store has them; None for what was removed."""
    kept = at_hand.store.contents([row.tenant_id], [row.reason_digest, row.plan_digest])
    reason, plan = kept.get(row.reason_digest), kept.get(row.plan_digest)
    said = str(json_text.loads(reason)["reason"]) if reason is not None else None
    return said, plan.decode() if plan is not None else None
