"""Runs call tools: what reads is called and recorded, what writes is an action of its orchestration, and the run waits."""

from __future__ import annotations

from app.kernel.facts import (
    ActionAuthorised,
    CallProposed,
    DeliveryConfirmed,
    Recorded,
)
from interlock.identity import run_id
from tests.calling_workflow import LOOKUP, calling_release, record
from tests.repairing import Workshop, workshop


def run_facts(at: Workshop, orchestration: str) -> list[Recorded]:
    """The facts of the one run's own chain."""
    run = run_id(orchestration, "classify", "alpha")
    return list(at.store.run_chains(["demo"], [run]).get(run) or ())


def test_a_run_looks_something_up_writes_and_then_answers(database_url: str) -> None:
    release = calling_release([LOOKUP], [record("routine")])
    with workshop(database_url, release) as at:
        at.publish(release)
        subject = at.accept("1")
        at.carry_on()
        kinds = [one.fact.kind for one in run_facts(at, subject.orchestration_id)]
        assert kinds == [
            "model_asked",
            "model_answered",
            "tool_called",
            "tool_answered",
            "model_asked",
            "model_answered",
            "tool_called",
            "tool_answered",
            "model_asked",
            "model_answered",
            "proposal_made",
        ]
        facts = at.facts(subject.orchestration_id)
        assert [fact.kind for fact in facts][-1] == "orchestration_closed"
        assert sum(at.targets.sent.values()) == 1
        (proposed,) = [fact for fact in facts if isinstance(fact, CallProposed)]
        (authorised,) = [fact for fact in facts if isinstance(fact, ActionAuthorised)]
        (confirmed,) = [fact for fact in facts if isinstance(fact, DeliveryConfirmed)]
        assert proposed.action_id == authorised.action_id == confirmed.action_id
        assert at.targets.sent == {authorised.idempotency_key: 1}
