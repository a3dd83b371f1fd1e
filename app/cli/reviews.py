"""``python -m app reviews``: find what waits for a person, read what is known of it, and complete it."""

from __future__ import annotations

import json as json_text
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from app.adapters.postgresql.reading_reviews import ReviewReading
from app.cli import reviews_view
from app.cli.recording_at_hand import recording_at_hand
from app.cli.replay_at_hand import Doorbells
from app.cli.runs import Id, Json, named_view
from app.cli.traced import traced
from app.data_plane.orchestration.reviews import (
    InvalidOutcomeError,
    Resolution,
    check,
    foresee,
    resolve,
)
from app.data_plane.replay.explain_review import explain_review
from app.kernel.clock import SystemClock
from interlock import strict_json
from interlock.canonical import JsonObject
from interlock.errors import InvalidInputError

reviews = typer.Typer(help="Stages that a person completes: list, show, resolve.", no_args_is_help=True)

Stage = Annotated[str, typer.Option(help="Which stage, if a person was asked about several.")]


@reviews.command("list")
def list_reviews(
    tenant: Annotated[str | None, typer.Option(help="Only those of this tenant.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    json: Json = False,
) -> None:
    """List the stages that wait for a person, the oldest first."""
    with recording_at_hand(tenant) as at_hand:
        rows = ReviewReading(at_hand.database, at_hand.reading.tenants()).oldest(limit)
    if json:
        print(json_text.dumps({"reviews": [reviews_view.row_as_json(row) for row in rows]}))
    else:
        reviews_view.print_rows(Console(), rows, limit)


@reviews.command()
def show(name: Id, stage: Stage = "", json: Json = False) -> None:
    """Say what a person must know to complete it: what the agents said, the event, and what an outcome consists of."""
    with recording_at_hand() as at_hand:
        view = named_view(at_hand.reading, name)
        release = at_hand.releases.get(view.row.release)
    story = explain_review(view.record, release, stage, SystemClock().now())
    if json:
        print(json_text.dumps(asdict(story)))
    else:
        reviews_view.print_story(Console(highlight=False), story)


@reviews.command("resolve")
def resolve_review(
    name: Id,
    outcome: Annotated[str, typer.Option(help="The stage's outcome: a JSON object, or @ and a file's name.")],
    stage: Stage = "",
    actor: Annotated[str, typer.Option(help="Who completes it.")] = "",
    reason: Annotated[str, typer.Option(help="Why so; it is kept.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would follow.")] = False,
    json: Json = False,
) -> None:
    """Complete a stage whose agents gave no valid proposal; its orchestration goes on with this outcome."""
    said = _outcome(outcome)
    # Under the workers' role: what follows may be the decision, which a reading role cannot add.
    with (
        recording_at_hand(role="interlock_worker", carrier=Doorbells()) as at_hand,
        traced("interlock_worker"),
    ):
        row = named_view(at_hand.reading, name).row
        resolution = Resolution(row.tenant_id, row.orchestration_id, said, actor, reason, stage)
        now = SystemClock().now()
        if dry_run:
            loaded = at_hand.recorder.load([row.tenant_id], [row.orchestration_id])
            if row.orchestration_id not in loaded:
                at_hand.releases.get(row.release)
            resolved = foresee(loaded[row.orchestration_id], resolution, now)
        else:
            check(resolution)
            resolved = resolve(at_hand.recorder, resolution, now)
    if json:
        print(json_text.dumps({**asdict(resolved), "dry_run": dry_run}))
    else:
        reviews_view.print_resolved(Console(highlight=False), resolved, dry_run=dry_run)


def _outcome(given: str) -> JsonObject:
    """The object that was given, or that the named file holds. Raises InvalidOutcomeError."""
    remedy = 'Give one JSON object, as in --outcome \'{"level": "low"}\', or a file that holds it: --outcome @FILE.'
    try:
        body = _file(Path(given[1:])) if given.startswith("@") else os.fsencode(given)
        value = strict_json.read(body)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise InvalidOutcomeError(f"{given[1:]} cannot be read: {why}.", remedy) from error
    except InvalidInputError as error:
        raise InvalidOutcomeError(f"The outcome cannot be read. {error.what}", remedy) from error
    if not isinstance(value, dict):
        raise InvalidOutcomeError("The outcome is JSON, but not an object.", remedy)
    return value


def _file(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(strict_json.MAX_BYTES + 1)
