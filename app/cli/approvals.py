"""``python -m app approvals``: find what waits for people's consent, read what would happen, consent or say no."""

from __future__ import annotations

import json as json_text
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from app.adapters.postgresql.reading import RunView
from app.adapters.postgresql.reading_approvals import ApprovalReading
from app.adapters.postgresql.replays import PostgresqlReplays
from app.adapters.postgresql.tenants import TenantDocuments
from app.cli import approvals_view
from app.cli.actions import Id, Json, find
from app.cli.recording_at_hand import AtHand, recording_at_hand
from app.cli.replay_at_hand import Doorbells
from app.cli.runs import InvalidChoiceError
from app.cli.traced import traced
from app.data_plane.orchestration.approvals import Answer, Answered, check, foresee, give
from app.data_plane.replay.explain_approval import explain_approval
from app.data_plane.replay.surroundings import Surroundings, people_behind, policy_in_force
from app.kernel.clock import SystemClock
from app.kernel.errors import TransientError

approvals = typer.Typer(
    help="Actions that wait for people's consent: list, show, approve, deny.", no_args_is_help=True
)

Actor = Annotated[str, typer.Option(help="Who answers.")]
Reason = Annotated[str, typer.Option(help="Why; it is kept.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only tell what would follow.")]
SHORTEST_DIGEST = 8


@approvals.command("list")
def list_approvals(
    tenant: Annotated[str | None, typer.Option(help="Only those of this tenant.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    json: Json = False,
) -> None:
    """List the actions that wait for people's consent, those first whose time is over first."""
    with recording_at_hand(tenant) as at_hand:
        rows = ApprovalReading(at_hand.database, at_hand.reading.tenants()).soonest(limit)
    if json:
        print(json_text.dumps({"approvals": [approvals_view.row_as_json(row) for row in rows]}))
    else:
        approvals_view.print_rows(Console(), rows, limit)


@approvals.command()
def show(name: Id, json: Json = False) -> None:
    """Say what will happen if you consent, where each argument came from, why you are asked, and what can be done."""
    with recording_at_hand() as at_hand:
        row = find(at_hand, name, "approvals list")
        view = at_hand.reading.views([row.orchestration_id])[row.orchestration_id]
        release = at_hand.releases.get(view.row.release)
        around = _around(at_hand, view, strict=False)
        story = explain_approval(view.record, release, row.action_id, around, SystemClock().now())
    if json:
        print(json_text.dumps(asdict(story)))
    else:
        approvals_view.print_story(Console(highlight=False), story)


@approvals.command()
def approve(
    name: Id,
    actor: Actor = "",
    reason: Reason = "",
    digest: Annotated[
        str, typer.Option(help="The action's digest as you were shown it, or 8 characters or more of it.")
    ] = "",
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Consent, once, to exactly the action that you were shown; it is carried out when nobody's consent is missing."""
    shown = digest.strip().lower()
    if digest and len(shown) < SHORTEST_DIGEST:
        raise InvalidChoiceError(
            f"{digest!r} is too short for a digest.", f"Give {SHORTEST_DIGEST} characters or more of it."
        )
    # Under the workers' role: what follows may be a decision, which a reading role cannot add.
    with (
        recording_at_hand(role="interlock_worker", carrier=Doorbells()) as at_hand,
        traced("interlock_worker"),
    ):
        row = find(at_hand, name, "approvals list")
        around = _around(at_hand, at_hand.reading.views([row.orchestration_id])[row.orchestration_id])
        answer = Answer(
            tenant_id=row.tenant_id,
            orchestration_id=row.orchestration_id,
            action_id=row.action_id,
            consents=True,
            actor=actor,
            reason=reason,
            shown=shown,
            policy=around.policy,
            people=around.names,
        )
        answered = _answer(at_hand, answer, dry_run=dry_run)
    _tell(answered, consents=True, dry_run=dry_run, as_json=json)


@approvals.command()
def deny(
    name: Id, actor: Actor = "", reason: Reason = "", dry_run: DryRun = False, json: Json = False
) -> None:
    """Say no: the action is not carried out, and its orchestration goes on without it."""
    with (
        recording_at_hand(role="interlock_worker", carrier=Doorbells()) as at_hand,
        traced("interlock_worker"),
    ):
        row = find(at_hand, name, "approvals list")
        answer = Answer(row.tenant_id, row.orchestration_id, row.action_id, False, actor, reason)
        answered = _answer(at_hand, answer, dry_run=dry_run)
    _tell(answered, consents=False, dry_run=dry_run, as_json=json)


def _answer(at_hand: AtHand, answer: Answer, *, dry_run: bool) -> Answered:
    if not dry_run:
        return give(at_hand.recorder, answer, SystemClock().now)
    check(answer)
    loaded = at_hand.recorder.load([answer.tenant_id], [answer.orchestration_id])
    if answer.orchestration_id not in loaded:
        (view,) = at_hand.reading.views([answer.orchestration_id]).values()
        at_hand.releases.get(view.row.release)
    return foresee(loaded[answer.orchestration_id], answer, SystemClock().now())


def _tell(answered: Answered, *, consents: bool, dry_run: bool, as_json: bool) -> None:
    if as_json:
        print(json_text.dumps({**asdict(answered), "dry_run": dry_run}))
    else:
        console = Console(highlight=False)
        approvals_view.print_answered(console, answered, consents=consents, dry_run=dry_run)


def _around(at_hand: AtHand, view: RunView, *, strict: bool = True) -> Surroundings:
    """
    Args:
        strict: nobody consents where it is not known which policy is in force; reading does no harm.
    """
    tenant = TenantDocuments(at_hand.database).all().get(view.row.tenant_id)
    try:
        policy = policy_in_force(at_hand.releases, view.row.workflow)
    except TransientError:
        if strict:
            raise
        policy = None
    return Surroundings(
        policy=policy,
        people=people_behind(view.record, PostgresqlReplays(at_hand.database)),
        where={name: target.url for name, target in tenant.targets.items()} if tenant is not None else {},
    )
