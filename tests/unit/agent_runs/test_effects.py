"""What a run is told of the effects that its model called for: what became of them, and nothing else."""

from __future__ import annotations

import json

import pytest

from app.data_plane.agent_runs.effects import told
from app.data_plane.contents import Contents
from app.data_plane.orchestration.action_state import ActionState, ActionStatus
from app.data_plane.orchestration.state import OrchestrationState, initial
from app.kernel.facts import ActionAuthorised, ToolAnswered, ToolCalled, ToolFailed
from tests.calling_workflow import calling_release, record

CALLED = ToolCalled(
    position=0,
    call=0,
    tool="reference.record",
    target="tracker",
    arguments_digest="a" * 64,
    verdict="handed_over",
    policies=("routine",),
    action_id="act_1",
    started_at="2026-01-01T00:00:00Z",
)


def state_with(status: ActionStatus, *, applied: bool = False) -> OrchestrationState:
    """An orchestration in which the called effect has come so far."""
    proposed = ActionAuthorised(
        action_id="act_1",
        name="alpha/reference.record",
        position=0,
        tool="reference.record",
        target="tracker",
        arguments_digest="a" * 64,
        idempotency_key="key_1",
        policies=("routine",),
        run_id="run_1",
    )
    empty = initial("orc_1", "octo", calling_release([record("routine")]))
    return empty._replace(actions={"act_1": ActionState(proposed, status, attempts=1, applied=applied)})


def test_an_effect_that_a_probe_or_a_person_found_applied_is_told_as_applied() -> None:
    """A model that is told otherwise calls again, under another key, and the effect happens twice."""
    contents = Contents({})
    fact = told(state_with("settled", applied=True), CALLED, contents)
    assert isinstance(fact, ToolAnswered)
    assert json.loads(contents.body(fact.result_digest)) == {"applied": True}


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("settled", "not_delivered"),
        ("failed", "not_delivered"),
        ("in_doubt", "outcome_unknown"),
        ("denied", "denied"),
    ],
)
def test_an_effect_that_is_not_known_to_be_applied_is_told_as_that(status: ActionStatus, code: str) -> None:
    fact = told(state_with(status), CALLED, Contents({}))
    assert isinstance(fact, ToolFailed)
    assert fact.code == code
