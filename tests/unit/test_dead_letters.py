"""Dead letters are pure functions of the facts: one for each cause and step, with the words that a person needs."""

from __future__ import annotations

import pytest

from app.data_plane.dead_letters import words
from app.data_plane.dead_letters.from_facts import Owner, dead_letters
from app.data_plane.dead_letters.letters import Cause, DeadLetterRow, dead_letter_id
from app.data_plane.dead_letters.words import Told
from app.kernel.errors import Fate
from app.kernel.facts import (
    ActionSettled,
    AnyFact,
    DeliveryConfirmed,
    DeliveryFailed,
    DeliveryInDoubt,
    DeliveryProbed,
    DeliveryRetried,
    DeliveryStarted,
    OrchestrationClosed,
    OrchestrationResumed,
    Recorded,
    RunFolded,
    StepGaveUp,
    StepLapsed,
)
from interlock.identity import action_id, aggregation_id, orchestration_id, run_id
from tests.branching_workflow import Example

OWNER = Owner("demo", "event-7", orchestration_id("demo", "/tests", "event-7", "branching"), "branching")
ORCHESTRATION = OWNER.orchestration_id
RUN = run_id(ORCHESTRATION, "classify", "alpha")
ACTION = action_id(ORCHESTRATION, "record", 0)

GAVE_UP = StepGaveUp(step_id=RUN, queue="agent_runs", code="provider_failed", attempts=5)
FAILED = DeliveryFailed(action_id=ACTION, attempt=2, reason="http_422 (status 422)")
DOUBT = DeliveryInDoubt(action_id=ACTION, attempt=2, reason="timed_out (status 0)")
RESUMED = OrchestrationResumed(replay_id="rpl_1", actor="ines", reason_digest="0" * 64)
NOT_CONCERNED = (
    DeliveryStarted(action_id=ACTION, attempt=1),
    DeliveryRetried(action_id=ACTION, attempt=1, reason="http_503 (status 503)"),
    DeliveryConfirmed(action_id=ACTION, attempt=1, http_status=200, receipt_digest="ab"),
    StepLapsed(step_id=RUN, queue="agent_runs", lapses=1),
    OrchestrationClosed(status="completed", reason="decided"),
    OrchestrationClosed(status="dead_lettered", reason="a step gave up"),
    OrchestrationClosed(status="cancelled", reason="cancelled by ines"),
    DeliveryProbed(action_id=ACTION, attempt=2, probe=1, answer="unknown", reason="", receipt_digest=""),
)


def letters(*facts: AnyFact, reran_at: str = "") -> list[DeadLetterRow]:
    """The rows that these facts make, each a minute after the one before."""
    chain = [Recorded(ORCHESTRATION, place, at(place), fact) for place, fact in enumerate(facts)]
    return list(dead_letters(OWNER, chain, reran_at))


def folded(failure: str | None) -> RunFolded:
    proposal = "ab" if failure is None else None
    return RunFolded(
        stage="classify",
        agent="alpha",
        run_id=RUN,
        proposal_digest=proposal,
        failure=failure,
        chain_length=2,
        chain_hash="cd",
    )


def at(minute: int) -> str:
    return f"2026-01-01T00:{minute:02}:00.000000Z"


def settled(*, applied: bool) -> AnyFact:
    return ActionSettled(action_id=ACTION, attempt=2, applied=applied, actor="ines", reason_digest="0" * 64)


def probed(answer: str) -> AnyFact:
    return DeliveryProbed(action_id=ACTION, attempt=2, probe=1, answer=answer, reason="", receipt_digest="")  # type: ignore[arg-type]


