"""Messages that come again while they are worked on change nothing: a step belongs to its lease, not to its message.

Redis hands a message to another worker when it is not acknowledged within the visibility timeout. Here that is 1 s and
every step takes 3 s, so each message comes several times at once, as it would to a worker that is merely slow.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.data_plane.ports import Queue
from config.topology import WorkerGroup
from tests.acceptance.two_sinks import PATIENCE_SECONDS, issues, two_sinks, two_sinks_release
from tests.system import RunningSystem

WORKFLOWS = 12
STEP_SECONDS = 3.0
TWO_WORKERS = tuple(WorkerGroup(name, tuple(Queue), "threads", 8) for name in ("one", "other"))
LONG_STEPS = {"interlock.agent_runs.execute", "interlock.dispatch.deliver"}


@dataclass(frozen=True)
class Deliveries:
    """What the workers wrote down: messages that came again, and those of them that were still worked on."""

    again: Counter[str]
    at_once: Counter[str]


def deliveries(home: Path) -> Deliveries:
    """Read the workers' notes; the names are those of tasks."""
    notes = [
        json.loads(line)
        for file in (home / "deliveries").glob("*.jsonl")
        for line in file.read_text().splitlines()
    ]
    working: defaultdict[str, int] = defaultdict(int)
    again: Counter[str] = Counter()
    at_once: Counter[str] = Counter()
    for note in sorted(notes, key=lambda note: note["at"]):
        if note["what"] == "received":
            again[note["name"]] += note["again"]
            at_once[note["name"]] += note["again"] and working[note["id"]] > 0
        else:
            working[note["id"]] += 1 if note["what"] == "begun" else -1
    return Deliveries(again, at_once)


@pytest.mark.parametrize(
    "front_lock_seconds",
    [
        pytest.param("25", id="with-the-front-lock"),
        pytest.param("0.001", id="without-it-as-safety-never-rests-on-it"),
    ],
)
def test_messages_that_come_again_while_they_are_worked_on_cause_no_second_effect(
    fresh_database: str, home: Path, front_lock_seconds: str
) -> None:
    """Promises 1 and 2, with the visibility timeout below the length of a step."""
    environment = {
        "INTERLOCK_UNSAFE_VISIBILITY_TIMEOUT_SECONDS": "1",
        "INTERLOCK_FRONT_LOCK_SECONDS": front_lock_seconds,
        "INTERLOCK_BATCH_SIZE": "3",
        "INTERLOCK_RUNS_PER_MESSAGE": "3",
    }
    with (
        two_sinks(home / "sinks", delay_seconds=STEP_SECONDS) as sinks,
        RunningSystem(
            fresh_database,
            home,
            groups=TWO_WORKERS,
            beat=True,
            environment=environment,
            application="tests.acceptance.eager_redelivery",
        ) as system,
    ):
        system.publish(two_sinks_release(agent_seconds=STEP_SECONDS), sinks.documents)
        system.accept(issues([str(number) for number in range(WORKFLOWS)]))
        system.start_workers()
        system.wait_until_all_ended(within=PATIENCE_SECONDS)
        sinks.assert_each_effect_happened_once(system, WORKFLOWS)
        assert system.verify_all() == {}
    seen = deliveries(home)
    assert set(+seen.at_once) >= LONG_STEPS, f"nothing came again: {seen}"
    print(seen)
