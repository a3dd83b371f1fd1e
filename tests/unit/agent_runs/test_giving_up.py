"""Promise 1: a run that ends its workers, or cannot even be prepared, ends as a fact and holds up nobody else."""

from __future__ import annotations

import pytest

from app.data_plane.agent_runs.run import interpret, resume
from app.data_plane.contents import Contents
from app.data_plane.orchestration.recorder import MOST_LAPSES, Loaded
from app.data_plane.ports import Claim, History, Queue
from app.kernel.errors import DefectError
from app.kernel.facts import ModelAnswered, Recorded, RunFailed
from interlock.identity import run_id
from tests.branching_workflow import ORCHESTRATION, Example

RUN = run_id(ORCHESTRATION, "classify", "alpha")
ANSWERED = Recorded(
    RUN,
    1,
    "",
    ModelAnswered(
        position=0,
        provider="scripted",
        model="scripted",
        answer_digest="0" * 64,
        input_tokens=1,
        output_tokens=1,
        started_at="",
        duration_ms=1,
    ),
)


def claim(lapses: int) -> Claim:
    return Claim(
        RUN,
        "demo",
        ORCHESTRATION,
        Queue.AGENT_RUNS,
        "classify",
        "alpha",
        None,
        lapses + 1,
        lapses + 1,
        lapses,
    )


def without_contents() -> Loaded:
    """An orchestration whose stage runs, and whose contents were erased."""
    example = Example()
    example.begin()
    history = History(ORCHESTRATION, "demo", example.state.release.digest, None, (), 0)
    return Loaded(history, example.state, Contents({}))


def test_nothing_is_evaluated_any_more_of_a_run_that_gives_up() -> None:
    """What it would read or evaluate may be what ended its workers."""
    run = resume(claim(MOST_LAPSES), without_contents(), (ANSWERED,), {})
    interpret(run, 0.0, "2026-01-01T00:00:00Z")
    last = run.facts[-1]
    assert isinstance(last, RunFailed)
    assert last.failure == "gave_up"


@pytest.mark.parametrize("chain", [(), (ANSWERED,)], ids=["event", "answer"])
def test_a_run_whose_contents_are_gone_says_what_is_missing(chain: tuple[Recorded, ...]) -> None:
    with pytest.raises(DefectError, match="payload store"):
        resume(claim(0), without_contents(), chain, {})