class TestOpening:
    """What gave up is one row, with its keys, code and fate."""

    def test_a_step_that_gave_up_has_the_four_keys_and_the_errors_code(self) -> None:
        (row,) = letters(GAVE_UP)
        assert (row.tenant_id, row.event_id, row.orchestration_id, row.run_id) == (
            "demo",
            "event-7",
            ORCHESTRATION,
            RUN,
        )
        assert (row.cause, row.code, row.fate) == (Cause.FAILED_STEP, "provider_failed", Fate.TRANSIENT)
        assert (row.step_id, row.queue, row.workflow) == (RUN, "agent_runs", "branching")
        assert (row.state, row.times, row.first_at, row.last_at) == ("open", 1, at(0), at(0))
        assert row.dead_letter_id == dead_letter_id(RUN, Cause.FAILED_STEP)

    @pytest.mark.parametrize(
        ("code", "cause", "fate"),
        [
            ("lost_worker", Cause.LOST_WORKER, Fate.TRANSIENT),
            ("time_limit", Cause.TIME_LIMIT, Fate.TRANSIENT),
            ("defect", Cause.FAILED_STEP, Fate.DEFECT),
            ("unknown_workflow", Cause.FAILED_STEP, Fate.PERMANENT),
        ],
    )
    def test_a_steps_code_says_its_cause_and_fate(self, code: str, cause: Cause, fate: Fate) -> None:
        (row,) = letters(GAVE_UP.model_copy(update={"code": code}))
        assert (row.cause, row.fate) == (cause, fate)

    @pytest.mark.parametrize(
        ("reason", "code", "fate"),
        [
            ("http_422 (status 422)", "http_422", Fate.PERMANENT),
            ("http_429 (status 429)", "http_429", Fate.TRANSIENT),
            ("http_502 (status 502)", "http_502", Fate.TRANSIENT),
            ("invalid_address (status 0)", "invalid_address", Fate.PERMANENT),
            ("5 attempts were made, which is the target's limit", "too_many_attempts", Fate.TRANSIENT),
        ],
    )
    def test_a_failed_delivery_has_the_code_that_its_reason_begins_with(
        self, reason: str, code: str, fate: Fate
    ) -> None:
        (row,) = letters(FAILED.model_copy(update={"reason": reason}))
        assert (row.cause, row.code, row.fate) == (Cause.FAILED_DELIVERY, code, fate)
        assert (row.step_id, row.run_id, row.queue) == (ACTION, "", "dispatch")

    def test_an_action_in_doubt_names_the_command_that_settles_it(self) -> None:
        (row,) = letters(DOUBT)
        assert row.cause is Cause.IN_DOUBT
        assert f"python -m app actions settle {ACTION}" in row.remedy

    def test_a_stage_without_an_outcome_is_its_aggregations_and_anything_else_the_orchestrations(
        self,
    ) -> None:
        (stage,) = letters(
            OrchestrationClosed(
                status="failed", reason="stage classify: no valid proposal (alpha: timed_out)"
            )
        )
        assert (stage.cause, stage.step_id) == (Cause.NO_DECISION, aggregation_id(ORCHESTRATION, "classify"))
        assert "classify" in stage.what
        (whole,) = letters(
            OrchestrationClosed(status="failed", reason="decision field level: no such key: secret")
        )
        assert (whole.cause, whole.step_id, whole.run_id) == (Cause.NO_DECISION, ORCHESTRATION, "")
        assert "secret" not in whole.what
        assert "--mode rerun" in whole.remedy

    @pytest.mark.parametrize(
        ("reason", "code", "words"),
        [
            ("no valid proposal (alpha: timed_out)", "no_outcome", "has no fallback"),
            ("fallback rule: field level: no such key: secret", "fallback_failed", "gave no valid one"),
            ("review: its outcome is no valid proposal (level)", "fallback_failed", "gave no valid one"),
            (
                "review expired: nobody completed it within 60 s",
                "review_expired",
                "nobody completed its review",
            ),
        ],
    )
    def test_a_stage_without_an_outcome_says_which_fallback_gave_none(
        self, reason: str, code: str, words: str
    ) -> None:
        (row,) = letters(OrchestrationClosed(status="failed", reason=f"stage classify: {reason}"))
        assert (row.cause, row.code) == (Cause.NO_DECISION, code)
        assert row.step_id == aggregation_id(ORCHESTRATION, "classify")
        assert words in row.what
        assert "secret" not in row.what + row.remedy
        assert "--mode rerun" in row.remedy

    @pytest.mark.parametrize("fact", NOT_CONCERNED, ids=lambda fact: f"{fact.kind}")
    def test_every_other_fact_opens_nothing(self, fact: AnyFact) -> None:
        assert letters(fact) == []

    @pytest.mark.parametrize(
        ("failure", "cause"), [("gave_up", Cause.LOST_WORKER), ("timed_out", Cause.TIME_LIMIT)]
    )
    def test_a_run_that_ended_its_workers_or_went_past_its_limit_is_a_row_of_its_own(
        self, failure: str, cause: Cause
    ) -> None:
        """The stage goes on without it, and somebody hears of it all the same."""
        (row,) = letters(folded(failure))
        assert (row.cause, row.code, row.step_id, row.run_id) == (cause, failure, RUN, RUN)
        assert f"python -m app replay {ORCHESTRATION} --mode rerun" in row.remedy

    @pytest.mark.parametrize("failure", [None, "invalid_answer", "provider_unavailable"])
    def test_what_a_model_answered_or_refused_is_no_dead_letter(self, failure: str | None) -> None:
        assert letters(folded(failure)) == []

    def test_one_step_of_two_causes_is_two_rows(self) -> None:
        """A step that gives up while an attempt is under way leaves its action in doubt besides."""
        rows = letters(DOUBT, GAVE_UP.model_copy(update={"step_id": ACTION, "queue": "dispatch"}))
        assert {row.cause for row in rows} == {Cause.IN_DOUBT, Cause.FAILED_STEP}
        assert len({row.dead_letter_id for row in rows}) == 2

    def test_a_real_history_ends_in_a_letter(self) -> None:
        """What the state machine calls dead-lettered has an open row, so that a person hears of it."""
        example = Example()
        example.decide_with("low")
        key = next(iter(example.state.actions_by_id))
        example.happen(DeliveryStarted(action_id=key, attempt=1))
        example.happen(DeliveryFailed(action_id=key, attempt=1, reason="http_422 (status 422)"))
        chain = [Recorded(ORCHESTRATION, place, at(0), fact) for place, fact in enumerate(example.facts)]
        assert example.state.status == "dead_lettered"
        assert [row.cause for row in dead_letters(OWNER, chain)] == [Cause.FAILED_DELIVERY]


