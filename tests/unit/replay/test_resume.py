"""What carrying out a resume records: facts, and the steps that are done as if they were new."""

from __future__ import annotations

from datetime import timedelta

from app.data_plane.orchestration.recorder import Plan
from app.data_plane.ports import Queue
from app.data_plane.replay.resume import resume
from tests.branching_workflow import AGENTS, Example
from tests.unit.replay.lives import (
    BEGAN,
    action,
    decided,
    gave_up,
    happen,
    in_doubt,
    loaded,
    names,
    one_failed_one_confirmed,
    release_with,
    replayed,
    started,
    unheard_of_and_gave_up,
)

REASON = {"1" * 64: b"{}"}
ROW = replayed(state="requested", actor="bob")


def carried_out(example: Example, *others: object) -> Plan:
    return resume(loaded(example), ROW, others, REASON, BEGAN + timedelta(hours=1))  # type: ignore[arg-type]


def ended(plan: Plan) -> tuple[str, str]:
    assert plan.ends_replay is not None, "its row would stay open"
    assert plan.ends_replay.replay_id == ROW.replay_id
    return plan.ends_replay.state, plan.ends_replay.outcome


def reopened(plan: Plan) -> list[tuple[Queue, str]]:
    return [(step.queue, step.subject) for step in plan.reopen]


def test_only_what_gave_up_is_delivered_again() -> None:
    """Promise 2: the confirmed action has no step to be sent by."""
    plan = carried_out(one_failed_one_confirmed())
    assert names(plan.facts) == ["orchestration_resumed"]
    assert reopened(plan) == [(Queue.DISPATCH, "pager")]
    assert plan.contents == REASON, "the fact names the reason, so that it is kept as long as the fact"
    assert ended(plan) == ("done", "resumed: 1 of 2 actions are sent again, 1 were confirmed before")


def test_a_running_stage_has_its_missing_runs_and_its_aggregation_again() -> None:
    example = Example()
    example.begin()
    happen(example, gave_up("aggregation", "defect"))
    plan = carried_out(example)
    assert reopened(plan) == [
        (Queue.AGGREGATION, ""),
        *((Queue.AGENT_RUNS, agent) for agent in AGENTS),
    ]
    aggregation, *runs = plan.reopen
    assert aggregation.open_members == len(runs) == 3
    assert {step.parent_id for step in runs} == {aggregation.step_id}


def test_without_a_snapshot_the_first_step_is_done_again() -> None:
    example = Example()
    happen(example, example.started(), gave_up("orchestration", "defect"))
    assert reopened(carried_out(example)) == [(Queue.ORCHESTRATION, "")]


def test_what_is_past_its_key_is_recorded_as_in_doubt_and_the_rest_is_sent() -> None:
    example = decided(release_with(key_ttl_seconds=60))
    unheard_of = unheard_of_and_gave_up(release_with(key_ttl_seconds=60))
    plan = carried_out(unheard_of)
    assert names(plan.facts) == ["orchestration_resumed", "delivery_in_doubt"]
    assert (plan.reopen, ended(plan)[0]) == ((), "refused")
    assert ended(plan)[1].startswith("key_expired: ")
    notify = action(example, "notify")
    happen(example, started(notify), in_doubt(notify), gave_up())
    assert reopened(carried_out(example)) == [(Queue.DISPATCH, "tracker")]


def test_what_is_past_its_key_at_a_target_that_can_be_asked_is_asked_about() -> None:
    """Past ``key_ttl`` a replay refuses and reconciles: the probe's step is open."""
    release = release_with(key_ttl_seconds=60, probe_path="/v1/keys/{key}")
    plan = carried_out(unheard_of_and_gave_up(release))
    assert names(plan.facts) == ["orchestration_resumed", "delivery_in_doubt"]
    assert (reopened(plan), ended(plan)[0]) == ([(Queue.DISPATCH, "tracker")], "refused")


def test_what_changed_since_it_was_asked_for_is_refused_and_nothing_is_recorded_but_that() -> None:
    example = decided()
    plan = carried_out(example, replayed())
    assert (plan.facts, plan.reopen) == ((), ())
    assert ended(plan)[0] == "refused"
    assert ended(plan)[1].startswith("already_replayed: ")


def test_the_reopened_state_asks_for_what_the_steps_do() -> None:
    """Nothing is stuck: each step that is reopened finds something to do, and everything to do has a step."""
    for example in (one_failed_one_confirmed(), _gave_up_unsent()):
        plan = carried_out(example)
        happen(example, *plan.facts)
        unsent = [key for key, one in example.state.actions_by_id.items() if one.status == "authorised"]
        assert [step.step_id for step in plan.reopen] == unsent
        assert example.state.closed is None


def _gave_up_unsent() -> Example:
    return happen(decided(), gave_up())
