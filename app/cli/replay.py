"""``python -m app replay``: do one orchestration again."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from app.cli.replay_at_hand import replaying_at_hand
from app.cli.replay_run import Choices, replay_all
from app.cli.runs import InvalidChoiceError
from app.cli.runs import verify as verify_run
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
