"""How orchestrations are shown: as tables and plain words for people, as one object for programs."""

from __future__ import annotations

import json as json_text
from dataclasses import asdict

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column, Table

from app.adapters.postgresql.reading import WAITS_FOR_PEOPLE, Reading, RunRow, RunView
from app.adapters.postgresql.releases import PostgresqlReleases, ReleaseUnavailableError
from app.data_plane.orchestration.cancel import Foreseen
from app.data_plane.replay.explain import ActionTold, Explanation, StageTold
from app.data_plane.replay.narrate import tell
from app.data_plane.replay.record import read_chain
from app.data_plane.replay.verify import Verification, verify
from app.kernel.clock import to_text

SHOWN_OF_AN_ID = 16
"""Characters; every command takes the beginning of an id."""

_MARK = {
    "in_review": "yellow",
    "awaiting_approval": "yellow",
    "completed": "green",
    "failed": "red",
    "dead_lettered": "red",
    "cancelled": "yellow",
}


def row_as_json(row: RunRow) -> dict[str, object]:
    """A row with its times as text."""
    closed = to_text(row.closed_at) if row.closed_at is not None else None
    return {**asdict(row), "created_at": to_text(row.created_at), "closed_at": closed}


def view_as_json(view: RunView) -> dict[str, object]:
    """Everything that is recorded, except the content that the digests name."""
    record = view.record
    chains = {record.orchestration_id: record.chain, **record.runs}
    return {
        "run": row_as_json(view.row),
        "chains": {
            key: [
                {
                    "seq": item.seq,
                    "at": item.at,
                    "hash": link.hash.hex(),
                    "fact": item.fact.model_dump(mode="json"),
                }
                for item, link in zip(read_chain(links), links, strict=False)
            ]
            for key, links in chains.items()
        },
    }


def print_rows(console: Console, rows: tuple[RunRow, ...], limit: int) -> None:
    """A page of orchestrations."""
    if not rows:
        console.print("There is no such orchestration. Send an event: python -m app submit FILE")
        return
    table = Table(Column("run", no_wrap=True), "workflow", "event", "state", "decision", "since")
    for row in rows:
        table.add_row(
            row.orchestration_id[:SHOWN_OF_AN_ID],
            row.workflow,
            row.event_type.removeprefix("com.github."),
            _state(row.status),
            row.decision_digest[:12] or "-",
            to_text(row.created_at)[:19],
        )
    console.print(table)
    waiting = sum(row.status in WAITS_FOR_PEOPLE for row in rows)
    if waiting:
        verb = "waits" if waiting == 1 else "wait"
        where = "python -m app approvals list, reviews list"
        console.print(f"{waiting} {verb} for a person: {where}", highlight=False, soft_wrap=True)
    if len(rows) == limit:
        console.print(f"More: --before {rows[-1].orchestration_id}", soft_wrap=True)


def print_view(console: Console, view: RunView) -> None:
    """The facts in order, and each run's own."""
    row = view.row
    console.print(f"[bold]{row.orchestration_id}[/] {_state(row.status)}", soft_wrap=True)
    console.print(
        f"event     {escape(row.event_id)} ({row.event_type}) from {escape(row.source)}", soft_wrap=True
    )
    console.print(f"workflow  {row.workflow}, release {row.release} ({row.channel})", soft_wrap=True)
    console.print(f"decision  {row.decision_digest or '-'}", soft_wrap=True)
    console.print(f"trace     {row.traceparent or '-'}", soft_wrap=True)
    for key, links in {row.orchestration_id: view.record.chain, **view.record.runs}.items():
        table = Table("#", "at", "fact", title=key, title_justify="left")
        for item in read_chain(links):
            table.add_row(str(item.seq), item.at[11:23], escape(tell(item.fact)))
        console.print(table)


def print_explanation(console: Console, told: Explanation) -> None:
    """The four answers."""
    console.print(f"[bold]{told.orchestration_id}[/] {_state(told.status)} {escape(told.ended_because)}")
    console.print("\n[bold]What happened[/]")
    for moment in told.happened:
        console.print(f"  {moment.at[11:23]}  {escape(moment.text)}", soft_wrap=True)
    console.print("\n[bold]Why[/]")
    if told.decision.digest:
        for name, value in told.decision.fields.items():
            console.print(f"  {name} = {escape(str(value))}", soft_wrap=True)
        console.print(f"  Because: {escape(told.decision.reason)}", soft_wrap=True)
    else:
        console.print("  There is no decision yet.")
    for stage in told.stages:
        _print_stage(console, stage)
    for action in told.actions:
        _print_action(console, action)
    _print_version(console, told)
    console.print("\n[bold]How to replay it safely[/]")
    for line in told.replay:
        console.print(f"  {escape(line)}", soft_wrap=True)
    for action in told.actions:
        console.print(f"  {action.name}: {action.replayed}", soft_wrap=True)


def _print_stage(console: Console, stage: StageTold) -> None:
    if stage.status == "skipped":
        words = "its condition did not hold" if stage.why == "condition_false" else escape(stage.why)
        console.print(
            f"  Stage {stage.name} was skipped: {words} ({escape(stage.condition)})", soft_wrap=True
        )
        return
    if stage.status == "in_review":
        console.print(f"  Stage {stage.name} waits for a person to complete it: no proposal was valid.")
    elif stage.status != "decided":
        console.print(f"  Stage {stage.name} is {stage.status}.")
        for one in stage.under_way:
            console.print(f"    {one.agent} is under way")
            for sentence in one.way:
                console.print(f"      [dim]{escape(sentence)}[/]", soft_wrap=True)
        return
    else:
        who = f"{stage.winner}'s proposal won" if stage.winner else f"no proposal was valid, {stage.answered}"
        words = f"  Stage {stage.name}, by {stage.rule}: {escape(who)}; {escape(stage.why)}"
        console.print(words, soft_wrap=True)
    for voice in stage.voices:
        said = json_text.dumps(voice.proposal, ensure_ascii=False) if not voice.failure else voice.failure
        vote = f" [weight {voice.weight}]" if voice.weight != 1 and not voice.failure else ""
        console.print(f"    {voice.agent}{escape(vote)}: {escape(said)}", soft_wrap=True)
        if voice.failure or len(voice.way) > 1:
            for sentence in voice.way:
                console.print(f"      [dim]{escape(sentence)}[/]", soft_wrap=True)


