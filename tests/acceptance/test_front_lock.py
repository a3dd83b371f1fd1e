"""Redis locks are only in front: they save PostgreSQL its contention, and no promise rests on them."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from celery import Celery

from app.adapters.celery.carrier import TASKS
from app.bootstrap import celery_application
from app.data_plane.ports import Queue
from app.kernel.release import Release
from app.supervisor.run_folder import RunFolder
from config.settings import Settings
from config.topology import WorkerGroup
from interlock.identity import aggregation_id, run_id
from tests.acceptance.counting_relay import CountingRelay, counting_relay
from tests.acceptance.two_sinks import PATIENCE_SECONDS, issues, two_sinks, two_sinks_release
from tests.branching_workflow import AGENTS
from tests.eventually import assert_eventually
from tests.system import RunningSystem

HEARTBEAT = "interlock_liveness"
"""The application name under which a worker tells PostgreSQL that it lives: no part of any message."""
CARRYING_IDS = (Queue.AGENT_RUNS, Queue.AGGREGATION, Queue.DISPATCH)
ALONE = {
    "INTERLOCK_RECONCILER": "false",
    "INTERLOCK_WORKER_SHORTCUT": "false",
    "INTERLOCK_LOG_LEVEL": "DEBUG",
}
"""Nothing but messages moves a worker, and it logs each one that it has handled."""
STEP_SECONDS = 3.0
EVENTS = 3
TWO_WORKERS = tuple(WorkerGroup(name, tuple(Queue), "threads", 8) for name in ("one", "other"))


@dataclass(frozen=True)
class Messages:
    """All messages that one orchestration's only stage is carried by; every id is derived."""

    orchestration: str
    runs: list[str]
    aggregation: str

    @classmethod
    def of(cls, orchestration: str, release: Release) -> Messages:
        """Those of an orchestration under that release."""
        (stage,) = release.template.stages
        runs = [run_id(orchestration, stage.name, agent) for agent in AGENTS]
        return cls(orchestration, runs, aggregation_id(orchestration, stage.name))

    @property
    def ids(self) -> list[str]:
        """The ids that they carry, which are the names of the locks."""
        return [*self.runs, self.aggregation, self.orchestration]

    def send(self, application: Celery, queue: Queue) -> str:
        """Send the one to this queue, as the canvas does; returns the message's id."""
        arguments: dict[Queue, list[list[str]]] = {
            Queue.AGENT_RUNS: [self.runs],
            Queue.AGGREGATION: [[self.aggregation]],
            Queue.DISPATCH: [[], [self.orchestration]],
        }
        sent = application.send_task(
            TASKS[queue], args=arguments[queue], queue=queue.value, ignore_result=True
        )
        return str(sent.id)


@dataclass(frozen=True)
class Watched:
    """One worker behind the relay, and an orchestration of which somebody else holds every lock."""

    system: RunningSystem
    relay: CountingRelay
    home: Path
    messages: Messages
    application: Celery

    def queries(self) -> int:
        """Bytes that the worker sent to PostgreSQL for whatever it was told to do."""
        return self.relay.sent(HEARTBEAT)

    def send_again(self) -> None:
        """The messages once more, each when the worker has handled the one before."""
        for queue in CARRYING_IDS:
            wait_until_handled(self.home, {self.messages.send(self.application, queue)})


def wait_until_handled(home: Path, messages: set[str]) -> None:
    """Until workers say in their logs that they have done what these messages told them."""

    def handled() -> bool:
        lines = [
            line
            for log in (home / "logs").glob("*.log")
            for line in log.read_text(errors="replace").splitlines()
        ]
        done = "\n".join(line for line in lines if "succeeded" in line)
        return all(message in done for message in messages)

    assert_eventually(handled, within=PATIENCE_SECONDS, what=f"{len(messages)} messages are handled")


def sender(home: Path) -> Celery:
    """An application that sends to the system in that run folder."""
    return celery_application(Settings(home=home, redis_url=RunFolder(home).redis_url))


