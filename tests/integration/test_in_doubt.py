"""Effects in doubt over real PostgreSQL and real sinks: what crashes and hanging targets leave, and how it is settled.

Guards promise 2 where it is hardest: between a send and its record. What happened is read from the sinks alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import httpx2
import psycopg
import pytest

from app.adapters.postgresql.database import Database
from app.adapters.postgresql.store import PostgresqlStore
from app.adapters.targets.http import HttpTargets, TargetAddress
from app.data_plane.dispatch.deliver import Dispatcher
from app.data_plane.ports import Carrier
from app.kernel import fault_points
from app.kernel.clock import SystemClock
from app.kernel.errors import TransientError
from app.kernel.facts import DeliveryConfirmed
from app.kernel.fault_points import FaultPoint
from app.kernel.release import Release, Target
from tests.doubtful_workflow import Decided, doubtful_release
from tests.eventually import assert_eventually
from tests.integration.sinks import a_sink

LOCAL = frozenset({"127.0.0.0/8"})
PROBE_PATH = "/v1/keys/{key}"


class Crash(BaseException):
    """A process that ends here: nothing after it happens, and nobody catches it."""


class OneSink:
    """Every target is this one."""

    def __init__(self, url: str) -> None:
        self.url = url

    def find(self, tenant_id: str, target: str) -> TargetAddress:
        """See ``TargetDirectory.find``."""
        return TargetAddress(self.url, networks=LOCAL)


class Scene:
    """One decided orchestration over PostgreSQL, and dispatchers that come and go."""

    def __init__(self, database_url: str, database: Database, target: Target, sink: str) -> None:
        self.database_url = database_url
        self.sink = sink
        self.target = target
        self.release: Release = doubtful_release(target)
        self.store = PostgresqlStore(database, SystemClock())
        self.decided = Decided(self.store, self.release)

    def deliver(self, worker: str = "w") -> tuple[int, int]:
        """One dispatcher's turn, by a process of its own."""

        async def turn() -> tuple[int, int]:
            targets = HttpTargets(OneSink(self.sink))
            carrier = cast(Carrier, self.decided.carrier)
            dispatcher = Dispatcher(
                self.store, self.decided.recorder, targets, carrier, SystemClock(), batch_size=64
            )
            try:
                work = await dispatcher.deliver(worker)
                return work.steps, work.failed
            finally:
                await targets.close()

        return asyncio.run(turn())

    def deliver_until_it_ends(self) -> None:
        """Turns of dispatchers, each as soon as something is due."""

        def ended() -> bool:
            self.deliver()
            return self.decided.state().closed is not None

        assert_eventually(ended, within=30, what="the orchestration ends")

    def crash_at(self, point: FaultPoint) -> None:
        """A dispatcher's turn that ends its process at a fault point."""

        def end(reached: FaultPoint, queue: str) -> None:
            if (reached, queue) == (point, "dispatch"):
                raise Crash

        fault_points.arm(end)
        with pytest.raises(Crash):
            self.deliver("lost")
        fault_points.arm(None)
        # Its lease ends: what a lost worker held is due again.
        self.execute("UPDATE work_index SET due_at = clock_timestamp() WHERE leased_by = 'lost'")

    def execute(self, statement: str) -> None:
        """What the database's owner does."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute(statement)

    @property
    def counts(self) -> tuple[int, int]:
        """How many requests the sink received, and how many it applied."""
        found = httpx2.get(f"{self.sink}/v1/counts", trust_env=False).json()
        return found["received"], found["applied"]

    def facts(self) -> list[str]:
        """The kinds of facts about the action."""
        return self.decided.kinds(self.target.name)


@pytest.fixture
def stage_a(fresh_database: str, tmp_path: Path) -> Iterator[Callable[..., Scene]]:
    """Makes scenes: a target's promises, and the options of the sink that it is."""
    database = Database(fresh_database, "interlock_worker")
    with ExitStack() as stack:
        stack.callback(database.close)
        stack.callback(fault_points.arm, None)

        def make(target: Target, *options: str) -> Scene:
            url = stack.enter_context(a_sink(tmp_path / "sink.log", *options))
            return Scene(fresh_database, database, target, url)

        yield make


def test_a_target_that_acts_and_then_hangs_is_asked_and_says_that_it_acted(
    stage_a: Callable[..., Scene],
) -> None:
    target = Target(name="pager", timeout_seconds=0.5, probe_path=PROBE_PATH)
    scene = stage_a(target, "--no-honours-keys", "--act-then-hang-every", "1")
    assert scene.deliver() == (1, 1)
    assert scene.facts()[-1] == "delivery_in_doubt"
    assert scene.decided.state().status == "running"
    scene.deliver_until_it_ends()
    assert scene.facts()[-2:] == ["delivery_in_doubt", "delivery_probed"]
    assert scene.decided.state().status == "completed"
    assert scene.counts == (1, 1)


def test_one_that_was_never_reached_says_so_and_is_not_sent_to_again(stage_a: Callable[..., Scene]) -> None:
    """The process ended after the start was recorded and before it sent: nobody else can know that it did not."""
    target = Target(name="pager", timeout_seconds=0.5, probe_path=PROBE_PATH)
    scene = stage_a(target, "--no-honours-keys")
    scene.crash_at(FaultPoint.BEFORE_EFFECT)
    assert scene.facts()[-1] == "delivery_started"
    scene.deliver_until_it_ends()
    action = scene.decided.action("pager")
    assert (action.status, action.applied) == ("settled", False)
    assert scene.decided.state().status == "dead_lettered"
    assert scene.deliver() == (0, 0)
    assert scene.counts == (0, 0)


