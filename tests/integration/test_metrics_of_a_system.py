"""A running system under every pool, read as Prometheus reads it: what is told is what the record says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from app.adapters.postgresql.breaker_history import SETTLED_SECONDS
from app.bootstrap import durable_facts
from app.data_plane.ingestion.accept import Submission
from app.data_plane.ports import Queue
from app.kernel.release import BreakerPolicy
from app.telemetry import metric_names as names
from config.settings import CHECKOUT, Settings
from config.topology import WorkerGroup
from tests import metrics_truth
from tests.eventually import assert_eventually
from tests.metrics_truth import Page, values
from tests.modelled_workflow import issues, modelled_release, openai
from tests.system import RunningSystem
from tests.unit.golden.github_payloads import envelope_of

EVENTS = sorted((CHECKOUT / "config" / "demo" / "events").glob("*.json"))[::3]
OTHERS = tuple(queue for queue in Queue if queue not in {Queue.AGENT_RUNS, Queue.DISPATCH})
GROUPS = (
    WorkerGroup("others", OTHERS, "threads", 2),
    WorkerGroup("agent_runs", (Queue.AGENT_RUNS,), "prefork", 2),
    WorkerGroup("dispatch", (Queue.DISPATCH,), "solo", 1),
)
UNBOUNDED = re.compile(r"[0-9a-f]{16}|issue-\d|later-\d")
"""Ids, digests, and the events of this test."""
NOBODY = "http://127.0.0.1:9/v1"


@dataclass(frozen=True, slots=True)
class Measured:
    """A system that came to rest, and what is told of it."""

    system: RunningSystem
    durable: Page
    workers: Page
    read_between: tuple[datetime, datetime]
    """The database's time before and after the durable facts were read."""


@pytest.fixture(scope="module")
def measured(module_database: str, module_home: Path) -> Iterator[Measured]:
    """Shipped workflows, and one whose models cannot be reached, worked on to their end."""
    environment = {"TEST_MODEL_KEY": "none", "INTERLOCK_ANCHOR_SECONDS": "0.5"}
    with RunningSystem(
        module_database,
        module_home,
        groups=GROUPS,
        beat=True,
        environment=environment,
        application="tests.integration.recycling",
    ) as system:
        system.publish_shipped()
        quick = BreakerPolicy(failures=2, open_seconds=30.0)
        system.publish_one(modelled_release([openai("away", NOBODY, quick), openai("gone", NOBODY, quick)]))
        system.accept([Submission(envelope_of(file)) for file in EVENTS])
        system.accept(issues([f"issue-{number}" for number in range(6)]))
        system.start_workers()
        system.wait_until_all_ended(within=90.0, consenting="ines")
        moved = "SELECT count(DISTINCT provider) FROM breaker_changes"
        assert_eventually(lambda: system.rows(moved) == [(2,)], what="both breakers' moves are written")
        system.accept(issues([f"later-{number}" for number in range(2)]))
        # No message at all: it is let go, and a dead letter.
        system.redis.lpush(Queue.AGGREGATION.value, "not a message")
        reported = "SELECT count(*) FROM dead_letters WHERE message_digest <> ''"
        system.wait_until_all_ended(within=90.0)
        assert_eventually(lambda: system.rows(reported) == [(1,)], what="it is a dead letter")
        yield _measure(system)


def _measure(system: RunningSystem) -> Measured:
    settings = Settings(
        home=system.home,
        database_url=system.database_url,
        redis_url=system.environment["INTERLOCK_REDIS_URL"],
    )
    with durable_facts(settings) as facts:
        registry = CollectorRegistry()
        registry.register(facts)
        before = _now(system)
        durable = metrics_truth.parsed(generate_latest(registry).decode())
    return Measured(system, durable, _of_workers(system.home), (before, _now(system)))


def _now(system: RunningSystem) -> datetime:
    found: datetime = system.rows("SELECT clock_timestamp()")[0][0]
    return found


def _of_workers(home: Path) -> Page:
    """The sums over everything that the targets' files name."""
    sums: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    files = sorted((home / "metrics" / "targets").glob("*.json"))
    assert len(files) == len(GROUPS)
    for file in files:
        (target,) = json.loads(file.read_text())
        assert target["labels"]["service"] in {group.name for group in GROUPS}
        text = httpx2.get(f"http://{target['targets'][0]}/metrics", trust_env=False).text
        for name, samples in metrics_truth.parsed(text).items():
            for labels, value in samples.items():
                mine = sums.setdefault(name, {})
                mine[labels] = mine.get(labels, 0.0) + value
    return sums


