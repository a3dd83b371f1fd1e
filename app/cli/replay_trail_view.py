"""How the audit trail of replays is shown. Whatever people and targets wrote is redacted and escaped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.markup import escape

from app.cli.replay_view import counted, row_as_json, shown_state
from app.data_plane.replay.register import ReplayRow
from app.data_plane.replay.trail import Sent
from app.kernel.clock import to_text
from app.telemetry.redaction import redact, redact_value
from interlock.canonical import JsonObject

LONGEST_REASON = 90
"""Characters of a reason in a list; one replay alone tells all of it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One replay; None stands for what was removed from the payload store, or cannot be read."""

    row: ReplayRow
    reason: str | None
    plan: JsonObject | None
    sent: Sent | None


@dataclass(frozen=True, slots=True)
class Together:
    """The replays of one go, and the plans that are still kept of them."""

    rows: tuple[ReplayRow, ...]
    plans: tuple[JsonObject, ...]

    @property
    def totals(self) -> dict[str, int]:
        """How many effects they were to have in all, by their standing."""
        total: Counter[str] = Counter()
        for plan in self.plans:
            total.update(planned(plan) or {})
        return dict(total)


def planned(plan: JsonObject | None) -> dict[str, int] | None:
    """How many effects a plan has, by their standing."""
    totals = plan.get("totals") if plan is not None else None
    if not isinstance(totals, Mapping):
        return None
    return {name: count for name, count in totals.items() if isinstance(count, int)}


def as_json(entry: Entry) -> dict[str, object]:
    """One replay of a list."""
    return {
        **row_as_json(entry.row),
        "outcome": redact(entry.row.outcome),
        "reason": redact(entry.reason) if entry.reason is not None else None,
        "planned": planned(entry.plan),
        "sent": asdict(entry.sent) if entry.sent is not None else None,
    }


def one_as_json(entry: Entry, together: Together) -> dict[str, object]:
    """One replay in full."""
    went = {
        "replays": len(together.rows),
        "planned": together.totals,
        "states": dict(Counter(row.state for row in together.rows)),
    }
    return {**as_json(entry), "plan": redact_value(entry.plan), "together": went}


def print_all(console: Console, found: Sequence[Entry], following: str | None) -> None:
    """A page: three lines for each."""
    if not found:
        console.print("There is no such replay. What could be replayed: python -m app dead-letters list")
        return
    for entry in found:
        row = entry.row
        console.print(
            f"[bold]{row.replay_id}[/] {to_text(row.requested_at)[:16]}Z {shown_state(row.state)}"
            f" {row.mode} of {row.orchestration_id}",
            soft_wrap=True,
        )
        console.print(
            f"  {escape(row.actor)}: {_clean(_short(entry.reason))}", soft_wrap=True, overflow="ellipsis"
        )
        console.print(
            f"  planned {_planned(entry)}; came out: {_clean(row.outcome or 'nothing yet')}{_sent(entry)}",
            soft_wrap=True,
        )
    console.print("One in full, with its plan: python -m app audit replays ID", soft_wrap=True)
    if following is not None:
        console.print(f"More: --before {following}", soft_wrap=True)


def print_one(console: Console, entry: Entry, together: Together) -> None:
    """One replay: who, what, why, what was shown, what came out."""

    def line(name: str, value: str) -> None:
        console.print(f"  {name:<12} {_clean(value)}", soft_wrap=True)

    row = entry.row
    console.print(f"[bold]{row.replay_id}[/] {shown_state(row.state)}", soft_wrap=True)
    # As it was given, e-mail address or not: who it was is what the trail is for.
    console.print(f"  {'who':<12} {escape(row.actor)}", soft_wrap=True)
    line("why", entry.reason if entry.reason is not None else "(the reason was removed)")
    line("what", f"{row.mode} of {row.orchestration_id} of {row.tenant_id} under release {row.release[:12]}")
    if row.dead_letter_id:
        line("dead letter", row.dead_letter_id)
    if len(together.rows) > 1:
        all_of_it = counted(together.totals) or "no effect"
        line("together", f"with {len(together.rows) - 1} others; planned in all: {all_of_it}")
    line("asked for", to_text(row.requested_at))
    line("ended", to_text(row.finished_at) if row.finished_at is not None else "not yet")
    line("planned", f"{_planned(entry)} (plan {row.plan_digest[:12]})")
    for effect in _effects(entry.plan):
        console.print(f"    {_clean(effect)}", soft_wrap=True)
    line("outcome", row.outcome or "nothing yet")
    if row.new_orchestration_id:
        line("started", row.new_orchestration_id)
    if entry.sent is not None:
        line("effects", _sent(entry).removeprefix("; "))


def _effects(plan: JsonObject | None) -> list[str]:
    effects = plan.get("effects") if plan is not None else None
    listed = effects if isinstance(effects, list) else []
    return [
        f"{effect['name']} at {effect['target']}: {effect['standing']}; {effect['why']}"
        for effect in listed
        if isinstance(effect, dict)
    ]


def _planned(entry: Entry) -> str:
    totals = planned(entry.plan)
    return "(the plan was removed)" if totals is None else counted(totals) or "no effect"


def _sent(entry: Entry) -> str:
    sent = entry.sent
    if sent is None:
        return ""
    if not sent.actions:
        return "; no effect was sent"
    return f"; {len(sent.actions)} effects sent ({sent.again} of them again), {sent.confirmed} confirmed"


def _short(reason: str | None) -> str:
    if reason is None:
        return "(the reason was removed)"
    line = " ".join(reason.split())
    return line if len(line) <= LONGEST_REASON else f"{line[: LONGEST_REASON - 3]}..."


def _clean(text: str) -> str:
    return escape(redact(text))