class TestRepeatingAndResolving:
    """A repetition counts and opens again; what people and probes do closes."""

    def test_the_same_again_counts_and_keeps_its_first_time(self) -> None:
        (row,) = letters(GAVE_UP, RESUMED, GAVE_UP)
        assert (row.state, row.times, row.first_at, row.last_at) == ("open", 2, at(0), at(2))

    def test_resuming_replays_everything_but_what_is_in_doubt(self) -> None:
        states = {row.cause: row.state for row in letters(GAVE_UP, DOUBT, RESUMED)}
        assert states == {Cause.FAILED_STEP: "replayed", Cause.IN_DOUBT: "open"}

    @pytest.mark.parametrize("fact", [settled(applied=True), probed("applied")], ids=["person", "probe"])
    def test_an_action_that_turns_out_applied_is_settled(self, fact: AnyFact) -> None:
        (row,) = letters(DOUBT, fact)
        assert (row.cause, row.state) == (Cause.IN_DOUBT, "settled")

    @pytest.mark.parametrize("fact", [settled(applied=False), probed("not_applied")], ids=["person", "probe"])
    def test_an_action_that_turns_out_not_applied_waits_for_a_replay(self, fact: AnyFact) -> None:
        """The doubt is settled; that the effect is missing must not be forgotten with it."""
        states = {(row.cause, row.code): row.state for row in letters(DOUBT, fact)}
        assert states == {
            (Cause.IN_DOUBT, "outcome_unknown"): "settled",
            (Cause.FAILED_DELIVERY, "not_applied"): "open",
        }
        assert {row.state for row in letters(DOUBT, fact, RESUMED)} == {"settled", "replayed"}

    def test_a_probe_that_does_not_know_settles_nothing(self) -> None:
        (row,) = letters(DOUBT, probed("unknown"))
        assert row.state == "open"

    def test_a_rerun_replays_what_gave_up_before_it_and_not_what_gives_up_after_it(self) -> None:
        assert [row.state for row in letters(GAVE_UP, reran_at=at(1))] == ["replayed"]
        rows = {
            row.cause: row.state for row in letters(GAVE_UP, FAILED, reran_at="2026-01-01T00:00:30.000000Z")
        }
        assert rows == {Cause.FAILED_STEP: "replayed", Cause.FAILED_DELIVERY: "open"}


class TestWords:
    """A person reads what failed and what to do, and finds a command where there is one."""

    @pytest.mark.parametrize(
        "fact",
        [
            GAVE_UP,
            GAVE_UP.model_copy(update={"code": "lost_worker"}),
            GAVE_UP.model_copy(update={"code": "time_limit"}),
            GAVE_UP.model_copy(update={"code": "defect"}),
            FAILED,
            FAILED.model_copy(update={"reason": "http_503 (status 503)"}),
            settled(applied=False),
        ],
    )
    def test_what_can_be_replayed_says_how_its_plan_is_read(self, fact: AnyFact) -> None:
        (row,) = letters(fact)
        assert f"python -m app dead-letters plan {row.dead_letter_id}" in row.remedy
        assert row.what.endswith(".")
        assert row.remedy.endswith(".")

    @pytest.mark.parametrize("cause", sorted(words._MESSAGES))
    def test_every_cause_of_a_message_has_words(self, cause: Cause) -> None:
        told = Told("ingestion", "some.task", "some_code", 12, "ab" * 32)
        what, remedy = words.message_gave_up(cause, told), words.message_remedy(cause, "some_code", "dlr_1")
        assert "12 bytes in ingestion" in what
        assert "python -m app dead-letters settle dlr_1" in remedy
        assert what.endswith(".")
        assert remedy.endswith(".")


def test_ids_are_derived_and_told_apart_by_cause_and_by_step() -> None:
    """The same on every machine, for ever: one is written out."""
    assert dead_letter_id("run_1", Cause.FAILED_STEP) == "dlr_03b58fa2948e301c6fe6507fcd6d08f9"
    assert len({dead_letter_id(step, cause) for step in ("a", "b") for cause in Cause}) == 2 * len(Cause)
