"""How actions are shown: as tables and plain words for people, as one object for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from app.adapters.postgresql.reading_actions import ActionFilter, ListedAction
from app.data_plane.dispatch.settle import Settled
from app.data_plane.replay.explain_action import ActionStory
from app.kernel.clock import to_text
from app.kernel.errors import InterlockError

_MARK = {
    "confirmed": "green",
    "failed": "red",
    "in_doubt": "red",
    "denied": "yellow",
    "sending": "yellow",
    "awaiting_approval": "yellow",
}


def row_as_json(row: ListedAction) -> dict[str, object]:
    """A row with its time as text."""
    return {**asdict(row), "accepted_at": to_text(row.accepted_at)}


def print_rows(console: Console, rows: tuple[ListedAction, ...], wanted: ActionFilter, limit: int) -> None:
    """A page of actions."""
    if not rows:
        narrowed = wanted.target or wanted.workflow or wanted.since is not None
        which = f"No action is {wanted.state}" if wanted.state is not None else "There is no action"
        like = " like that." if narrowed else ("." if wanted.state is not None else " yet.")
        console.print(which + like, highlight=False)
        return
    table = Table(Column("action", no_wrap=True), "what", "target", "state", "why", "tries", "accepted")
    for row in rows:
        table.add_row(
            row.action_id[:16],
            f"{row.workflow}: {row.name}",
            row.target,
            _state(row.state),
            escape(row.reason) or "-",
            str(row.attempts),
            to_text(row.accepted_at)[:19],
        )
    console.print(table)
    if len(rows) == limit:
        console.print(f"More: --before {rows[-1].action_id}", highlight=False, soft_wrap=True)
    if any(row.state == "in_doubt" for row in rows):
        console.print("What can be done: python -m app actions show ACTION", highlight=False)


def print_story(console: Console, story: ActionStory) -> None:
    """One action: what it is, what was tried, what can be done."""

    def line(text: str) -> None:
        console.print(text, soft_wrap=True)

    tells_why = story.reason and story.state not in {"confirmed", "settled"}
    reason = f" ({escape(story.reason)})" if tells_why else ""
    line(f"[bold]{story.action_id}[/] {_state(story.state)}: {story.means}{reason}")
    line(f"  action         {escape(story.name)}, {story.tool} at {story.target}")
    line(
        f"  orchestration  {story.orchestration_id} ({story.orchestration_status}), tenant {story.tenant_id}"
    )
    line(f"  arguments      {story.arguments_digest}")
    line(f"  key            {story.idempotency_key or '-'}")
    line(f"  target         {escape(story.keeps_keys)}")
    if story.asked:
        line("\n[bold]Who was asked[/]")
    for one in story.asked:
        line(f"  {one.at[:23]}  {escape(one.text)}")
    line("\n[bold]What was tried[/]")
    if not story.attempts:
        line("  Nothing was sent.")
    for attempt in story.attempts:
        answer = escape(attempt.answer) or "no answer is recorded"
        answered = f", recorded at {attempt.answered_at[:23]}" if attempt.answered_at else ""
        line(f"  Attempt {attempt.number} at {attempt.at[:23]}: {answer}{answered}")
    for finding in story.findings:
        line(f"  {finding.at[:23]}  {escape(finding.text)}")
    line("\n[bold]What can be done[/]")
    for words in story.can_be_done or ("Nothing needs to be done.",):
        line(f"  {escape(words)}")


def print_settled(console: Console, settled: Settled, *, dry_run: bool) -> None:
    """What a settlement led to, or would lead to."""
    said = "was applied" if settled.applied else "was not applied"
    verb = "would be settled" if dry_run else "is settled"
    after = "would be" if dry_run else "is"

    def line(text: str) -> None:
        console.print(text, soft_wrap=True)

    line(f"{settled.action_id} ({escape(settled.name)}) {verb}: it {said}.")
    line(f"  {settled.orchestration_id} {after} {settled.orchestration_status}.")
    if settled.left:
        line(f"  Of its other actions these gave up: {escape(', '.join(settled.left))}.")
    if not settled.applied and settled.orchestration_status == "dead_lettered":
        line(
            f"  To send it again, with the same key: python -m app replay {settled.orchestration_id}"
            " --mode resume (or python -m app dead-letters replay)."
        )


def came_out_as_json(
    settled: Sequence[Settled], failed: Sequence[tuple[ListedAction, InterlockError]]
) -> dict[str, object]:
    """What came out of settling many."""
    return {
        "settled": [asdict(one) for one in settled],
        "failed": [
            {
                "action_id": row.action_id,
                "orchestration_id": row.orchestration_id,
                "code": error.code,
                "what": error.what,
                "remedy": error.remedy,
            }
            for row, error in failed
        ],
    }


def print_came_out(
    console: Console,
    settled: Sequence[Settled],
    failed: Sequence[tuple[ListedAction, InterlockError]],
    *,
    dry_run: bool,
) -> None:
    """A line for each of many, and then how many there were."""

    def line(text: str) -> None:
        console.print(text, soft_wrap=True)

    is_so = "would be" if dry_run else "is"
    for one in settled:
        line(
            f"{one.action_id} ({escape(one.name)}) {is_so} settled; {one.orchestration_id} {is_so}"
            f" {one.orchestration_status}."
        )
    for row, error in failed:
        line(f"{row.action_id} ({escape(row.name)}) [red]failed[/] ({error.code}): {escape(error.what)}")
    if not settled and not failed:
        line("No action like that is in doubt.")
        return
    told = "was applied" if settled and settled[0].applied else "was not applied"
    line(f"{len(settled)} {'would be' if dry_run else 'are'} settled: it {told}. {len(failed)} failed.")
    if (
        any(not one.applied and one.orchestration_status == "dead_lettered" for one in settled)
        and not dry_run
    ):
        line("To send them again, with the same keys: python -m app dead-letters replay --code not_applied")


def _state(state: str) -> str:
    colour = _MARK.get(state)
    return f"[{colour}]{state}[/]" if colour else state
