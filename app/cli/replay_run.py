"""Replaying from the command line: plan, ask, wait, tell; for one orchestration or for many."""

from __future__ import annotations

import json as json_text
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from app.cli import replay_view
from app.cli.replay_at_hand import ReplayAtHand
from app.cli.replay_waiting import CameOut, wait
from app.data_plane.replay.request import BATCH, Person, Requested, Subject, Way
from app.kernel.errors import InterlockError


@dataclass(frozen=True, slots=True)
class Choices:
    """What the command line says beside whom and how.

    Args:
        rate: how many begin in a second.
        seconds: how long is waited for what comes out.
    """

    dry_run: bool
    wait: bool
    json: bool
    rate: float = 0.0
    seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What a filter found and is not replayed."""

    more: bool = False
    """Whether there are orchestrations beyond the limit."""
    of_messages: int = 0
    """How many dead letters were come across that no orchestration stands behind."""


NOTHING = LeftOut()


def show_plans(
    at_hand: ReplayAtHand,
    subjects: Sequence[Subject],
    way: Way,
    left_out: LeftOut = NOTHING,
    *,
    json: bool,
) -> None:
    """Tell what replaying them would do. Exits with 1 when none of them can be replayed."""
    plans = at_hand.desk.plan(subjects, way)
    if len(plans) == 1 and isinstance(plans[0], InterlockError):
        raise plans[0]
    pairs = list(zip(subjects, plans, strict=True))
    console = Console(highlight=False)
    if json:
        print(json_text.dumps({**replay_view.plans_as_json(pairs), **asdict(left_out)}))
    elif len(pairs) == 1 and not isinstance(plans[0], InterlockError):
        replay_view.print_plan(console, plans[0])
    elif pairs:
        replay_view.print_plans(console, pairs)
    else:
        console.print("There is nothing to replay. Dead letters: python -m app dead-letters list --all")
    if pairs and all(isinstance(plan, InterlockError) or plan.refused is not None for plan in plans):
        raise typer.Exit(1)


def replay_all(
    at_hand: ReplayAtHand,
    subjects: Sequence[Subject],
    way: Way,
    person: Person,
    choices: Choices,
    left_out: LeftOut = NOTHING,
) -> None:
    """Plan, ask, wait and tell. Exits with 1 when something was refused, failed, or gave up again."""
    if choices.dry_run:
        show_plans(at_hand, subjects, way, left_out, json=choices.json)
        return
    requested, refused = _ask(at_hand, subjects, way, person, choices)
    if len(subjects) == 1 and refused:
        raise refused[0][1]
    console = Console(highlight=False)
    if not choices.json:
        _tell_asked(console, requested, refused, subjects)
    came_out = _wait(at_hand, requested, choices) if choices.wait and requested else []
    if choices.json:
        told = replay_view.outcomes_as_json(refused, requested, came_out)
        print(json_text.dumps({**told, **asdict(left_out)}))
    elif choices.wait:
        for one in came_out:
            replay_view.print_outcome(console, one)
    else:
        replay_view.print_requested(console, requested)
    if refused or not all(one.is_good for one in came_out):
        raise typer.Exit(1)


def _ask(
    at_hand: ReplayAtHand, subjects: Sequence[Subject], way: Way, person: Person, choices: Choices
) -> tuple[list[Requested], list[tuple[Subject, InterlockError]]]:
    """Ask for all of them, a batch at a time."""
    requested: list[Requested] = []
    refused: list[tuple[Subject, InterlockError]] = []
    with _progress("Asking", choices, len(subjects)) as bar:
        task = bar.add_task("", total=len(subjects))
        # Also of nobody: that no reason was given is told whatever there is to replay.
        for start in range(0, max(1, len(subjects)), BATCH):
            part = subjects[start : start + BATCH]
            answers = at_hand.desk.request(part, way, person, rate=choices.rate, before=len(requested))
            for subject, answer in zip(part, answers, strict=True):
                if isinstance(answer, Requested):
                    requested.append(answer)
                else:
                    refused.append((subject, answer))
            bar.advance(task, len(part))
    return requested, refused


def _wait(at_hand: ReplayAtHand, requested: Sequence[Requested], choices: Choices) -> list[CameOut]:
    with _progress("Replaying", choices, len(requested)) as bar:
        task = bar.add_task("", total=len(requested))
        return wait(
            at_hand,
            requested,
            seconds=choices.seconds,
            tell=lambda over: bar.update(task, completed=over),
        )


def _progress(words: str, choices: Choices, count: int) -> Progress:
    columns = (TextColumn(words), BarColumn(), MofNCompleteColumn())
    quiet = choices.json or count < 2
    return Progress(*columns, console=Console(stderr=True, quiet=quiet), disable=quiet, transient=True)


def _tell_asked(
    console: Console,
    requested: Sequence[Requested],
    refused: Sequence[tuple[Subject, InterlockError]],
    subjects: Sequence[Subject],
) -> None:
    if not subjects:
        console.print("There is nothing to replay. Dead letters: python -m app dead-letters list --all")
    elif len(subjects) == 1:
        replay_view.print_plan(console, requested[0].plan)
    else:
        replay_view.print_totals(console, [one.plan for one in requested], refused=len(refused))
        replay_view.print_refused(console, refused)
