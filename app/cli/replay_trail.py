"""``python -m app audit replays``: who had what done again, why, what they were shown before, and what came out."""

from __future__ import annotations

import json as json_text
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import typer
from rich.console import Console

from app.cli import replay_trail_view
from app.cli.dead_letters import moment
from app.cli.replay_at_hand import ReplayAtHand, replaying_at_hand
from app.cli.replay_trail_view import Entry, Together
from app.data_plane.replay.register import ReplayRow, ReplayState, Wanted
from app.data_plane.replay.trail import sent_by
from interlock.canonical import JsonObject

MOST_TOGETHER = 1000
"""Replays of one go that are added up; a larger go is told as so many and more."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The filter as it was written."""

    state: ReplayState | None
    actor: str | None
    of: str | None
    mode: Literal["resume", "rerun"] | None
    with_: str | None
    since: str | None
    until: str | None

    def wanted(self, at_hand: ReplayAtHand, limit: int, before: str | None) -> Wanted:
        """Which rows that is. Raises UnknownReplayError, UnknownOrchestrationError or InvalidChoiceError."""
        return Wanted(
            state=self.state,
            actor=self.actor,
            orchestration_id=at_hand.subject(self.of).orchestration_id if self.of else None,
            mode=self.mode,
            reason_digest=at_hand.replay(self.with_).reason_digest if self.with_ else None,
            since=moment(self.since) if self.since else None,
            until=moment(self.until) if self.until else None,
            limit=limit,
            before=at_hand.replay(before) if before else None,
        )


def replays(
    name: Annotated[
        str, typer.Argument(help="One replay in full: its id, or the beginning of one.", show_default=False)
    ] = "",
    state: Annotated[ReplayState | None, typer.Option(help="Only those in this state.")] = None,
    actor: Annotated[str | None, typer.Option(help="Only those that this person asked for.")] = None,
    of: Annotated[str | None, typer.Option(help="Only those of this orchestration.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only those of this tenant.")] = None,
    mode: Annotated[Literal["resume", "rerun"] | None, typer.Option(help="Only those of this mode.")] = None,
    with_: Annotated[
        str | None, typer.Option("--with", help="Only those asked for together with this one.")
    ] = None,
    since: Annotated[str | None, typer.Option(help="Only since then: 90m, 24h, 7d, or a time.")] = None,
    until: Annotated[str | None, typer.Option(help="Only before then, written likewise.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    before: Annotated[str | None, typer.Option(help="Only those older than this id: the next page.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show who replayed what and why, what was planned, and what came out; the newest first.

    verify and what_if have no effect and leave no row here; nor does what was refused at once.
    """
    console = Console(highlight=False)
    asked = Asked(state, actor, of, mode, with_, since, until)
    with replaying_at_hand(tenant) as at_hand:
        if name:
            (entry,) = entries(at_hand, [at_hand.replay(name)])
            together = _together(at_hand, entry.row)
            if json:
                print(json_text.dumps(replay_trail_view.one_as_json(entry, together)))
            else:
                replay_trail_view.print_one(console, entry, together)
            return
        rows = at_hand.replays.newest(at_hand.reading.tenants(), asked.wanted(at_hand, limit, before))
        found = entries(at_hand, rows)
    following = rows[-1].replay_id if len(rows) == limit else None
    if json:
        listed = [replay_trail_view.as_json(entry) for entry in found]
        print(json_text.dumps({"replays": listed, "next_before": following}))
    else:
        replay_trail_view.print_all(console, found, following)


def entries(at_hand: ReplayAtHand, rows: Sequence[ReplayRow]) -> list[Entry]:
    """The rows with their reasons, their plans and what they had sent: two queries, however many there are."""
    tenants = sorted({row.tenant_id for row in rows})
    plans = _contents(at_hand, tenants, [row.plan_digest for row in rows])
    reasons = _contents(at_hand, tenants, [row.reason_digest for row in rows])
    keys = {key for row in rows for key in (row.orchestration_id, row.new_orchestration_id) if key}
    histories = at_hand.store.histories(tenants, sorted(keys)) if keys else {}
    return [
        Entry(
            row,
            str(reasons[row.reason_digest]["reason"]) if row.reason_digest in reasons else None,
            plans.get(row.plan_digest),
            sent_by(row, histories) if row.state == "done" else None,
        )
        for row in rows
    ]


def _together(at_hand: ReplayAtHand, row: ReplayRow) -> Together:
    """All that were asked for with the same reason, and what they were to do in all."""
    wanted = Wanted(reason_digest=row.reason_digest, limit=MOST_TOGETHER)
    rows = at_hand.replays.newest([row.tenant_id], wanted)
    plans = _contents(at_hand, [row.tenant_id], [one.plan_digest for one in rows])
    return Together(tuple(rows), tuple(plans[one.plan_digest] for one in rows if one.plan_digest in plans))


def _contents(at_hand: ReplayAtHand, tenants: Sequence[str], digests: Sequence[str]) -> dict[str, JsonObject]:
    if not digests:
        return {}
    kept = at_hand.store.contents(tenants, sorted(set(digests)))
    return {digest: json_text.loads(body) for digest, body in kept.items()}
