"""``python -m app dead-letters plan|replay``: what a replay of dead letters would do, and having it done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import typer
from rich.console import Console

from app.adapters.postgresql.dead_letter_reading import DeadLetterFilter, DeadLetterReading
from app.cli.dead_letters import UnknownDeadLetterError, chosen, dead_letters, find
from app.cli.replay import Actor, Again, Deadline, DryRun, Json, Reason, ReleaseOption, Wait
from app.cli.replay_at_hand import ReplayAtHand, replaying_at_hand
from app.cli.replay_run import NOTHING, Choices, LeftOut, replay_all, show_plans
from app.cli.runs import InvalidChoiceError
from app.data_plane.dead_letters.letters import DeadLetterRow
from app.data_plane.replay.refusals import NotReplayableError
from app.data_plane.replay.register import REPLAY_PREFIX
from app.data_plane.replay.request import Person, Subject, Way

__all__ = ["dead_letters"]

ModeOption = Annotated[
    Literal["resume", "rerun"],
    typer.Option(help="Go on from where it gave up, or start its event anew."),
]
Name = Annotated[
    str | None, typer.Argument(help="A dead letter's or an orchestration's id, or the beginning of one.")
]
All = Annotated[bool, typer.Option("--all", help="All open ones that the filters leave.")]
Queue = Annotated[str | None, typer.Option("--queue", help="Only those of this queue.")]
Cause = Annotated[
    str | None, typer.Option("--cause", help="Only those of this cause, such as failed_delivery.")
]
Code = Annotated[str | None, typer.Option("--code", help="Only those with this error code.")]
Workflow = Annotated[str | None, typer.Option("--workflow", help="Only those of this workflow.")]
Tenant = Annotated[str | None, typer.Option("--tenant", help="Only those of this tenant.")]
Since = Annotated[str | None, typer.Option("--since", help="Only since then: 90m, 24h, 7d, or a time.")]
Limit = Annotated[int, typer.Option(min=1, max=100_000, help="How many orchestrations at most.")]


@dataclass(frozen=True, slots=True)
class _Chosen:
    """What was named or filtered: each orchestration once."""

    subjects: tuple[Subject, ...]
    left_out: LeftOut = NOTHING


@dead_letters.command()
def plan(
    name: Name = None,
    every: All = False,
    queue: Queue = None,
    cause: Cause = None,
    code: Code = None,
    workflow: Workflow = None,
    tenant: Tenant = None,
    since: Since = None,
    mode: ModeOption = "resume",
    release: ReleaseOption = "",
    again: Again = False,
    limit: Limit = 1000,
    json: Json = False,
) -> None:
    """Tell what a replay would do: each effect confirmed, to be sent, or in doubt. Exits with 1 when none could be."""
    wanted = _filter(name, every, queue, cause, code, workflow, tenant, since)
    with replaying_at_hand(tenant) as at_hand:
        found = _find(at_hand, name, wanted, limit)
        _tell_left_out(found.left_out, limit, json=json)
        show_plans(at_hand, found.subjects, _way(mode, release, again), found.left_out, json=json)


@dead_letters.command("replay")
def replay_dead_letters(
    name: Name = None,
    every: All = False,
    queue: Queue = None,
    cause: Cause = None,
    code: Code = None,
    workflow: Workflow = None,
    tenant: Tenant = None,
    since: Since = None,
    mode: ModeOption = "resume",
    release: ReleaseOption = "",
    again: Again = False,
    actor: Actor = "",
    reason: Reason = "",
    rate: Annotated[float, typer.Option(help="How many begin in a second.", min=0.01, max=1000)] = 5.0,
    limit: Limit = 1000,
    dry_run: DryRun = False,
    wait: Wait = True,
    deadline: Deadline = 60.0,
    json: Json = False,
) -> None:
    """Replay dead letters: one by its id, or all that the filters leave, so many a second.

    Exits with 1 when one of them was refused, failed, or gave up again.
    """
    wanted = _filter(name, every, queue, cause, code, workflow, tenant, since)
    choices = Choices(
        dry_run=dry_run, wait=wait, json=json, rate=rate if name is None else 0.0, seconds=deadline
    )
    with replaying_at_hand(tenant) as at_hand:
        found = _find(at_hand, name, wanted, limit)
        _tell_left_out(found.left_out, limit, json=json)
        way, person = _way(mode, release, again), Person(actor, reason)
        replay_all(at_hand, found.subjects, way, person, choices, found.left_out)


def _way(mode: Literal["resume", "rerun"], release: str, again: bool) -> Way:
    if mode == "resume" and release:
        raise InvalidChoiceError(
            "A resumed orchestration stays pinned to its release.",
            "Leave --release out, or use --mode rerun.",
        )
    return Way(mode, release, again)


def _filter(
    name: str | None,
    every: bool,
    queue: str | None,
    cause: str | None,
    code: str | None,
    workflow: str | None,
    tenant: str | None,
    since: str | None,
) -> DeadLetterFilter | None:
    """The filter, or None where one was named. Raises InvalidChoiceError when neither or both were said."""
    filtered = any(value is not None for value in (queue, cause, code, workflow, tenant, since))
    if (name is not None) == (every or filtered):
        raise InvalidChoiceError(
            "It is not said which dead letters, or said twice.", "Give one id, or filters, or --all."
        )
    if name is not None:
        return None
    return chosen(
        state="open", queue=queue, cause=cause, code=code, workflow=workflow, tenant=tenant, since=since
    )


def _find(at_hand: ReplayAtHand, name: str | None, wanted: DeadLetterFilter | None, limit: int) -> _Chosen:
    reading = DeadLetterReading(at_hand.database)
    if wanted is None:
        return _Chosen((_named(at_hand, reading, name or ""),))
    subjects: dict[str, Subject] = {}
    of_messages = 0
    for row in reading.all(wanted):
        if not row.orchestration_id:
            of_messages += 1
            continue
        if len(subjects) == limit and row.orchestration_id not in subjects:
            return _Chosen(tuple(subjects.values()), LeftOut(True, of_messages))
        subjects.setdefault(row.orchestration_id, _subject(row))
    return _Chosen(tuple(subjects.values()), LeftOut(False, of_messages))


def _named(at_hand: ReplayAtHand, reading: DeadLetterReading, name: str) -> Subject:
    if name.startswith(("orc_", REPLAY_PREFIX)):
        return at_hand.subject(name)
    try:
        row = find(reading, name)
    except UnknownDeadLetterError:
        if name.startswith("dlr_"):
            raise
        return at_hand.subject(name)
    if not row.orchestration_id:
        raise NotReplayableError(
            f"{row.dead_letter_id} is of a message, and no orchestration stands behind it.", row.remedy
        )
    return _subject(row)


def _subject(row: DeadLetterRow) -> Subject:
    return Subject(row.tenant_id, row.orchestration_id, row.dead_letter_id)


def _tell_left_out(left_out: LeftOut, limit: int, *, json: bool) -> None:
    """On standard error, so that it stands in nobody's way; the JSON object tells it itself."""
    console = Console(stderr=True, highlight=False, quiet=json)
    if left_out.of_messages:
        console.print(
            f"{left_out.of_messages} dead letters are of messages, which cannot be replayed:"
            " python -m app dead-letters show ID says what to do.",
            soft_wrap=True,
        )
    if left_out.more:
        console.print(f"There are more than {limit} orchestrations: give --limit.")
