"""The demo's result: its numbers, some of its decisions, and where agents disagreed."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from app.adapters.postgresql.database import Database
from app.adapters.postgresql.reading import Counts, Reading, RunView, Wanted
from app.adapters.postgresql.releases import PostgresqlReleases
from app.cli.demo_approver import Consent
from app.cli.tools_at_hand import tools_at_hand
from app.cli.webhook_feed import Answers
from app.data_plane.replay.explain import StageTold, explain

SHOWN_DECISIONS = 9
READ_AT_MOST = 1000
COUNTED = ("majority/", "weighted/")
"""The rules under which agents vote; the others only take the first valid answer."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A stage whose agents were not of one mind. ``sides`` gives each side's agents, the winner's first."""

    orchestration_id: str
    stage: str
    sides: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Seconds:
    """How long each part took."""

    starting: float = 0.0
    events: float = 0.0
    stopping: float = 0.0


@dataclass(slots=True)
class Shown:
    """The demo's result. ``events`` are the distinct ones, those that nobody subscribes to among them."""

    events: int
    duplicates: int
    unrouted: int
    orchestrations: Mapping[str, int]
    decisions: int
    actions: Mapping[str, int]
    sink: Mapping[str, int]
    releases: Mapping[str, str]
    approvals: tuple[Consent, ...] = ()
    """What waited for a person, and who consented."""
    seconds: float = 0.0
    some: tuple[RunView, ...] = ()
    disagreements: tuple[Disagreement, ...] = ()
    phases: Seconds = field(default_factory=Seconds)

    def as_json(self) -> dict[str, object]:
        """The object that ``--json`` prints."""
        told_otherwise = {"some", "disagreements", "phases"}
        return {name: value for name, value in asdict(self).items() if name not in told_otherwise}


def read_result(
    database: Database, tenant: str, counts: Counts, answers: Answers, sink: Mapping[str, int]
) -> Shown:
    """What came of the events; ``sink`` holds its own counts."""
    reading = Reading(database, (tenant,))
    rows = [row for row in reading.runs(Wanted(limit=READ_AT_MOST)) if row.decision_digest]
    workflows = sorted({row.workflow for row in rows})
    each = SHOWN_DECISIONS // max(1, len(workflows))
    chosen = [
        row.orchestration_id
        for workflow in workflows
        for row in [row for row in rows if row.workflow == workflow][:each]
    ]
    views = reading.views([row.orchestration_id for row in rows])
    return Shown(
        events=sum(counts.events.values()),
        duplicates=answers.states.get("duplicate", 0),
        unrouted=counts.events.get("unrouted", 0),
        orchestrations=counts.orchestrations,
        decisions=counts.decisions,
        actions=counts.actions,
        sink=sink,
        releases=reading.routed_releases(),
        some=tuple(views[key] for key in chosen),
        disagreements=_disagreements(PostgresqlReleases(database, tools_at_hand()), tuple(views.values())),
    )


def _disagreements(releases: PostgresqlReleases, views: tuple[RunView, ...]) -> tuple[Disagreement, ...]:
    return tuple(
        Disagreement(view.row.orchestration_id, stage.name, sides)
        for view in views
        for stage in explain(view.record, releases.get(view.row.release)).stages
        if stage.rule.startswith(COUNTED) and len(sides := _sides(stage)) > 1
    )


def _sides(stage: StageTold) -> dict[str, tuple[str, ...]]:
    """The agents by what they voted for, the winner's side first."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for voice in sorted(stage.voices, key=lambda voice: voice.agent != stage.winner):
        if voice.side:
            found[_words(voice.side)].append(voice.agent)
    return {side: tuple(agents) for side, agents in found.items()}


def _words(side: str) -> str:
    """The voted values alone: ``{"label":"bug"}`` is bug."""
    return ", ".join(str(value) for value in json.loads(side).values())