def test_the_counters_of_durable_facts_equal_the_record(measured: Measured) -> None:
    """Retries, dead letters, hops, moves and every fact, recomputed by other means."""
    assert metrics_truth.differences(measured.durable, measured.system.database_url) == []
    assert values(measured.durable, names.PROVIDER_HOPS, "reason")
    assert values(measured.durable, names.DEAD_LETTERS, "cause") == {("undecodable_message",): 1.0}
    assert set(values(measured.durable, names.CIRCUIT_CHANGES, "provider")) == {("away",), ("gone",)}


def test_the_time_that_breakers_were_open_equals_their_history(measured: Measured) -> None:
    told = values(measured.durable, names.CIRCUIT_OPEN_SECONDS, "provider", "model")
    settled = timedelta(seconds=SETTLED_SECONDS)
    earliest, latest = (
        metrics_truth.open_seconds(measured.system.database_url, at - settled) for at in measured.read_between
    )
    assert {provider for provider, _ in latest} == {"away", "gone"}
    for key in latest:
        assert earliest[key] - 0.001 <= told.get(key, 0.0) <= latest[key] + 0.001
    states = values(measured.durable, names.CIRCUIT_STATE, "provider", "state")
    assert {state for (provider, state) in states if provider in {"away", "gone"}} == {"open"}


@pytest.mark.parametrize("queue", ["agent_runs", "dispatch", "aggregation"])
def test_every_step_that_ended_is_measured_under_every_pool(measured: Measured, queue: str) -> None:
    """Prefork (whose children are replaced meanwhile), solo, threads: what a dead child counted is not lost."""
    ended = "SELECT count(*) FROM work_index WHERE queue = %s AND finished_at IS NOT NULL"
    (row,) = measured.system.rows(ended, [queue])
    told = values(measured.workers, names.STEPS, "queue", "outcome")
    assert sum(count for key, count in told.items() if key[0] == queue and key[1] != "again") == row[0] > 0
    durations = values(measured.workers, f"{names.STEP_DURATION}_count", "queue", "outcome")
    assert durations == told


def test_every_question_to_a_model_and_every_end_is_measured(measured: Measured) -> None:
    facts = values(measured.durable, names.FACTS, "kind")
    asked = values(measured.workers, f"{names.MODEL_DURATION}_count", "gen_ai_provider_name", "error_type")
    assert sum(asked.values()) == facts["model_asked",]
    assert any(provider == "away" and error for provider, error in asked)
    ended = values(measured.workers, f"{names.ORCHESTRATION_DURATION}_count", "workflow", "status")
    assert ended == values(measured.durable, names.ORCHESTRATIONS_CLOSED, "workflow", "status")
    assert values(measured.workers, names.BREAKER_REFUSALS, "provider", "reason")


def test_celerys_counters_have_the_labels_that_dashboards_know(measured: Measured) -> None:
    labels = ("name", "queue_name", "hostname")
    received = values(measured.workers, names.TASK_RECEIVED, *labels)
    started = values(measured.workers, names.TASK_STARTED, *labels)
    succeeded = values(measured.workers, names.TASK_SUCCEEDED, *labels)
    assert received.keys() == started.keys() == succeeded.keys()
    # A message may be under way while it is read.
    assert all(received[key] >= started[key] >= succeeded[key] for key in received)
    by_task = values(measured.workers, names.TASK_SUCCEEDED, "name", "queue_name")
    assert by_task["interlock.agent_runs.execute", "agent_runs"] > 4
    assert values(measured.workers, names.TASK_REJECTED, "name") == {("unknown",): 1.0}
    up = values(measured.durable, names.WORKER_UP, "hostname")
    assert {node for _, _, node in received} == {node for (node,) in up}


def test_nothing_is_labelled_by_what_has_no_bound(measured: Measured) -> None:
    """No orchestration, run, action, event or digest; tenants at their budgets alone."""
    for page in (measured.durable, measured.workers):
        for name, samples in page.items():
            for pairs in samples:
                for label, value in pairs:
                    assert not UNBOUNDED.search(value), (name, label, value)
                    assert label != "tenant_id" or name == names.BUDGET_USED_RATIO


def test_a_node_that_ends_takes_its_address_back(measured: Measured) -> None:
    """Last, as it ends the system: Prometheus is not left with addresses where nobody answers."""
    measured.system.stop()
    left: Mapping[str, object] = {
        file.name: file for file in (measured.system.home / "metrics").glob("*") if file.name != "targets"
    }
    assert list((measured.system.home / "metrics" / "targets").glob("*")) == []
    assert not left
