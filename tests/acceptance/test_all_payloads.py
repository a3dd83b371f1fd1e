"""The main job over every real payload at hand: sent twice each, in shuffled order, through the real service."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from app.data_plane.ingestion.accept import Submission
from app.data_plane.ports import Queue
from config.topology import ON_ONE_MACHINE, WorkerGroup
from tests.system import EVERYTHING, Counts, RunningSystem
from tests.unit.golden.github_payloads import envelope_of, need_payloads

REQUESTS = 16
"""Events accepted together."""
SHAPES: Mapping[str, tuple[tuple[WorkerGroup, ...], dict[str, str]]] = {
    "as on one machine": (ON_ONE_MACHINE, {"PYTHONHASHSEED": "1"}),
    "one small process and one for runs": (
        (*EVERYTHING, WorkerGroup("more-runs", (Queue.AGENT_RUNS,), "threads", 3)),
        {
            "PYTHONHASHSEED": "424242",
            "INTERLOCK_BATCH_SIZE": "7",
            "INTERLOCK_RUNS_PER_MESSAGE": "5",
        },
    ),
}


@dataclass(frozen=True)
class Ended:
    """What one way of running it came to."""

    accepted: Counter[str]
    events: Mapping[str, int]
    orchestrations: Mapping[str, int]
    per_event: int
    """The most orchestrations that one event and workflow have."""
    actions: Mapping[str, int]
    digests: Mapping[str, str]
    """Decision digest by orchestration."""
    sink: Counts
    keys: list[str]
    """Of the effects that the sink applied."""
    intended: list[str]
    """The keys of all actions that the policies permitted."""
    not_verified: Mapping[str, str]


def run(database: str, home: Path, shape: str, seed: int) -> Ended:
    """Send every payload twice in an order of its own, and wait for the last end."""
    groups, environment = SHAPES[shape]
    submissions = [Submission(envelope_of(file)) for file in need_payloads()] * 2
    random.Random(seed).shuffle(submissions)
    with RunningSystem(database, home, groups=groups, beat=True, environment=environment) as system:
        system.publish_shipped()
        system.start_workers()
        accepted: Counter[str] = Counter()
        for start in range(0, len(submissions), REQUESTS):
            batch = submissions[start : start + REQUESTS]
            accepted.update(answer.state for answer in system.accept(batch))
        system.wait_until_all_ended(consenting="the release manager")
        most = (
            "SELECT max(n) FROM (SELECT count(*) n FROM orchestrations GROUP BY source, event_id, workflow) x"
        )
        keys = "SELECT idempotency_key FROM actions WHERE state <> 'denied'"
        return Ended(
            accepted=accepted,
            events=system.count_by("events", "state"),
            orchestrations=system.count_by("orchestrations", "status"),
            per_event=system.rows(most)[0][0],
            actions=system.count_by("actions", "state"),
            digests=dict(system.rows("SELECT orchestration_id, decision_digest FROM decisions")),
            sink=system.sink_counts(),
            keys=system.sink_keys(),
            intended=[row[0] for row in system.rows(keys)],
            not_verified=system.verify_all(),
        )


def assert_all_promises(ended: Ended, payloads: int) -> None:
    """What the main job must show of every run."""
    assert ended.accepted["duplicate"] == payloads
    assert ended.accepted["accepted"] + ended.accepted["unrouted"] == payloads
    assert sum(ended.events.values()) == payloads
    assert set(ended.orchestrations) == {"completed"}, "an event did not come to a good end"
    assert ended.orchestrations["completed"] == len(ended.digests) > 0
    assert ended.per_event == 1, "an event was worked on twice"
    assert set(ended.actions) <= {"confirmed", "denied"}
    assert ended.sink.repeated == 0
    assert ended.sink.received == ended.sink.applied == len(ended.intended) > 0
    assert sorted(ended.keys) == sorted(ended.intended), "the sink and the record disagree on what was done"
    assert ended.not_verified == {}


def test_every_event_ends_once_every_effect_happens_once_and_every_decision_is_the_same_again(
    make_database: Callable[[], str], home: Path
) -> None:
    """Promises 1, 2 and 3 at once; the second run differs in workers, batches, order and hash seed, and in nothing
    that was decided."""
    payloads = len(need_payloads())
    first, second = (run(make_database(), home / str(seed), shape, seed) for seed, shape in enumerate(SHAPES))
    assert_all_promises(first, payloads)
    assert_all_promises(second, payloads)
    assert first.digests == second.digests
    assert sorted(first.intended) == sorted(second.intended)
