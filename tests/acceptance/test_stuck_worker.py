"""Promise 1: a worker that stays stuck in a step ends itself, and whoever comes after it does the step."""

from __future__ import annotations

from pathlib import Path

from app.adapters.watchdog import EX_SOFTWARE
from app.kernel.release import Release
from tests.acceptance.test_canvases_and_sweeps import assert_all_is_done_once, events, keyed
from tests.system import EVERYTHING, RunningSystem

STAGE_SECONDS = 1.0
LEASE_MARGIN_SECONDS = 2.0
"""As ``stuck_worker.py`` has it, which can be imported only in a worker: it changes the process that it is in."""


def hurried() -> Release:
    """Stages of a second, so that leases are short."""
    release = keyed()
    stages = tuple(
        stage.model_copy(update={"timeout_seconds": STAGE_SECONDS}) for stage in release.template.stages
    )
    return release.model_copy(update={"template": release.template.model_copy(update={"stages": stages})})


def test_a_worker_that_is_stuck_in_a_step_ends_itself_and_the_step_is_done_by_the_next(
    fresh_database: str, home: Path
) -> None:
    """Threads cannot be ended from outside: the process is, its step has lapsed once, and nothing happens twice."""
    with RunningSystem(
        fresh_database, home, beat=True, application="tests.acceptance.stuck_worker"
    ) as system:
        system.publish(hurried())
        system.accept(events(2))
        worker = system.start_worker(EVERYTHING[0], "first")
        assert worker.wait(120) == EX_SOFTWARE
        assert b"stuck far beyond its leases" in (home / "logs" / "first.log").read_bytes()
        assert system.open_orchestrations() == 2
        leases = "SELECT DISTINCT lease_seconds FROM work_index WHERE queue = 'agent_runs'"
        assert system.rows(leases) == [(STAGE_SECONDS + LEASE_MARGIN_SECONDS,)], (
            "the worker's margins are not the shortened ones"
        )
        system.start_workers()
        system.wait_until_all_ended()
        assert_all_is_done_once(system, 2)
        lapsed = "SELECT count(*) FROM journal WHERE convert_from(body, 'UTF8') LIKE %s"
        assert system.rows(lapsed, ["%step_lapsed%"])[0][0] > 0, (
            "that its lease ended without a result stands in the journal"
        )
