"""How approvals are shown: as tables and plain words for people, as one object for programs."""

from __future__ import annotations

import json as json_text
from collections.abc import Callable
from dataclasses import asdict

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from app.adapters.postgresql.reading_approvals import ListedApproval
from app.cli.runs_view import SHOWN_OF_AN_ID
from app.data_plane.orchestration.approvals import Answered
from app.data_plane.replay.explain_approval import ApprovalStory, people
from app.data_plane.replay.explain_argument import ArgumentTold
from app.data_plane.replay.explain_calls import AgentTold, CallTold
from app.data_plane.replay.narrate_run import amount
from app.data_plane.replay.visible import visible
from app.kernel.clock import to_text

MOST_OF_A_VALUE = 2_000
"""Characters of an argument that are shown; of a longer one the length is told, and ``--json`` has it whole."""
MOST_OF_A_RESULT = 300
"""Characters of what an agent said, called for, or was told."""
_MARK = {
    "waiting": "yellow",
    "approved": "green",
    "denied": "red",
    "expired": "red",
    "superseded": "red",
    "ended": "red",
}
Line = Callable[[str], None]


def row_as_json(row: ListedApproval) -> dict[str, object]:
    """A row with its times as text."""
    return {**asdict(row), "since": to_text(row.since), "expires": to_text(row.expires)}


def print_rows(console: Console, rows: tuple[ListedApproval, ...], limit: int) -> None:
    """A list of what waits."""
    if not rows:
        console.print("No action waits for anybody's consent.", highlight=False)
        return
    names = ("tenant", "workflow", "what", "target", "since", "expires", "consents")
    table = Table(Column("action", no_wrap=True), *names)
    for row in rows:
        table.add_row(
            row.action_id[:SHOWN_OF_AN_ID],
            row.tenant_id,
            row.workflow,
            _safe(row.name if row.tool in row.name else f"{row.name} ({row.tool})"),
            row.target,
            to_text(row.since)[:19],
            to_text(row.expires)[:19],
            f"{row.consents} of {row.persons}",
        )
    console.print(table)
    if len(rows) == limit:
        console.print(f"There may be more: --limit {min(1000, limit * 10)}", highlight=False)
    console.print("What would happen, and what to do: python -m app approvals show ACTION", highlight=False)


def print_story(console: Console, story: ApprovalStory) -> None:
    """One approval: what happens, why people are asked, what is known, what can be done."""

    def line(text: str) -> None:
        console.print(text, soft_wrap=True)

    mark = _MARK[story.state]
    line(f"[bold]{story.action_id}[/] {_safe(story.name)}: [{mark}]{story.state}[/], {_safe(story.means)}")
    line(f"\n[bold]{_safe(story.what_happens)}[/]")
    for warning in story.warnings:
        line(f"  [red]Look:[/] {_safe(warning)}")
    line(f"\n  target    {_safe(story.target)}, {_safe(story.where) or 'its address is not known here'}")
    if story.arguments is None:
        line("  Its arguments were erased.")
    for argument in story.arguments or ():
        _print_argument(line, argument)
    _print_asking(line, story)
    line("\n[bold]What the agents said[/]")
    for agent in story.agents:
        _print_agent(line, agent)
    if story.decision_reason:
        line(f"  The decision, because: {_safe(story.decision_reason)}")
    line("\n[bold]What it rests on[/]")
    line(f"  workflow  {story.workflow}, tenant {story.tenant_id}")
    line(f"  run       {story.orchestration_id} ({story.orchestration_status})")
    line(
        f"  spent     {story.tokens:,} tokens, {amount('nano_usd', story.nano_usd)}, by the whole run so far"
    )
    line(f"  digest    {story.action_digest}")
    line(f"  policy    {story.policy}")
    line(f"  key       {story.idempotency_key}")
    line("\n[bold]What can be done[/]")
    for words in story.can_be_done:
        line(f"  {escape(words)}")


