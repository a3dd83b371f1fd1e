"""A worker beside a newer one meets facts that it does not know: it leaves just those steps, and does the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from app.bootstrap import Services, celery_application
from app.data_plane.ports import Append, Change, Queue
from app.supervisor.run_folder import RunFolder
from config.settings import Settings
from config.topology import WorkerGroup
from interlock.identity import advance_id, aggregation_id, run_id
from tests.acceptance.newer_version import Remarked
from tests.acceptance.two_sinks import PATIENCE_SECONDS, issues, two_sinks, two_sinks_release
from tests.branching_workflow import AGENTS
from tests.eventually import assert_eventually
from tests.system import RunningSystem

EVERYTHING = WorkerGroup("older", tuple(Queue), "threads", 4)
TENANT, STAGE, ME = "demo", "classify", "newer-worker"
STEPS = (Queue.ORCHESTRATION, Queue.AGENT_RUNS, Queue.AGGREGATION, Queue.DISPATCH)
EACH = 2


@contextmanager
def a_newer_worker(database_url: str, home: Path) -> Iterator[Services]:
    """What a worker does, without telling anybody what comes next."""
    settings = Settings(home=home, database_url=database_url, redis_url=RunFolder(home).redis_url)
    services = Services(settings, celery_application(settings), "interlock_worker")
    services.carrier.ring = lambda queue: None  # type: ignore[method-assign]
    services.carrier.publish = lambda canvas: None  # type: ignore[method-assign]
    yield services
    services.close()


def bring_to(services: Services, queue: Queue, orchestrations: Sequence[str]) -> None:
    """Carry them on until their next step is one of that queue."""
    done = STEPS[: STEPS.index(queue)]
    if Queue.ORCHESTRATION in done:
        services.advancer.advance(ME, [advance_id(key) for key in orchestrations])
    if Queue.AGENT_RUNS in done:
        runs = [run_id(key, STAGE, agent) for key in orchestrations for agent in AGENTS]
        services.event_loop.run(services.runner.execute(ME, runs))
    if Queue.AGGREGATION in done:
        services.aggregator.aggregate(ME, [aggregation_id(key, STAGE) for key in orchestrations])


def remark_on(services: Services, orchestrations: Sequence[str]) -> None:
    """Write the newer fact behind what is there."""
    histories = services.store.histories([TENANT], orchestrations)
    services.store.commit(
        [
            Change(TENANT, key, orchestration=Append(key, histories[key].head_seq, (Remarked(),)))  # type: ignore[arg-type]
            for key in orchestrations
        ]
    )


def remark_on_a_run(services: Services, orchestrations: Sequence[str]) -> None:
    """Write the newer fact into the own chain of a run of each, and leave the run."""
    runs = [run_id(key, STAGE, AGENTS[0]) for key in orchestrations]
    claims = services.store.claim(Queue.AGENT_RUNS, limit=len(runs), worker=ME, step_ids=runs)
    remark = (Remarked(),)
    services.store.commit(
        [
            Change(
                TENANT,
                claim.orchestration_id,
                claim,
                run=Append(claim.step_id, 0, remark),  # type: ignore[arg-type]
                settle="keep",
            )
            for claim in claims
        ]
    )
    assert services.store.give_back(ME, in_seconds=0.0, lapsed=False) == len(runs)


def statuses(system: RunningSystem, orchestrations: Sequence[str]) -> set[str]:
    """What these orchestrations are shown as."""
    query = "SELECT DISTINCT status FROM orchestrations WHERE orchestration_id = ANY(%s)"
    return {status for (status,) in system.rows(query, [list(orchestrations)])}


def test_an_older_worker_leaves_what_a_newer_one_wrote_and_does_the_rest_of_the_batch(
    fresh_database: str, home: Path
) -> None:
    """At every queue, half of a batch holds facts of the next version: the other half ends, and nothing gives up."""
    with (
        two_sinks(home / "sinks") as sinks,
        RunningSystem(fresh_database, home, beat=True, groups=()) as system,
        a_newer_worker(fresh_database, home) as newer,
    ):
        system.publish(two_sinks_release(), sinks.documents)
        known: list[str] = []
        unknown: list[str] = []
        for queue in (*STEPS, "run"):
            names = [f"{queue}-{number}" for number in range(2 * EACH)]
            keys = [answer.orchestration_ids[0] for answer in system.accept(issues(names))]
            bring_to(newer, Queue.AGENT_RUNS if queue == "run" else Queue(queue), keys)
            (remark_on_a_run if queue == "run" else remark_on)(newer, keys[:EACH])
            unknown += keys[:EACH]
            known += keys[EACH:]
        system.redis.flushall()

        system.start_workers()
        older = system.start_worker(EVERYTHING, "older", application="tests.acceptance.older_code")
        assert_eventually(
            lambda: statuses(system, known) == {"completed"},
            within=PATIENCE_SECONDS,
            what="the others of the batch end",
        )
        assert_eventually(
            lambda: statuses(system, unknown) == {"waiting_for_release"}, what="the older worker leaves them"
        )
        assert system.rows("SELECT max(lapses) FROM work_index") == [(0,)]
        assert sinks.honouring.applied().total() == sinks.forgetful.applied().total() == len(known)

        older.terminate()
        assert older.wait(60) == 0
        system.start_worker(EVERYTHING, "newer", application="tests.acceptance.newer_code")
        system.wait_until_all_ended(within=PATIENCE_SECONDS)
        sinks.assert_each_effect_happened_once(system, len(known) + len(unknown))
