"""What the counters must be, computed by other means than the exporter's: every fact decoded, every move followed.

Facts are read one by one as the database's owner, dead letters from their own table, and open breakers from their
moves; nothing here shares code with what counts.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime

import psycopg
from prometheus_client.parser import text_string_to_metric_families

from app.kernel import facts
from app.telemetry import metric_names as names

Values = Mapping[tuple[str, ...], float]
Page = Mapping[str, Mapping[frozenset[tuple[str, str]], float]]

RETRIED = {"delivery_retried": "dispatch", "answer_rejected": "agent_runs"}


def parsed(text: str) -> Page:
    """A page of metrics, by the samples' names and labels."""
    found: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return found


def values(page: Page, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """One metric's values that are not 0, by those labels."""
    found: Counter[tuple[str, ...]] = Counter()
    for pairs, value in page.get(name, {}).items():
        given = dict(pairs)
        found[tuple(given[label] for label in labels)] += value  # type: ignore[assignment]  # of seconds, too
    return {key: value for key, value in found.items() if value}


def differences(page: Page, database_url: str) -> list[str]:
    """Where the page says something else than the journals, the dead letters and the breakers' moves; best at rest."""
    with psycopg.connect(database_url) as connection:
        bodies = connection.execute("SELECT body FROM journal").fetchall()
        letters = connection.execute(
            "SELECT queue, cause, sum(times) FROM dead_letters GROUP BY 1, 2"
        ).fetchall()
        changes = connection.execute(
            "SELECT provider, model, to_state, count(*) FROM breaker_changes GROUP BY 1, 2, 3"
        )
        moved = {row[:3]: float(row[3]) for row in changes}
    decoded = [facts.decode(row[0]) for row in bodies]
    wanted: dict[str, tuple[tuple[str, ...], Values]] = {
        names.FACTS: (("kind",), _kinds(decoded)),
        names.RETRIES: (("queue", "cause"), _retries(decoded)),
        names.DEAD_LETTERS: (("queue", "cause"), {row[:2]: float(row[2]) for row in letters}),
        names.PROVIDER_HOPS: (("left", "to", "reason"), _hops(decoded)),
        names.APPROVALS: (("answer",), _approvals(decoded)),
        names.CIRCUIT_CHANGES: (("provider", "model", "to"), moved),
    }
    return [
        f"{name}: told {told}, and it is {dict(true)}"
        for name, (labels, true) in wanted.items()
        if (told := values(page, name, *labels)) != true
    ]


def open_seconds(
    database_url: str, until: datetime, since: datetime | None = None
) -> dict[tuple[str, ...], float]:
    """By provider and model: how long its breaker was open in that time, by its moves alone."""
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            "SELECT provider, model, to_state, at FROM breaker_changes ORDER BY provider, model, at"
        ).fetchall()
    found: dict[tuple[str, ...], float] = {}
    for key, moves in itertools.groupby(rows, key=lambda row: (row[0], row[1])):
        opened: datetime | None = None
        total = 0.0
        for _, _, to, at in [*moves, (*key, "end", until)]:
            if opened is not None:
                begun = opened if since is None else max(opened, since)
                total += max(0.0, (min(at, until) - begun).total_seconds())
            opened = at if to == "open" else None
        found[key] = total
    return found


def _kinds(decoded: Iterable[facts.Recorded]) -> Values:
    return _floats(Counter((one.fact.kind,) for one in decoded))


def _retries(decoded: Iterable[facts.Recorded]) -> Values:
    found: Counter[tuple[str, ...]] = Counter()
    for one in decoded:
        if one.fact.kind in RETRIED:
            found[RETRIED[one.fact.kind], one.fact.kind] += 1
        elif isinstance(one.fact, facts.StepLapsed):
            found[one.fact.queue, "step_lapsed"] += 1
    return _floats(found)


def _hops(decoded: Iterable[facts.Recorded]) -> Values:
    hops = [one.fact for one in decoded if isinstance(one.fact, facts.ProviderHop)]
    return _floats(Counter((hop.left, hop.to or "fallback", hop.reason) for hop in hops))


def _approvals(decoded: Iterable[facts.Recorded]) -> Values:
    kinds = [one.fact.kind for one in decoded if one.fact.kind.startswith("approval_")]
    return _floats(Counter((kind.removeprefix("approval_"),) for kind in kinds))


def _floats(found: Counter[tuple[str, ...]]) -> Values:
    return {key: float(count) for key, count in found.items()}
