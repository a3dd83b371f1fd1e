"""Promise 4: nothing is spent that a budget does not allow, whoever asks at the same time and whoever is killed.

Judged by the provider's own history: what it was asked, in the order in which it was asked.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen

from app.data_plane.ports import Queue
from config.topology import WorkerGroup
from tests.acceptance.two_sinks import PATIENCE_SECONDS
from tests.eventually import assert_eventually
from tests.model_faults import FaultyModels, faulty_models
from tests.modelled_workflow import KEY, issues, modelled_release, openai, tenant_with_budget
from tests.system import RunningSystem

RUNS = 200
LIMIT = 120
WORKERS = 4
ANSWER = '{"level": "high"}'
AGENTS = WorkerGroup("agents", (Queue.AGENT_RUNS,), "threads", 4)
OTHERS = WorkerGroup("others", tuple(queue for queue in Queue if queue is not Queue.AGENT_RUNS), "threads", 4)


@dataclass
class Fleet:
    """The processes that ask."""

    system: RunningSystem
    application: str
    up: list[Popen[bytes]] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def add(self) -> None:
        """One more."""
        name = f"agents{next(self._numbers)}"
        self.up.append(self.system.start_worker(AGENTS, name, application=self.application))

    def kill_the_oldest(self) -> None:
        """SIGKILL, whatever it has in flight, and another in its place."""
        oldest = self.up.pop(0)
        oldest.kill()
        oldest.wait()
        self.add()


@contextmanager
def two_hundred_runs(
    database: str,
    home: Path,
    *,
    at_once: int,
    application: str = "tasks",
    calls: int = LIMIT,
    tokens: int = 10**9,
) -> Iterator[tuple[Fleet, FaultyModels]]:
    """All accepted before anybody asks; one tenant's budget has room for 120 calls."""
    environment = {
        **KEY,
        "INTERLOCK_BATCH_SIZE": str(at_once),
        "INTERLOCK_AGENT_RUNS_IN_FLIGHT": str(at_once),
    }
    with (
        faulty_models(say=ANSWER, pause_seconds=0.5) as models,
        RunningSystem(database, home, groups=(OTHERS,), beat=True, environment=environment) as system,
    ):
        release = modelled_release(
            [openai("model", models.url("openai"))],
            agent={"timeout_seconds": 60},
            stage_fields={"timeout_seconds": 120},
        )
        system.publish(release, tenant_with_budget(home, f"{{calls: {calls}, tokens: {tokens}, per: month}}"))
        system.accept(issues([f"event-{number}" for number in range(RUNS)]))
        system.start_workers()
        fleet = Fleet(system, application)
        for _ in range(WORKERS):
            fleet.add()
        yield fleet, models


def lines(system: RunningSystem) -> dict[str, tuple[int, int, int]]:
    """By unit: what is reserved, spent and presumed of the tenant's budget."""
    found = system.rows("SELECT unit, reserved, spent, presumed FROM budget_lines WHERE level = 'tenant'")
    return {row[0]: row[1:] for row in found}


def test_killed_workers_overspend_nothing_and_what_they_held_is_back(
    make_database: Callable[[], str], home: Path
) -> None:
    """Four processes are killed with calls in flight; a hundred and twenty calls are made, and not one more."""
    with two_hundred_runs(make_database(), home, at_once=8) as (fleet, models):
        system = fleet.system
        for kills in range(WORKERS):
            seen = 5 + 20 * kills
            assert_eventually(
                lambda seen=seen: len(models.history) >= seen, within=PATIENCE_SECONDS, what=f"{seen} calls"
            )
            fleet.kill_the_oldest()
        system.wait_until_all_ended(within=PATIENCE_SECONDS)
        assert_eventually(lambda: lines(system)["calls"][0] == 0, within=60, what="what was held is back")
        # Whatever came back too late for those that were refused is there for others.
        system.accept(issues([f"later-{number}" for number in range(LIMIT)]))
        system.wait_until_all_ended(within=PATIENCE_SECONDS)

        cut = [asked for asked in models.history if asked.ending != "answered"]
        assert cut, "nobody was killed in the middle of a call"
        assert len(models.history) <= LIMIT, "each prefix of the history is within the limit"
        held, spent, presumed = lines(system)["calls"]
        assert (held, spent + presumed) == (0, LIMIT), "no call of the budget is lost"
        assert (spent + presumed >= len(models.history), presumed >= len(cut)) == (True, True)
        billed = sum(asked.input_tokens + asked.output_tokens for asked in models.history)
        assert sum(lines(system)["tokens"]) >= billed
        degraded = system.count_by("decisions", "degraded")
        assert sum(degraded.values()) == RUNS + LIMIT, "every run ended in a decision"
        assert degraded[False] == spent, "and the fallback answered for the others"
        assert system.verify_all() == {}
        print(
            f"\n{RUNS} runs, {LIMIT} calls allowed: the provider saw {len(models.history)},"
            f" {len(cut)} of them cut off by kills; spent {spent}, presumed {presumed}, held {held}"
        )


def test_tokens_are_never_overspent_at_any_moment_of_the_providers_own_history(
    make_database: Callable[[], str], home: Path
) -> None:
    """Settling frees most of each worst case for others, while workers are killed: the sum of what was billed holds."""
    limit = 40_000
    with two_hundred_runs(make_database(), home, at_once=8, calls=10**6, tokens=limit) as (fleet, models):
        system = fleet.system
        for kills in range(2):
            seen = 5 + 15 * kills
            assert_eventually(
                lambda seen=seen: len(models.history) >= seen, within=PATIENCE_SECONDS, what=f"{seen} calls"
            )
            fleet.kill_the_oldest()
        system.wait_until_all_ended(within=PATIENCE_SECONDS)
        assert_eventually(lambda: lines(system)["tokens"][0] == 0, within=60, what="what was held is back")

        billed = 0
        for asked in models.history:
            billed += asked.input_tokens + asked.output_tokens
            assert billed <= limit
        held, spent, presumed = lines(system)["tokens"]
        assert billed <= spent + presumed <= limit
        assert any(asked.ending != "answered" for asked in models.history), "nobody was killed in a call"
        assert 0 < len(models.history) < RUNS
        print(f"\n{limit} tokens allowed: billed {billed}; spent {spent}, presumed {presumed}, held {held}")


def test_a_budget_that_looks_first_and_takes_afterwards_overspends(
    make_database: Callable[[], str], home: Path
) -> None:
    """The same load without the locks: this is what the promise is held against."""
    with two_hundred_runs(
        make_database(), home, at_once=64, application="tests.acceptance.check_then_spend"
    ) as (fleet, models):
        fleet.system.wait_until_all_ended(within=PATIENCE_SECONDS)
        print(f"\nchecked, then spent: {len(models.history)} calls of {LIMIT} allowed")
        assert len(models.history) > LIMIT