def print_answered(console: Console, answered: Answered, *, consents: bool, dry_run: bool) -> None:
    """What an answer led to, or would lead to."""

    def line(text: str) -> None:
        console.print(text, soft_wrap=True)

    what = f"{_safe(answered.name)}, {answered.tool} at {answered.target} ({answered.action_id})"
    verb = "would be" if dry_run else "is"
    said = "consented to" if consents else "denied"
    line(f"{what} {verb} {said}; it {verb} {answered.state}.")
    if answered.missing:
        line(f"  The consent of {people(answered.missing)} {'would be' if dry_run else 'is'} missing yet.")
    if answered.consented:
        line(f"  Consented: {_safe(', '.join(answered.consented))}.")
    line(f"  {answered.orchestration_id} {verb} {answered.orchestration_status}.")


def _print_asking(line: Line, story: ApprovalStory) -> None:
    line("\n[bold]Why people are asked[/]")
    for policy, why in story.why.items():
        line(f"  {_safe(policy)}: {_safe(why) or 'it gives no reason'}")
    missing = f", {people(story.missing)} more" if story.missing < story.persons and story.missing else ""
    line(f"  It needs {people(story.persons)}{missing}.")
    for answer in story.answers:
        said = "consented" if answer.consents else "denied it"
        line(
            f"  {_safe(answer.actor)} {said} at {answer.at[:19]}: {_safe(answer.reason) or 'no reason is kept'}"
        )
    if story.state == "waiting":
        nots = ", ".join(f"{_safe(name)} ({_safe(why)})" for name, why in story.cannot_consent.items())
        line(f"  These cannot consent: {nots}")
    line(f"  Asked since {story.since[:19]}, until {story.until[:19]}.")


def _print_argument(line: Line, argument: ArgumentTold) -> None:
    kind = "text for people" if argument.content else "decides what happens"
    mark = "yellow" if argument.untrusted else "green"
    line(f"  {_safe(argument.name)} ({kind}; [{mark}]{_safe(argument.came_from)}[/])")
    if argument.content and isinstance(argument.value, str):
        shown = argument.value[:MOST_OF_A_VALUE]
        for row in shown.split("\n"):
            line(f"    | {_safe(row)}")
    else:
        shown = json_text.dumps(argument.value, ensure_ascii=False)[:MOST_OF_A_VALUE]
        line(f"    {_safe(shown)}")
    if argument.characters > MOST_OF_A_VALUE:
        line(
            f"    [red]... {len(shown):,} of {argument.characters:,} characters are shown; --json has all of it.[/]"
        )


def _print_agent(line: Line, agent: AgentTold) -> None:
    if agent.failure:
        said = f"no proposal ({_safe(agent.failure)})"
    elif agent.said is None:
        said = "is under way"
    else:
        said = _short(agent.said)
    its = ", whose model proposes this" if agent.proposes_it else ""
    line(f"  {agent.agent} (stage {agent.stage}{its}): {said}")
    for call in agent.calls:
        line(f"    called {_called(call)}")


def _called(call: CallTold) -> str:
    at = f" at {_safe(call.target)}" if call.target else ""
    given = _short(call.arguments) if call.arguments is not None else "what is no JSON, or was erased"
    told = f"{_safe(call.tool)}{at} with {given}: {_safe(call.verdict)}"
    if call.failed:
        return f"{told}; {_safe(call.failed)}"
    return told if call.result is None else f"{told}; it answered {_short(call.result)}"


def _short(value: object) -> str:
    text = json_text.dumps(value, ensure_ascii=False)
    if len(text) <= MOST_OF_A_RESULT:
        return _safe(text)
    return f"{_safe(text[:MOST_OF_A_RESULT])} ... ({len(text):,} characters)"


def _safe(text: str) -> str:
    """Text of others as it is, but for what would not be seen, or would change what is seen around it."""
    return escape(visible(text))
