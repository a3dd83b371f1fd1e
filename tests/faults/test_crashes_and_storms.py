"""The short form of ``make faults``: promises 1 and 2 while processes, servers and ways die, checked from outside.

One service for all of it: the real ``up`` and a worker process beside it, over servers that can be restarted and
disturbed. How quickly it recovers is measured by ``make faults``, not here. Bugs are planted last: what they break
stays broken in what is checked after them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from app.kernel.fault_points import FaultPoint
from config.settings import CHECKOUT
from tests.eventually import assert_eventually
from tests.faults import matrix, planted, stimuli, storm
from tests.faults.service import Options
from tests.faults.trial import Trial
from tests.faults.verdict import Verdict

SEED = 1


@pytest.fixture(scope="module")
def trial() -> Iterator[Trial]:
    """The service, warm."""
    with Trial(Options(proxied=True, planted=True), seed=SEED) as running:
        yield running


def test_what_a_clean_run_passes_is_what_the_matrix_crashes_at(trial: Trial) -> None:
    """Promises 1 and 2 are tried everywhere: no point of the code is left out, and none is registered for nothing."""
    stimuli.clean_run(trial, "clean")

    arming = trial.service.arming
    missing = set(matrix.registered())
    # The last message's own end comes after that of what it did.
    assert_eventually(lambda: missing <= arming.passed(), what=f"{missing - arming.passed()} are passed")
    assert matrix.unregistered(trial) == ()
    assert matrix.uncovered() == ()


def test_a_crash_at_each_fault_point_loses_nothing_and_does_nothing_twice(trial: Trial) -> None:
    """Promises 1 and 2: each point once, at the queues in turn; ``make faults`` crashes at each point of each queue."""
    every = matrix.all_cells("api", "worker")
    cells = matrix.rotating([cell for cell in every if cell.queue not in {"replay", "dead_letter"}])
    assert {cell.point for cell in cells} == set(FaultPoint)
    cells += [cell for cell in every if (cell.way, cell.point) == ("resume", FaultPoint.AFTER_RECORD)]

    report = matrix.run(trial, cells, print)

    assert [crash.cell.name for crash in report.crashes if crash.strike is None] == []
    assert [crash.why for crash in report.crashes if crash.recovery_seconds is None] == []
    assert report.verdict.violations == ()


def test_a_storm_of_faults_loses_nothing_and_does_nothing_twice(trial: Trial) -> None:
    """Promises 1 and 2 under what comes together in practice; only faults that evidently hit count."""
    plan = storm.Plan(workflows=40, faults=6, seconds=18.0, seed=SEED)

    report = storm.run(trial, plan, print)

    assert len(report.faults) == plan.faults, report.missed
    assert report.all_ended, trial.what_is_stuck()
    assert report.verdict.violations == ()


def test_the_checker_sees_planted_bugs_and_raises_no_false_alarm(trial: Trial) -> None:
    """A checker that has never found anything has not been tried; ``make faults`` plants all bugs."""
    seen = planted.run(trial, planted.named(planted.QUICKEST), print)
    assert [(one.bug, one.violations) for one in seen if not one.is_seen] == []


def test_a_seed_reproduces_the_storms_schedule(trial: Trial) -> None:
    """What failed once can be run again."""
    plan = storm.Plan(workflows=1, faults=30, seconds=1.0, seed=SEED)
    kinds = storm.available(trial.service)

    def drawn(with_plan: storm.Plan) -> list[tuple[str, float]]:
        faults = storm.schedule(with_plan, kinds)
        return [(kind.name, draw.random()) for kind, draw in (next(faults) for _ in range(30))]

    assert drawn(plan) == drawn(plan)
    assert drawn(plan) != drawn(storm.Plan(1, 30, 1.0, SEED + 1))


def test_there_are_the_bugs_that_were_asked_for() -> None:
    """Skip the fence, drop the key, acknowledge before commit, retry an in-doubt effect, and at least six more."""
    names = {bug.name for bug in planted.BUGS}
    assert {"skip_the_fence", "drop_the_key", "acknowledge_before_commit", "retry_in_doubt"} <= names
    assert len(names) >= 10


def test_the_matrix_crashes_at_every_registered_point_in_a_worker_and_in_a_child() -> None:
    """A queue without a stimulus would be left out without a word."""
    assert matrix.uncovered() == ()
    for role in ("worker", "child"):
        cells = matrix.all_cells(role)
        assert {f"{cell.queue}.{cell.point.value}" for cell in cells} == set(matrix.registered())
        assert {cell.way for cell in cells if cell.queue == "replay"} == {"rerun", "resume"}


def test_a_point_that_nothing_crashes_at_fails_the_matrix() -> None:
    """Whether it has no stimulus or is not registered at all."""
    verdict = Verdict((), (), {})
    assert matrix.MatrixReport((), (), (), (), verdict).failures == []
    assert len(matrix.MatrixReport((), ("replay.after_claim",), (), (), verdict).failures) == 1
    assert len(matrix.MatrixReport((), (), ("dispatch.after_publish",), (), verdict).failures) == 1


def test_the_checker_shares_no_code_with_the_product() -> None:
    """A mistake of the product must not be the checker's own."""
    program = "import sys, tests.faults.checker; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {"app", "tasks", "config", "interlock"} & set(done.stdout.split())
