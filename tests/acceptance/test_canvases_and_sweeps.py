"""What carries an event on: canvases, the last finisher's shortcut, and the reconciler's sweep; each alone is enough.

PostgreSQL knows what is due, so that Redis may forget, a message may be lost, and a worker may go.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path

import pytest

from app.data_plane.ingestion.accept import Submission
from app.data_plane.ports import Queue
from app.kernel.facts import DeliveryConfirmed, OrchestrationClosed, RunFolded
from app.kernel.release import Release, ScriptedProvider
from config.topology import ON_ONE_MACHINE, WorkerGroup
from interlock.envelope import Envelope
from tests.branching_workflow import branching_release
from tests.eventually import assert_eventually
from tests.system import RunningSystem

EVENTS = 24
NO_SHORTCUT = {"INTERLOCK_WORKER_SHORTCUT": "false"}
NO_RECONCILER = {"INTERLOCK_RECONCILER": "false"}


def events(count: int, *titles: str) -> list[Submission]:
    """As many events, which take both branches; then one for each of the titles."""
    named = [("high" if number % 2 else "low") for number in range(count)]
    return [Submission(_issue(str(number), title)) for number, title in enumerate([*named, *titles])]


def _issue(event_id: str, title: str) -> Envelope:
    return Envelope(
        id=event_id,
        source="/tests",
        type="dev.interlock.issue",
        tenantid="demo",
        dataschema="urn:interlock:schema:issue:2",
        data={"title": title},
    )


def keyed() -> Release:
    """The branching workflow, with both its targets honouring keys."""
    release = branching_release()
    template = release.template
    targets = tuple(target.model_copy(update={"honours_keys": True}) for target in template.targets)
    return release.model_copy(update={"template": template.model_copy(update={"targets": targets})})


def slowed(seconds: float, when: str | None = None) -> Release:
    """The same, whose agent ``beta`` takes its time."""
    release = keyed()
    provider = release.providers["script"]
    assert isinstance(provider, ScriptedProvider)
    slow = [
        rule.model_copy(update={"delay_seconds": seconds, **({"when": when} if when else {})})
        for rule in provider.rules
        if rule.agent == "beta"
    ]
    rules = (*slow[:1], *provider.rules) if when else (*slow, *provider.rules)
    script = provider.model_copy(update={"rules": rules})
    return Release(**{**dict(release), "providers": {"script": script}})


def wait_for_runs(system: RunningSystem, count: int) -> None:
    """Until so many runs are final."""
    final = "SELECT count(*) FROM work_index WHERE queue = 'agent_runs' AND finished_at IS NOT NULL"
    assert_eventually(lambda: system.rows(final)[0][0] >= count, within=60, what=f"{count} runs are final")


def assert_all_is_done_once(system: RunningSystem, expected: int) -> None:
    """Every event came to its good end, and every permitted action happened once."""
    assert system.count_by("orchestrations", "status") == {"completed": expected}
    intended = [
        row[0] for row in system.rows("SELECT idempotency_key FROM actions WHERE state = 'confirmed'")
    ]
    assert sorted(system.sink_keys()) == sorted(intended)
    counts = system.sink_counts()
    assert (counts.applied, counts.repeated) == (len(intended), 0)
    assert system.count_by("actions", "state").keys() == {"confirmed", "denied"}
    assert system.verify_all() == {}


@pytest.mark.parametrize(
    ("application", "beat", "environment"),
    [
        pytest.param("tasks", False, {**NO_SHORTCUT, **NO_RECONCILER}, id="canvases-alone"),
        pytest.param("tests.acceptance.dropped_bodies", True, NO_SHORTCUT, id="the-sweep-alone"),
        pytest.param("tests.acceptance.dropped_bodies", False, NO_RECONCILER, id="the-shortcut-alone"),
    ],
)
def test_each_way_of_carrying_on_finishes_every_event_alone(
    fresh_database: str, home: Path, application: str, beat: bool, environment: Mapping[str, str]
) -> None:
    """Promise 1: whichever two of the three are switched off or lost, the third comes to every end."""
    with RunningSystem(
        fresh_database, home, beat=beat, environment=environment, application=application
    ) as system:
        system.publish(keyed())
        system.accept(events(EVENTS))
        system.start_workers()
        system.wait_until_all_ended()
        assert_all_is_done_once(system, EVENTS)


def test_with_nothing_to_carry_on_nothing_goes_on(fresh_database: str, home: Path) -> None:
    """The three tests above show something: without canvas, shortcut and sweep the stages stay where they are."""
    environment = {**NO_SHORTCUT, **NO_RECONCILER}
    with RunningSystem(
        fresh_database, home, environment=environment, application="tests.acceptance.dropped_bodies"
    ) as system:
        system.publish(keyed())
        system.accept(events(4))
        system.start_workers()
        ready = "SELECT count(*) FROM work_index WHERE queue = 'aggregation' AND due_at < clock_timestamp()"
        assert_eventually(lambda: system.rows(ready) == [(4,)], within=60, what="the members are final")
        assert system.open_orchestrations() == 4
        assert system.count_by("decisions", "degraded") == {}


def test_when_redis_forgets_everything_in_the_middle_nothing_is_lost_or_done_twice(
    fresh_database: str, home: Path
) -> None:
    """FLUSHALL takes queued messages, doorbells, locks and chords; what is due stands in PostgreSQL."""
    with RunningSystem(fresh_database, home, beat=True) as system:
        system.publish(slowed(0.3))
        system.accept(events(EVENTS))
        system.start_workers()
        for part in (1, EVENTS // 2):
            wait_for_runs(system, part)
            system.redis.flushall()
            system.accept([Submission(_issue(f"after-{part}", "high"))])
        system.wait_until_all_ended(within=90)
        assert_all_is_done_once(system, EVENTS + 2)


def test_a_straggler_holds_up_nobody_in_its_batch(fresh_database: str, home: Path) -> None:
    """A batched chord's body waits for its slowest member; the others are decided and dispatched before it ends."""
    with RunningSystem(fresh_database, home) as system:
        system.publish(slowed(3.0, when="inputs.title.contains('slow')"))
        answers = system.accept(events(EVENTS, "slow"))
        straggler = answers[-1].orchestration_ids[0]
        system.start_workers()
        system.wait_until_all_ended()
        histories = system.services.store.histories(
            ["demo"], [answer.orchestration_ids[0] for answer in answers]
        )
        folded = min(one.at for one in histories[straggler].facts if isinstance(one.fact, RunFolded))
        others = [one for key, history in histories.items() if key != straggler for one in history.facts]
        confirmed = [one.at for one in others if isinstance(one.fact, DeliveryConfirmed)]
        closed = [one.at for one in others if isinstance(one.fact, OrchestrationClosed)]
        assert len(closed) == EVENTS
        assert max(confirmed) <= max(closed) < folded, "the others waited for the straggler"
        assert_all_is_done_once(system, EVENTS + 1)


