"""Durable facts as metrics: what PostgreSQL and Redis say when somebody asks, the same whoever asks.

Nothing is read between scrapes. Whatever does not answer is missing from the page, and told by
``interlock_exporter_up``; the rest is there.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.adapters.postgresql.breaker_history import BreakerHistory, PostgresqlBreakerHistory
from app.adapters.postgresql.fact_counts import FactCounts, Sums
from app.adapters.postgresql.standing import PostgresqlStanding, QueueStanding, Standing
from app.adapters.redis.standing import RedisReading, RedisStanding
from app.data_plane.breakers import BreakerState
from app.data_plane.counting import LABELS
from app.data_plane.ports import Queue
from app.kernel.errors import InterlockError
from app.telemetry import metric_names as names

_log = logging.getLogger(__name__)

T = TypeVar("T")

FRESH_SECONDS = 2.0
"""A page that is younger is given again: two who scrape cost hardly more than one."""

FOLD_SECONDS = 2.0
"""How long one scrape counts facts; a long journal takes several."""

_IDLE = QueueStanding(0, 0.0, 0, 0)

_AT_ZERO: Mapping[str, tuple[tuple[str, ...], ...]] = {
    names.RETRIES: (
        ("dispatch", "delivery_retried"),
        ("agent_runs", "answer_rejected"),
        *((queue.value, "step_lapsed") for queue in Queue),
    ),
    names.APPROVALS: tuple(
        (answer,) for answer in ("requested", "granted", "denied", "expired", "superseded")
    ),
}
"""Counters that are there before they counted anything: the first increase would be missed otherwise."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What is read."""

    facts: FactCounts
    breakers: PostgresqlBreakerHistory
    standing: PostgresqlStanding
    redis: RedisReading
    anchors: Path


class DurableFacts(Collector):
    """The exporter's one collector."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._lock = threading.Lock()
        self._page: tuple[float, Sequence[Metric]] = (float("-inf"), ())

    def describe(self) -> Iterable[Metric]:
        """Nothing: a registry that asks must not make it read."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Everything, as of now or of a moment ago."""
        with self._lock:
            read_at, page = self._page
            if time.monotonic() - read_at > FRESH_SECONDS:
                page = tuple(self._read())
                self._page = (time.monotonic(), page)
        yield from page

    def _read(self) -> Iterator[Metric]:
        up = GaugeMetricFamily(names.EXPORTER_UP, "Whether the source could be read.", labels=["source"])
        known = _tried("postgresql", self._sources.breakers.names)
        found = _tried(
            "redis", lambda: self._sources.redis.read([queue.value for queue in Queue], known or ())
        )
        up.add_metric(["redis"], float(found is not None))
        if found is not None:
            yield from _of_redis(found)
        ours = _tried("postgresql", lambda: self._of_postgresql(found)) if known is not None else None
        up.add_metric(["postgresql"], float(ours is not None))
        yield from ours or ()
        yield from _anchors(self._sources.anchors)
        yield up

    def _of_postgresql(self, found: RedisStanding | None) -> list[Metric]:
        self._sources.facts.fold(FOLD_SECONDS)
        sums = self._sources.facts.sums()
        standing = self._sources.standing.read()
        history = self._sources.breakers.read(found.breakers if found is not None else {})
        return [
            *_counters(sums),
            *_gauges(standing),
            *_circuits(history, standing, found),
            _gauge(names.EXPORTER_LAG, "Seconds since every fact was counted last.", sums.lag_seconds),
        ]


def _tried(source: str, read: Callable[[], T]) -> T | None:
    try:
        return read()
    except InterlockError as error:
        _log.warning("%s could not be read: %s", source, error.what)
        return None


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(name, words, value=value)


def _family(name: str, words: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]) -> Metric:
    """A counter where the name says so, else a gauge."""
    made = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
    family = made(name, words, labels=labels)
    for given, value in sorted(values.items()):
        family.add_metric(given, value)
    return family


def _of_redis(found: RedisStanding) -> Iterator[Metric]:
    lengths: dict[tuple[str, ...], float] = {(queue,): count for queue, count in found.lengths.items()}
    yield _family(names.QUEUE_LENGTH, "Messages that wait in Redis.", ["queue_name"], lengths)
    workers: dict[tuple[str, ...], float] = {(node,): float(up) for node, up in found.workers.items()}
    yield _family(names.WORKER_UP, "Whether a worker gives signs of life.", ["hostname"], workers)


_WORDS = {
    names.FACTS: "Facts in the journals.",
    names.RETRIES: "Facts that mean doing it again.",
    names.ORCHESTRATIONS_STARTED: "Orchestrations that were begun.",
    names.ORCHESTRATIONS_CLOSED: "Orchestrations that came to their end.",
    names.DECISIONS: "Decisions, by the release that made them.",
    names.DEAD_LETTERS: "Work that gave up, as often as it did.",
    names.DELIVERIES: "What came of attempts at deliveries.",
    names.APPROVALS: "What was asked of people, and what they answered.",
    names.PROVIDER_HOPS: "Questions that went on to another provider, or to the fallback.",
    names.MODEL_TOKENS: "Tokens of answered questions.",
}


