"""How plans, outcomes and the register of replays are shown: in words and tables, or as one object for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from rich.console import Console
from rich.markup import escape

from app.cli.replay_waiting import CameOut
from app.data_plane.replay.plan import Effect, ReplayPlan, totals
from app.data_plane.replay.register import ReplayRow
from app.data_plane.replay.request import Requested, Subject
from app.kernel.clock import to_text
from app.kernel.errors import InterlockError
from app.telemetry.redaction import redact

MOST_LINES = 50
"""Orchestrations that are told one by one before only their number is."""

_WORDS = {
    "confirmed": "confirmed",
    "will_be_sent": "will be sent",
    "awaits_approval": "waits for people's consent",
    "in_doubt": "in doubt",
    "denied": "denied",
    "decided_anew": "decided anew",
}
_MARK = {"will_be_sent": "yellow", "in_doubt": "red", "confirmed": "green", "decided_anew": "yellow"}
_STATE_MARK = {"done": "green", "refused": "yellow", "failed": "red", "requested": "cyan"}


def error_as_json(subject: Subject, error: InterlockError) -> dict[str, str]:
    """Why one of several was refused."""
    return {
        "orchestration_id": subject.orchestration_id,
        "code": error.code,
        "what": error.what,
        "remedy": error.remedy,
    }


def row_as_json(row: ReplayRow) -> dict[str, object]:
    """A replay with its times as text."""
    finished = to_text(row.finished_at) if row.finished_at is not None else None
    return {**asdict(row), "requested_at": to_text(row.requested_at), "finished_at": finished}


def plans_as_json(pairs: Sequence[tuple[Subject, ReplayPlan | InterlockError]]) -> dict[str, object]:
    """Plans, and what cannot be planned."""
    plans = [plan for _, plan in pairs if isinstance(plan, ReplayPlan)]
    return {
        "dry_run": True,
        "totals": totals(plans),
        "plans": [asdict(plan) for plan in plans],
        "errors": [error_as_json(of, plan) for of, plan in pairs if isinstance(plan, InterlockError)],
    }


def print_plan(console: Console, plan: ReplayPlan) -> None:
    """One plan: each effect, what goes on, and why it would be refused."""

    def line(text: str) -> None:
        console.print(text, soft_wrap=True)

    line(f"[bold]{plan.orchestration_id}[/] is {plan.status}; {plan.mode} under release {plan.release[:12]}")
    if plan.new_orchestration_id:
        line(f"  It would start {plan.new_orchestration_id}.")
    for effect in plan.effects:
        line(f"  {_effect(effect)}")
    if not plan.effects:
        line("  It has no effect so far.")
    for words in plan.goes_on:
        line(f"  Goes on: {escape(words)}")
    for words in plan.earlier:
        line(f"  Earlier: {escape(redact(words))}")
    if plan.refused is not None:
        line(f"  [red]Refused[/] ({plan.refused.code}): {escape(plan.refused.what)}")
        line(f"  What to do: {escape(plan.refused.remedy)}")


def _effect(effect: Effect) -> str:
    words = _WORDS[effect.standing]
    marked = f"[{_MARK[effect.standing]}]{words}[/]" if effect.standing in _MARK else words
    since = f" since {effect.since[:19]}Z" if effect.since else ""
    named = f" [{effect.action_id}]" if effect.standing == "in_doubt" else ""
    told = f"{effect.name} ({effect.tool} at {effect.target}): {marked}{since}; {escape(effect.why)}"
    return f"{told}{escape(named)}"


def print_plans(console: Console, pairs: Sequence[tuple[Subject, ReplayPlan | InterlockError]]) -> None:
    """Several plans: a line for each, and what they come to together."""
    for subject, plan in pairs[:MOST_LINES]:
        if isinstance(plan, InterlockError):
            told = f"[red]cannot be planned[/]: {escape(plan.what)}"
        elif plan.refused is not None:
            told = f"[red]refused[/] ({plan.refused.code}): {escape(plan.refused.what)}"
        else:
            told = counted(plan.totals) or "no effect so far"
        console.print(f"{subject.orchestration_id}  {told}", soft_wrap=True)
    if len(pairs) > MOST_LINES:
        console.print(f"... and {len(pairs) - MOST_LINES} more; --json tells all")
    plans = [plan for _, plan in pairs if isinstance(plan, ReplayPlan) and plan.refused is None]
    print_totals(console, plans, refused=len(pairs) - len(plans))


def print_totals(console: Console, plans: Sequence[ReplayPlan], *, refused: int) -> None:
    """What plans come to together, and how many others are refused."""
    effects = counted(totals(plans)) or "no effect"
    console.print(f"[bold]{len(plans)} to be replayed[/] ({effects}), {refused} refused", soft_wrap=True)


def counted(counts: Mapping[str, int]) -> str:
    """So many effects of each standing, in words."""
    return ", ".join(f"{count} {_WORDS[name]}" for name, count in sorted(counts.items()))


def outcomes_as_json(
    refused: Sequence[tuple[Subject, InterlockError]],
    requested: Sequence[Requested],
    came_out: Sequence[CameOut],
) -> dict[str, object]:
    """What was requested, what came out, and what was refused."""
    known = {one.row.replay_id: one for one in came_out}
    return {
        "replays": [_requested_as_json(one, known.get(one.replay_id)) for one in requested],
        "refused": [error_as_json(subject, error) for subject, error in refused],
    }


def _requested_as_json(one: Requested, came_out: CameOut | None) -> dict[str, object]:
    told: dict[str, object] = {
        "replay_id": one.replay_id,
        "orchestration_id": one.subject.orchestration_id,
        "dead_letter_id": one.subject.dead_letter_id,
        "planned": one.plan.totals,
        "state": "requested",
    }
    if came_out is None:
        return told
    row = came_out.row
    return {
        **told,
        "state": row.state,
        "outcome": row.outcome,
        "new_orchestration_id": row.new_orchestration_id,
        "status": came_out.status,
    }


def print_requested(console: Console, requested: Sequence[Requested]) -> None:
    """What a worker will carry out."""
    for one in requested[:MOST_LINES]:
        console.print(f"{one.subject.orchestration_id}  requested as {one.replay_id}", soft_wrap=True)
    if len(requested) > MOST_LINES:
        console.print(f"... and {len(requested) - MOST_LINES} more")
    if requested:
        console.print("What comes out: python -m app audit replays", soft_wrap=True)


def print_outcome(console: Console, one: CameOut) -> None:
    """One line: what came out, and how the orchestration ended."""
    row = one.row
    if row.finished_at is None:
        ended = "is not taken by a worker yet"
    elif row.state == "done":
        ended = f"{one.orchestration_id} is {one.status}"
    else:
        ended = f"it is {one.status} as before"
    outcome = f" {escape(redact(row.outcome))};" if row.outcome else ""
    console.print(f"{row.orchestration_id}  {shown_state(row.state)}:{outcome} {ended}", soft_wrap=True)


def print_refused(console: Console, refused: Sequence[tuple[Subject, InterlockError]]) -> None:
    """Why some were not even requested."""
    for subject, error in refused[:MOST_LINES]:
        console.print(
            f"{subject.orchestration_id}  [red]refused[/] ({error.code}): {escape(redact(error.what))}",
            soft_wrap=True,
        )
    if len(refused) > MOST_LINES:
        console.print(f"... and {len(refused) - MOST_LINES} more refused; --json tells all")


def shown_state(state: str) -> str:
    """A replay's state in its colour."""
    return f"[{_STATE_MARK[state]}]{state}[/]"