def test_a_worker_beside_the_others_that_is_ended_under_load_loses_nothing(
    fresh_database: str, home: Path
) -> None:
    """``celery -A tasks worker -Q agent_runs -n other@%h`` comes and goes as load does."""
    runs_of_its_own = WorkerGroup("other", (Queue.AGENT_RUNS,), "threads", 4)
    with RunningSystem(
        fresh_database,
        home,
        groups=(
            ON_ONE_MACHINE[0],
            ON_ONE_MACHINE[2],
            WorkerGroup("agent_runs", (Queue.AGENT_RUNS,), "threads", 2),
        ),
        beat=True,
        environment={"INTERLOCK_RUNS_PER_MESSAGE": "4"},
    ) as system:
        system.publish(slowed(1.5))
        other = system.start_worker(runs_of_its_own, "other")
        system.start_workers()
        system.accept(events(EVENTS))
        held = "SELECT count(*) FROM work_index WHERE finished_at IS NULL AND leased_by LIKE %s"
        its_own = [f"%:{other.pid}:%"]
        assert_eventually(lambda: system.rows(held, its_own)[0][0] > 0, within=60, what="the other works")
        other.send_signal(signal.SIGTERM)
        system.accept([Submission(_issue(f"later-{number}", "high")) for number in range(EVENTS)])
        assert other.wait(30) == 0
        assert system.rows(held, its_own) == [(0,)], "it left what it had begun"
        system.wait_until_all_ended()
        assert_all_is_done_once(system, EVENTS * 2)