def _counters(sums: Sums) -> Iterator[Metric]:
    replays: dict[tuple[str, ...], float] = dict.fromkeys(
        (
            (mode, state)
            for mode in ("resume", "rerun")
            for state in ("requested", "done", "refused", "failed")
        ),
        0.0,
    )
    for (mode, state), count in sums.values.get(names.REPLAYS, {}).items():
        replays[mode, "requested"] += count
        if state != "requested":
            replays[mode, state] += count
    yield _family(
        names.REPLAYS, "Replays that were asked for, and how they ended.", ["mode", "state"], replays
    )
    if not sums.is_whole:
        # While a long journal is counted for the first time, its sums would look like a burst.
        return
    for metric, labels in LABELS.items():
        values: dict[tuple[str, ...], float] = dict.fromkeys(_AT_ZERO.get(metric, ()), 0.0)
        for given, value in sums.values.get(metric, {}).items():
            values[given] = value
        yield _family(metric, _WORDS[metric], labels, values)


def _gauges(standing: Standing) -> Iterator[Metric]:
    queues = {queue.value: standing.queues.get(queue.value, _IDLE) for queue in Queue}
    shown: dict[tuple[str, str], dict[tuple[str, ...], float]] = {
        (names.QUEUE_DEPTH, "Steps that are due and not claimed."): {
            (queue,): one.due for queue, one in queues.items()
        },
        (names.QUEUE_AGE, "Seconds that the oldest of them has been due."): {
            (queue,): one.oldest_seconds for queue, one in queues.items()
        },
        (names.QUEUE_LEASED, "Steps that a worker is on."): {
            (queue,): one.leased for queue, one in queues.items()
        },
        (names.QUEUE_LATER, "Steps that wait for their time, people or members."): {
            (queue,): one.later for queue, one in queues.items()
        },
    }
    for (name, words), values in shown.items():
        yield _family(name, words, ["queue"], values)
    yield _family(
        names.ORCHESTRATIONS_OPEN,
        "Orchestrations that are not closed.",
        ["workflow", "status"],
        standing.orchestrations,
    )
    yield _family(
        names.DEAD_LETTERS_OPEN,
        "Dead letters that nobody has replayed or settled.",
        ["queue", "cause"],
        standing.dead_letters_open,
    )
    actions: dict[tuple[str, ...], float] = {
        (state,): count for state, count in standing.actions.items() if state != "settled"
    }
    yield _family(names.ACTIONS, "Actions without their end.", ["state"], actions)
    yield _gauge(names.APPROVALS_WAITING, "Approvals that wait for people.", standing.approvals)
    yield _gauge(names.APPROVAL_AGE, "Seconds that the oldest has waited.", standing.oldest_approval_seconds)
    yield _family(
        names.BUDGET_USED_RATIO,
        "What is taken of a tenant's limit, as a share of it.",
        ["tenant_id", "unit"],
        standing.budgets,
    )


def _circuits(history: BreakerHistory, standing: Standing, found: RedisStanding | None) -> Iterator[Metric]:
    states: dict[tuple[str, ...], float] = {}
    seconds: dict[tuple[str, ...], float] = {}
    for name in sorted({*standing.routed, *history.last}):
        is_in: BreakerState = history.last[name].to_state if name in history.last else "closed"
        if found is not None and name in found.breakers:
            is_in = found.breakers[name].state
        for state in get_args(BreakerState):
            states[name.provider, name.model, state] = float(state == is_in)
        seconds[name.provider, name.model] = history.open_seconds.get(name, 0.0)
    changes: dict[tuple[str, ...], float] = {
        (name.provider, name.model, to): count for (name, to), count in history.changes.items()
    }
    labels = ["provider", "model"]
    yield _family(names.CIRCUIT_STATE, "1 for where a circuit breaker stands.", [*labels, "state"], states)
    yield _family(names.CIRCUIT_OPEN_SECONDS, "Seconds that it was open in all.", labels, seconds)
    yield _family(names.CIRCUIT_CHANGES, "Moves of circuit breakers.", [*labels, "to"], changes)


def _anchors(folder: Path) -> Iterator[Metric]:
    """Since the newest anchor was written; nothing while there is none."""
    try:
        written = max(path.stat().st_mtime for path in folder.glob("[0-9]*.jsonl"))
    except (OSError, ValueError):
        return
    yield _gauge(
        names.ANCHOR_AGE, "Seconds since the newest anchor was written.", max(0.0, time.time() - written)
    )
