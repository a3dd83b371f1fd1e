"""At its stage's limit a run waits for no tool any more, and says of each call that nothing came of it."""

from __future__ import annotations

import asyncio

from app.adapters.memory.budgets import MemoryBudgets
from app.data_plane.agent_runs.calling import ToolCaller
from app.data_plane.agent_runs.purse import Purse
from app.data_plane.agent_runs.run import Answer, Run, interpret, resume
from app.data_plane.contents import Contents
from app.data_plane.models import ToolCall
from app.data_plane.orchestration.recorder import Loaded
from app.data_plane.ports import Claim, History, Queue
from app.kernel.facts import ToolCalled, ToolFailed
from app.kernel.release import Release
from interlock.canonical import JsonObject
from interlock.identity import run_id
from tests.branching_workflow import ORCHESTRATION, Example
from tests.calling_workflow import calling_release
from tests.repairing import NoTenantBudgets


class Hanging:
    """A tenant's data that nobody ever gets to see."""

    def of(self, tenant_id: str) -> Hanging:
        """See ``Readings``."""
        return self

    async def entry(self, collection: str, key: str) -> JsonObject | None:
        """See ``Reading``."""
        await asyncio.Event().wait()
        raise AssertionError


def loaded(release: Release) -> Loaded:
    """An orchestration as agent runs load it, right after its first stage was started."""
    example = Example(release)
    example.begin()
    history = History(ORCHESTRATION, "demo", release.digest, None, (), 0)
    return Loaded(history, example.state, Contents(example.contents.all()))


def begun() -> Run:
    """A run whose model calls a tool that reads, and one that writes, in one answer."""
    step = run_id(ORCHESTRATION, "classify", "alpha")
    claim = Claim(step, "demo", ORCHESTRATION, Queue.AGENT_RUNS, "classify", "alpha", None, 1, 1)
    run = resume(claim, loaded(calling_release()), (), {})
    calls = (
        ToolCall("1", "directory.lookup", '{"collection": "services", "key": "octo"}'),
        ToolCall("2", "reference.record", '{"subject": "routine", "verdict": "fine"}'),
    )
    run.answer = Answer(0, "script", "", calls)
    interpret(run, 0.0, "2026-01-01T00:00:00Z")
    assert [fact.verdict for fact in run.chain if isinstance(fact, ToolCalled)] == [
        "permitted",
        "handed_over",
    ]
    return run


def test_a_read_that_hangs_ends_with_the_stages_limit_and_takes_the_effect_beside_it_along() -> None:
    """The effect was not handed over, and so the record must not leave it open."""
    run = begun()

    async def call() -> None:
        run.ends_at = asyncio.get_running_loop().time() + 0.05
        purse = Purse(MemoryBudgets(lambda _step, _fence: True), NoTenantBudgets())
        await ToolCaller(Hanging(), purse).call(run)

    asyncio.run(call())
    assert run.given_up is not None
    assert run.given_up.failure == "timed_out"
    assert not run.waits
    failed = [fact for fact in run.chain if isinstance(fact, ToolFailed)]
    assert [(fact.call, fact.code) for fact in failed] == [(0, "timed_out"), (1, "timed_out")]
