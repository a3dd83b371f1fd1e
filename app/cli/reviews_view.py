"""How reviews are shown: as tables and plain words for people, as one object for programs."""

from __future__ import annotations

import json as json_text
from dataclasses import asdict

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from app.adapters.postgresql.reading_reviews import ListedReview
from app.cli.runs_view import SHOWN_OF_AN_ID
from app.data_plane.orchestration.reviews import Resolved
from app.data_plane.replay.explain import Voice
from app.data_plane.replay.explain_review import ReviewStory
from app.data_plane.replay.visible import visible
from app.kernel.clock import to_text

_MARK = {"waiting": "yellow", "resolved": "green", "expired": "red", "ended": "red"}


def row_as_json(row: ListedReview) -> dict[str, object]:
    """A row with its times as text."""
    return {**asdict(row), "since": to_text(row.since), "expires": to_text(row.expires)}


def print_rows(console: Console, rows: tuple[ListedReview, ...], limit: int) -> None:
    """A list of what waits."""
    if not rows:
        console.print("No stage waits for a person.", highlight=False)
        return
    table = Table(Column("run", no_wrap=True), "tenant", "workflow", "stage", "since", "expires")
    for row in rows:
        table.add_row(
            row.orchestration_id[:SHOWN_OF_AN_ID],
            row.tenant_id,
            row.workflow,
            row.stage,
            to_text(row.since)[:19],
            to_text(row.expires)[:19],
        )
    console.print(table)
    if len(rows) == limit:
        console.print(f"There may be more: --limit {min(1000, limit * 10)}", highlight=False)
    console.print("What is known, and what to do: python -m app reviews show RUN", highlight=False)


def print_story(console: Console, story: ReviewStory) -> None:
    """One review: what is asked, what is known, what can be done."""

    def line(text: str) -> None:
        console.print(text, soft_wrap=True)

    line(
        f"[bold]{story.orchestration_id}[/] stage {story.stage}: [{_MARK[story.state]}]{story.state}[/],"
        f" {_safe(story.means)}"
    )
    line(f"  workflow  {story.workflow}, tenant {story.tenant_id}")
    line(f"  since     {story.since[:19]}" + (f", expires {story.expires[:19]}" if story.expires else ""))
    if story.outcome is not None:
        line(f"  outcome   {_one_line(story.outcome)}")
    line("\n[bold]What the agents said[/]")
    for voice in story.agents:
        line(f"  {voice.agent}: {_said(voice)}")
        for sentence in voice.way:
            line(f"    {_safe(sentence)}")
    for name, outcome in story.earlier.items():
        line(f"  before that, {name} was: {'skipped' if outcome is None else _one_line(outcome)}")
    line(
        f"\n[bold]The event[/] {_safe(story.event_id)} ({_safe(story.event_type)}) from {_safe(story.source)}"
    )
    _print_content(console, story.event)
    if story.snapshot:
        line("[bold]What was looked up for it[/]")
        _print_content(console, story.snapshot)
    line("\n[bold]What an outcome consists of[/]")
    for field in story.fields:
        allowed = f" ({_safe(field.allowed)})" if field.allowed else ""
        needed = "" if field.required else ", may be left out"
        told = f": {_safe(field.description)}" if field.description else ""
        line(f"  {field.name}  {field.type}{allowed}{needed}{told}")
    line("\n[bold]What can be done[/]")
    for words in story.can_be_done or ("Nothing needs to be done.",):
        line(f"  {escape(words)}")


def print_resolved(console: Console, resolved: Resolved, *, dry_run: bool) -> None:
    """What a resolution led to, or would lead to."""

    def line(text: str) -> None:
        console.print(text, soft_wrap=True)

    verb, after = ("would be completed", "would be") if dry_run else ("is completed", "is")
    line(
        f"Stage {resolved.stage} of {resolved.orchestration_id} {verb}; it {after} {resolved.orchestration_status}."
    )
    if resolved.ended_because:
        line(f"  {_safe(resolved.ended_because)}")
    if resolved.starts:
        line(f"  It goes on with {', '.join(resolved.starts)}.")
    for name, value in resolved.decision.items():
        line(f"  {name} = {_safe(str(value))}")
    for action in resolved.actions:
        line(f"  Action {_safe(action)}")


def _said(voice: Voice) -> str:
    if voice.failure:
        return f"no proposal ({_safe(voice.failure)})"
    return _one_line(voice.proposal)


def _print_content(console: Console, content: object) -> None:
    if content is None:
        console.print("  It was erased.")
        return
    for row in json_text.dumps(content, ensure_ascii=False, indent=2).splitlines():
        console.print(f"  {_safe(row)}", soft_wrap=True)


def _one_line(value: object) -> str:
    return _safe(json_text.dumps(value, ensure_ascii=False))


def _safe(text: str) -> str:
    """Text of others as it is, but for what would not be seen, or would change what is seen around it."""
    return escape(visible(text))