def _print_action(console: Console, action: ActionTold) -> None:
    policies = ", ".join(action.policies)
    verdict = f"permitted by {policies or 'its policy'}" if action.permitted else "denied"
    if action.state == "awaiting_approval":
        verdict = f"{policies} wants people's consent"
    if action.approval:
        verdict = f"{verdict} ({action.approval})"
    reason = f" ({escape(action.reason)})" if action.reason else ""
    console.print(
        f"  Action {action.name}, {action.tool} at {action.target}: {escape(verdict)}, {action.state}{reason},"
        f" attempts: {action.attempts}",
        soft_wrap=True,
    )


def _print_version(console: Console, told: Explanation) -> None:
    version = told.version
    console.print("\n[bold]Which version decided[/]")
    for name, value in (
        ("release", version.release),
        ("workflow", version.workflow),
        ("policy", version.policy),
        ("agents", ", ".join(version.agents)),
        ("providers", ", ".join(version.providers)),
        ("answered", ", ".join(version.models) or "no model"),
        ("tools", ", ".join(version.tools)),
        ("programs", ", ".join((version.normaliser, *version.rules, *version.parsers))),
        ("decision", told.decision.digest or "-"),
    ):
        console.print(f"  {name:<9} {escape(value)}", soft_wrap=True)


def print_verification(console: Console, verification: Verification, *, as_json: bool) -> None:
    """One verification."""
    if as_json:
        print(json_text.dumps(_verification_as_json(verification)))
        return
    verdict = "[green]matches[/]" if verification.matches else "[red]does not match[/]"
    console.print(f"{verification.orchestration_id} {verdict} ({verification.facts} facts)", soft_wrap=True)
    console.print(f"  decision recorded    {verification.decision_recorded or '-'}", soft_wrap=True)
    console.print(f"  decision recomputed  {verification.decision_recomputed or '-'}", soft_wrap=True)
    if verification.difference is not None:
        console.print(f"  first difference     {escape(str(verification.difference))}", soft_wrap=True)
    for drift in verification.drift:
        console.print(f"  drift                {escape(drift)}", soft_wrap=True)


def verify_every(reading: Reading, releases: PostgresqlReleases, *, as_json: bool) -> bool:
    """Verify all, with a bar; tells the differences, and whether there was none."""
    total = sum(reading.counts().orchestrations.values())
    differing: list[Verification] = []
    unverifiable: dict[str, str] = {}
    matching = drifting = 0
    console = Console(stderr=True, quiet=as_json)
    columns = (TextColumn("Verifying"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, disable=as_json, transient=True) as bar:
        task = bar.add_task("", total=total)
        for view in reading.all_views():
            try:
                verification = verify(view.record, releases.get(view.row.release))
            except ReleaseUnavailableError as error:
                unverifiable[view.row.orchestration_id] = error.what
            else:
                matching += verification.matches
                drifting += bool(verification.drift)
                if not verification.matches:
                    differing.append(verification)
            bar.advance(task)
    verified = matching + len(differing)
    if as_json:
        shown = [_verification_as_json(item) for item in differing]
        numbers = {"verified": verified, "matches": matching, "drift": drifting}
        print(json_text.dumps({**numbers, "differences": shown, "unverifiable": unverifiable}))
    else:
        _print_every(matching, verified, differing, unverifiable)
    return not differing and not unverifiable


def _print_every(
    matching: int, verified: int, differing: list[Verification], unverifiable: dict[str, str]
) -> None:
    console = Console(highlight=False)
    if not verified and not unverifiable:
        console.print("There is no orchestration to verify.")
        return
    console.print(f"{matching} of {verified + len(unverifiable)} match.")
    for verification in differing:
        print_verification(console, verification, as_json=False)
    for key, why in unverifiable.items():
        console.print(f"{key} could not be verified: {escape(why)}", soft_wrap=True)


def _verification_as_json(verification: Verification) -> dict[str, object]:
    return {"matches": verification.matches, **asdict(verification)}


def print_cancelled(orchestration_id: str, status: str, foreseen: Foreseen, *, dry_run: bool) -> None:
    """What cancelling did, or would do."""
    verb = "would be" if dry_run else "is"
    print(f"{orchestration_id} {'is ' + status + ', and would be cancelled' if dry_run else 'is ' + status}.")
    print(f"  {len(foreseen.withdrawn_steps)} open steps {verb} withdrawn.")
    for words, names in (
        ("stays unsent", foreseen.stays_unsent),
        ("is on its way; the end waits for its outcome", foreseen.waited_for),
        ("may have been applied, and is in doubt until it is settled: actions settle", foreseen.in_doubt),
        ("is confirmed and stays done", foreseen.confirmed),
    ):
        for name in names:
            print(f"  Action {name} {words}.")


def _state(status: str) -> str:
    colour = _MARK.get(status)
    return f"[{colour}]{status}[/]" if colour else status
