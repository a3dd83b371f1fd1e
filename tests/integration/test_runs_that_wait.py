"""A run that waits for what it called for is woken, whatever happens to its orchestration meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.data_plane.orchestration.approvals import Answer, give
from app.data_plane.orchestration.recorder import Loaded, Plan, Recorded, Work
from app.kernel.facts import (
    ApprovalRequested,
    CallProposed,
    DeliveryConfirmed,
    DeliveryStarted,
    OrchestrationClosed,
    StepGaveUp,
)
from interlock.canonical import canonical_bytes, digest_bytes
from interlock.identity import call_action_id, run_id
from tests.calling_workflow import calling_release, record
from tests.repairing import workshop


def test_a_run_whose_call_is_settled_while_it_is_being_put_off_is_woken_at_once(fresh_database: str) -> None:
    """It was begun again while its call was on the way, as when its orchestration goes on after a dead letter."""
    release = calling_release([record("routine")])
    with workshop(fresh_database, release) as at:
        subject = at.accept("settled while it is put off")
        at.advancer.advance("advancer")
        at.run_agents()
        at.sql("UPDATE work_index SET due_at = clock_timestamp() WHERE queue = 'agent_runs'")
        recording = at.recorder.record

        def deliver_first(works: Sequence[Work], known: Mapping[str, Loaded] | None = None) -> list[Recorded]:
            at.recorder.record = recording  # type: ignore[method-assign]
            at.deliver()
            return recording(works, known)

        at.recorder.record = deliver_first  # type: ignore[method-assign]
        at.run_agents()

        at.carry_on()

        assert [fact.kind for fact in at.facts(subject.orchestration_id)][-1] == "orchestration_closed"
        assert set(at.targets.sent.values()) == {1}


def test_a_run_that_is_put_off_when_its_orchestration_has_ended_is_not_left_open(fresh_database: str) -> None:
    release = calling_release([record("routine")])
    with workshop(fresh_database, release) as at:
        subject = at.accept("ended while it is put off")
        at.advancer.advance("advancer")
        recording = at.recorder.record

        def give_up_first(works: Sequence[Work], known: Mapping[str, Loaded] | None = None) -> list[Recorded]:
            at.recorder.record = recording  # type: ignore[method-assign]
            gave_up = StepGaveUp(step_id="another", queue="agent_runs", code="lost_worker", attempts=5)
            recording([Work("demo", subject.orchestration_id, None, lambda _: Plan((gave_up,)))])
            return recording(works, known)

        at.recorder.record = give_up_first  # type: ignore[method-assign]
        at.run_agents()

        at.carry_on()

        run = run_id(subject.orchestration_id, "classify", "alpha")
        assert at.sql("SELECT finished_at IS NOT NULL FROM work_index WHERE step_id = %s", run) == [(True,)]
        assert not at.targets.sent


def test_an_orchestration_that_ends_while_its_run_waits_leaves_no_step_and_can_go_on(
    fresh_database: str,
) -> None:
    release = calling_release([record("risky")])
    with workshop(fresh_database, release) as at:
        key = (subject := at.accept("ended while its run waits")).orchestration_id
        at.carry_on()
        gave_up = StepGaveUp(step_id="another", queue="agent_runs", code="lost_worker", attempts=5)
        at.recorder.record([Work("demo", key, None, lambda _: Plan((gave_up,)))])
        still_open = "SELECT step_id FROM work_index WHERE orchestration_id = %s AND finished_at IS NULL"
        assert at.sql(still_open, key) == []

        assert not isinstance(at.ask(subject), Exception)
        at.replayer.execute("replayer")
        at.carry_on()
        (asked,) = [fact for fact in at.facts(key) if isinstance(fact, ApprovalRequested)]
        give(at.recorder, Answer("demo", key, asked.action_id, True, "ann", "it is right"), at.clock.now)
        at.carry_on()

        last = at.facts(key)[-1]
        assert isinstance(last, OrchestrationClosed)
        assert (last.status, at.targets.sent[asked.idempotency_key]) == ("completed", 1)
        assert at.sql(still_open, key) == []


def test_what_was_called_for_while_its_orchestration_gave_up_is_judged_when_it_goes_on(
    fresh_database: str,
) -> None:
    release = calling_release([record("routine")])
    with workshop(fresh_database, release) as at:
        subject = at.accept("called for in the end")
        at.advancer.advance("advancer")
        bodies = [canonical_bytes({"subject": "routine", "verdict": str(number)}) for number in range(2)]
        first, second = (call_of(subject.orchestration_id, place, body) for place, body in enumerate(bodies))
        contents = {digest_bytes(body): body for body in (*bodies, b"{}")}
        what_happened = (
            first,
            DeliveryStarted(action_id=first.action_id, attempt=1),
            StepGaveUp(step_id="another", queue="agent_runs", code="lost_worker", attempts=5),
            second,
            DeliveryConfirmed(action_id=first.action_id, attempt=1, http_status=201, receipt_digest=""),
        )
        plan = Plan(what_happened, contents)
        at.recorder.record([Work("demo", subject.orchestration_id, None, lambda _: plan)])
        assert at.recorder.load(["demo"], [subject.orchestration_id])[
            subject.orchestration_id
        ].state.status == ("dead_lettered")

        asked = at.ask(subject)
        at.replayer.execute("replayer")

        assert at.row(asked).state == "done"
        authorised = [fact for fact in at.facts(subject.orchestration_id) if fact.kind == "action_authorised"]
        assert len(authorised) == 2


def call_of(orchestration: str, position: int, body: bytes) -> CallProposed:
    """A call of the agent's that its run hands over."""
    run = run_id(orchestration, "classify", "alpha")
    return CallProposed(
        action_id=call_action_id(run, position, 0, digest_bytes(body)),
        run_id=run,
        stage="classify",
        agent="alpha",
        position=position,
        call=0,
        tool="reference.record",
        target="tracker",
        arguments_digest=digest_bytes(body),
        provenance_digest=digest_bytes(b"{}"),
    )