@contextmanager
def a_worker_that_meets_locks(database_url: str, home: Path) -> Iterator[Watched]:
    """A worker has been through an orchestration's whole canvas, and somebody else held every lock."""
    release = two_sinks_release()
    worker = WorkerGroup("second", tuple(Queue), "threads", 4)
    with (
        two_sinks(home / "sinks") as sinks,
        counting_relay(database_url, home / "relay") as (relay, through_the_relay),
        RunningSystem(
            database_url,
            home,
            groups=(worker,),
            environment={**ALONE, "INTERLOCK_DATABASE_URL": through_the_relay},
        ) as system,
    ):
        system.publish(release, sinks.documents)
        ((orchestration,),) = (answer.orchestration_ids for answer in system.accept(issues(["locked"])))
        messages = Messages.of(orchestration, release)
        watched = Watched(system, relay, home, messages, sender(home))
        held = system.services.front_lock.acquire(messages.ids, 120)
        assert list(held.names) == messages.ids
        system.start_workers()
        assert_eventually(
            lambda: system.rows("SELECT count(*) FROM work_index WHERE finished_at IS NOT NULL") == [(1,)],
            within=PATIENCE_SECONDS,
            what="its canvas is published",
        )
        watched.send_again()
        yield watched
        system.services.front_lock.release(held)
        watched.send_again()
        system.wait_until_all_ended(within=PATIENCE_SECONDS)
        sinks.assert_each_effect_happened_once(system, 1)


def steps_begun(system: RunningSystem) -> Mapping[str, int]:
    """How many steps of each queue were ever claimed."""
    return dict(system.rows("SELECT queue, count(*) FROM work_index WHERE fence > 0 GROUP BY queue"))


def test_a_worker_that_meets_a_lock_makes_no_query(fresh_database: str, home: Path) -> None:
    """The steps stay due and untouched while the lock is held; without it, the same messages are worked on."""
    with a_worker_that_meets_locks(fresh_database, home) as watched:
        assert steps_begun(watched.system).keys() == {"orchestration"}
        before = watched.queries()
        assert before > 0, "the relay sees the worker's queries"
        for _ in range(3):
            watched.send_again()
        assert watched.queries() - before == 0
    assert watched.queries() > before


@dataclass(frozen=True)
class Forgetting:
    """A system whose Redis forgets everything while steps are under way."""

    system: RunningSystem
    release: Release
    application: Celery
    home: Path

    def forget_during(self, queue: Queue, prefix: str) -> bool:
        """Begin some events; FLUSHALL and every message again while the queue's steps are under way.

        Returns whether they still were when the repeated messages had been handled: only then was there a danger.
        """
        answers = self.system.accept(issues([f"{prefix}-{number}" for number in range(EVENTS)]))
        sent = [Messages.of(answer.orchestration_ids[0], self.release) for answer in answers]
        under_way = functools.partial(self._is_under_way, queue, [one.orchestration for one in sent])
        assert_eventually(under_way, within=PATIENCE_SECONDS, what=f"{queue.value} is under way")
        self.system.redis.flushall()
        again = itertools.product(sent, CARRYING_IDS)
        wait_until_handled(self.home, {one.send(self.application, which) for one, which in again})
        return under_way()

    def _is_under_way(self, queue: Queue, orchestrations: list[str]) -> bool:
        held = (
            "SELECT count(*) FROM work_index WHERE queue = %s AND orchestration_id = ANY(%s)"
            " AND finished_at IS NULL AND leased_by IS NOT NULL"
        )
        return int(self.system.rows(held, [queue.value, orchestrations])[0][0]) > 0


def test_when_the_locks_are_forgotten_in_the_middle_of_a_step_nothing_happens_twice(
    fresh_database: str, home: Path
) -> None:
    """FLUSHALL, then every message again, while runs and then effects are under way: leases hold, locks need not."""
    release = two_sinks_release(agent_seconds=STEP_SECONDS)
    with (
        two_sinks(home / "sinks", delay_seconds=STEP_SECONDS) as sinks,
        RunningSystem(
            fresh_database, home, groups=TWO_WORKERS, beat=True, environment={"INTERLOCK_LOG_LEVEL": "DEBUG"}
        ) as system,
    ):
        system.publish(release, sinks.documents)
        system.start_workers()
        forgetting = Forgetting(system, release, sender(home), home)
        for queue in (Queue.AGENT_RUNS, Queue.DISPATCH):
            # On a busy machine a step may be over before the messages have come again.
            tries = (forgetting.forget_during(queue, f"{queue.value}-{again}") for again in range(5))
            assert any(tries), f"what came again at {queue.value} was not over at once: it did the work again"
        system.wait_until_all_ended(within=PATIENCE_SECONDS)
        ((orchestrations,),) = system.rows("SELECT count(*) FROM orchestrations")
        sinks.assert_each_effect_happened_once(system, orchestrations)
        assert system.verify_all() == {}