@pytest.mark.parametrize("point", [FaultPoint.BEFORE_EFFECT, FaultPoint.AFTER_EFFECT_BEFORE_RECORD])
def test_where_nobody_can_be_asked_a_crash_leaves_a_doubt_and_at_most_one_request(
    stage_a: Callable[..., Scene], point: FaultPoint
) -> None:
    scene = stage_a(Target(name="pager", timeout_seconds=0.5), "--no-honours-keys")
    scene.crash_at(point)
    scene.deliver_until_it_ends()
    assert scene.facts()[1:] == ["delivery_started", "delivery_in_doubt"]
    assert scene.decided.state().status == "dead_lettered"
    sent = int(point is FaultPoint.AFTER_EFFECT_BEFORE_RECORD)
    assert scene.counts == (sent, sent)


@pytest.mark.parametrize("point", [FaultPoint.BEFORE_EFFECT, FaultPoint.AFTER_EFFECT_BEFORE_RECORD])
def test_where_keys_are_honoured_a_crash_is_followed_by_the_same_key_and_one_effect(
    stage_a: Callable[..., Scene], point: FaultPoint
) -> None:
    scene = stage_a(Target(name="tracker", honours_keys=True, timeout_seconds=0.5))
    scene.crash_at(point)
    scene.deliver_until_it_ends()
    assert scene.decided.state().status == "completed"
    received, applied = scene.counts
    assert applied == 1
    assert received == (2 if point is FaultPoint.AFTER_EFFECT_BEFORE_RECORD else 1)


def test_past_the_time_that_a_key_is_kept_it_is_not_sent_again(stage_a: Callable[..., Scene]) -> None:
    """A key that the target keeps for no longer than an attempt takes saves nobody."""
    target = Target(name="tracker", honours_keys=True, timeout_seconds=0.5, key_ttl_seconds=1)
    scene = stage_a(target)
    scene.crash_at(FaultPoint.AFTER_EFFECT_BEFORE_RECORD)
    scene.deliver_until_it_ends()
    assert scene.facts()[-1] == "delivery_in_doubt"
    assert scene.counts == (1, 1)


def test_a_receipt_outlives_the_connections_that_it_was_to_be_recorded_over(
    stage_a: Callable[..., Scene],
) -> None:
    """The server ends every session, between the answer and its record."""
    scene = stage_a(Target(name="pager", timeout_seconds=5), "--no-honours-keys")

    def end_sessions(point: FaultPoint, queue: str) -> None:
        if (point, queue) == (FaultPoint.AFTER_EFFECT_BEFORE_RECORD, "dispatch"):
            scene.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    fault_points.arm(end_sessions)
    assert scene.deliver() == (1, 0)
    assert scene.facts()[-1] == "delivery_confirmed"
    assert scene.counts == (1, 1)


@pytest.mark.parametrize("honours_keys", [True, False])
def test_a_start_whose_commit_was_cut_off_is_found_and_sent_once(
    stage_a: Callable[..., Scene], honours_keys: bool
) -> None:
    """It is recorded, and the process was told that the connection broke: it finds its own start, under its fence."""
    option = "--honours-keys" if honours_keys else "--no-honours-keys"
    target = Target(name="target", timeout_seconds=5, honours_keys=honours_keys)
    scene = stage_a(target, option)
    cut_off: list[str] = []

    def cut(point: FaultPoint, queue: str) -> None:
        if (point, queue) == (FaultPoint.AFTER_RECORD, "dispatch") and not cut_off:
            cut_off.append("the start")
            raise TransientError("the connection broke while it committed")

    fault_points.arm(cut)
    assert scene.deliver() == (1, 0)
    assert cut_off
    assert scene.facts()[1:] == ["delivery_started", "delivery_confirmed"]
    assert scene.counts == (1, 1)


def test_two_dispatchers_that_find_the_same_lost_attempt_ask_and_settle_once(
    stage_a: Callable[..., Scene],
) -> None:
    target = Target(name="pager", timeout_seconds=0.5, probe_path=PROBE_PATH)
    scene = stage_a(target, "--no-honours-keys")
    scene.crash_at(FaultPoint.AFTER_EFFECT_BEFORE_RECORD)

    def ended() -> bool:
        async def both() -> None:
            await asyncio.gather(
                asyncio.to_thread(scene.deliver, "one"), asyncio.to_thread(scene.deliver, "other")
            )

        asyncio.run(both())
        return scene.decided.state().closed is not None

    assert_eventually(ended, what="the orchestration ends")
    assert scene.facts().count("delivery_probed") == 1
    assert scene.decided.state().status == "completed"
    assert scene.counts == (1, 1)


def test_what_was_confirmed_after_all_says_that_the_target_knew_the_key(
    stage_a: Callable[..., Scene],
) -> None:
    """The record shows that an effect was not repeated."""
    scene = stage_a(Target(name="tracker", honours_keys=True, timeout_seconds=0.5))
    scene.crash_at(FaultPoint.AFTER_EFFECT_BEFORE_RECORD)
    scene.deliver_until_it_ends()
    history = scene.store.histories(["demo"], scene.decided.ids)[scene.decided.ids[0]]
    (confirmed,) = [one.fact for one in history.facts if isinstance(one.fact, DeliveryConfirmed)]
    assert confirmed.repeated
