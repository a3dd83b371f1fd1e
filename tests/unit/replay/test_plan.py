"""The plan of a replay: what it will and will not do, told before anybody asks for it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.data_plane.dispatch.attempts import SEND_WITHIN_SECONDS
from app.data_plane.replay.plan import ReplayPlan, plan_rerun, plan_resume, totals
from app.kernel.clock import to_text
from app.kernel.facts import ActionSettled, CancelRequested, DeliveryProbed
from tests.branching_workflow import ORCHESTRATION, Example
from tests.unit.replay.lives import (
    BEGAN,
    action,
    confirmed,
    decided,
    failed,
    gave_up,
    happen,
    history,
    in_doubt,
    loaded,
    one_failed_one_confirmed,
    release_with,
    replayed,
    started,
    unheard_of_and_gave_up,
)

LATER = BEGAN + timedelta(hours=1)


def plan_of(example: Example, *earlier: object, after: timedelta = timedelta(hours=1)) -> ReplayPlan:
    return plan_resume(loaded(example), earlier, BEGAN + after)  # type: ignore[arg-type]


def standings(plan: ReplayPlan) -> dict[str, str]:
    """By action: where it stands."""
    return {effect.name: effect.standing for effect in plan.effects}


def refusal(plan: ReplayPlan) -> tuple[str, str]:
    assert plan.refused is not None, "it was not refused"
    return plan.refused.code, plan.refused.what + " " + plan.refused.remedy


class TestEffects:
    """Each effect is confirmed, will be sent, is in doubt, or was denied; and why."""

    def test_what_is_confirmed_is_not_sent_again_and_what_gave_up_is(self) -> None:
        plan = plan_of(one_failed_one_confirmed())
        assert standings(plan) == {"record": "confirmed", "notify": "will_be_sent", "forbidden": "denied"}
        assert plan.refused is None
        assert plan.totals == totals([plan]) == {"confirmed": 1, "will_be_sent": 1, "denied": 1}
        assert (plan.mode, plan.status) == ("resume", "dead_lettered")

    def test_what_is_in_doubt_says_since_when_and_is_not_sent(self) -> None:
        example = decided()
        record, notify = action(example, "record"), action(example, "notify")
        happen(example, started(record), failed(record), started(notify), in_doubt(notify))
        plan = plan_of(example)
        assert standings(plan) == {"record": "will_be_sent", "notify": "in_doubt", "forbidden": "denied"}
        (doubt,) = [effect for effect in plan.effects if effect.standing == "in_doubt"]
        assert doubt.since == to_text(BEGAN)
        assert "a person must tell" in doubt.why

    @pytest.mark.parametrize(
        ("applied", "standing"),
        [(True, "confirmed"), (False, "will_be_sent")],
        ids=["applied", "not applied"],
    )
    def test_what_a_person_or_a_probe_told_is_believed(self, applied: bool, standing: str) -> None:
        for settle in (
            lambda key: ActionSettled(
                action_id=key, attempt=1, applied=applied, actor="bob", reason_digest="0" * 64
            ),
            lambda key: DeliveryProbed(
                action_id=key,
                attempt=1,
                probe=1,
                answer="applied" if applied else "not_applied",
                reason="",
                receipt_digest="0" * 64,
            ),
        ):
            example = decided()
            record, notify = action(example, "record"), action(example, "notify")
            happen(example, started(record), failed(record), started(notify), in_doubt(notify))
            happen(example, settle(notify))
            assert standings(plan_of(example))["notify"] == standing

    def test_an_unsent_action_is_sent_and_one_in_doubt_beside_it_is_not(self) -> None:
        example = decided()
        notify = action(example, "notify")
        happen(example, started(notify), in_doubt(notify), gave_up())
        assert standings(plan_of(example)) == {
            "record": "will_be_sent",
            "notify": "in_doubt",
            "forbidden": "denied",
        }


class TestKeys:
    """Past ``key_ttl`` nothing that may have been applied is sent again: the target may have forgotten its key."""

    def test_while_its_target_keeps_the_key_it_is_sent_again(self) -> None:
        ttl, timeout = 600, 10
        last = ttl - timeout - SEND_WITHIN_SECONDS
        release = release_with(key_ttl_seconds=ttl, timeout_seconds=timeout)
        example = unheard_of_and_gave_up(release)
        kept = plan_of(example, after=timedelta(seconds=last - 1))
        assert (standings(kept)["record"], kept.refused) == ("will_be_sent", None)
        gone = plan_of(example, after=timedelta(seconds=last))
        assert standings(gone)["record"] == "in_doubt"
        (effect,) = [one for one in gone.effects if one.name == "record"]
        assert effect.since == to_text(BEGAN)
        assert "600 s" in effect.why

    def test_when_nothing_is_left_that_could_be_sent_the_replay_is_refused(self) -> None:
        plan = plan_of(unheard_of_and_gave_up(release_with(key_ttl_seconds=60)))
        assert refusal(plan)[0] == "key_expired"
        assert "actions settle" in refusal(plan)[1]
        assert plan.goes_on == ()

    def test_a_target_that_keeps_no_keys_is_never_sent_twice(self) -> None:
        plan = plan_of(unheard_of_and_gave_up(name="notify"), after=timedelta(0))
        assert standings(plan)["notify"] == "in_doubt"
        assert refusal(plan)[0] == "key_expired"

    def test_what_certainly_was_not_applied_has_no_key_to_forget(self) -> None:
        example = decided(release_with(key_ttl_seconds=1))
        record, notify = action(example, "record"), action(example, "notify")
        happen(example, started(record), failed(record), started(notify), confirmed(notify))
        plan = plan_of(example)
        assert (standings(plan)["record"], plan.refused) == ("will_be_sent", None)


class TestGoingOn:
    """Which steps go on, in words; what is not decided yet cannot be known."""

    def test_without_a_snapshot_everything_follows(self) -> None:
        example = Example()
        happen(example, example.started(), gave_up("orchestration", "defect"))
        plan = plan_of(example)
        assert plan.goes_on == ("the snapshot is taken, and every stage follows",)
        assert (plan.effects, plan.refused) == ((), None)

    def test_a_running_stage_names_the_runs_that_are_missing(self) -> None:
        example = Example()
        example.begin()
        happen(example, gave_up("aggregation", "defect"))
        running, *later, last = plan_of(example).goes_on
        assert running.startswith("stage classify: 3 of 3 runs (alpha, beta, gamma)")
        assert [words.split()[1] for words in later] == ["deep", "quick", "settle"]
        assert "cannot be known yet" in last

    def test_a_decided_one_has_only_its_effects_left(self) -> None:
        assert plan_of(one_failed_one_confirmed()).goes_on == ()


class TestRefusals:
    """Each says why, and what to do instead; who stands in the way is named."""

    def test_one_that_is_completed_or_still_runs_has_nothing_to_replay(self) -> None:
        running = decided()
        assert refusal(plan_of(running))[0] == "nothing_to_replay"
        record, notify = action(running, "record"), action(running, "notify")
        happen(running, started(record), confirmed(record), started(notify), confirmed(notify))
        code, words = refusal(plan_of(running))
        assert (running.state.status, code) == ("completed", "nothing_to_replay")
        assert "--mode rerun" in words

    def test_one_whose_only_trouble_is_in_doubt_is_to_be_settled_first(self) -> None:
        example = decided()
        record, notify = action(example, "record"), action(example, "notify")
        happen(example, started(record), confirmed(record), started(notify), in_doubt(notify))
        assert example.state.status == "dead_lettered"
        code, words = refusal(plan_of(example))
        assert code == "nothing_to_replay"
        assert "actions settle" in words

    def test_one_that_was_cancelled_stays_unsent(self) -> None:
        example = decided()
        notify = action(example, "notify")
        cancel = CancelRequested(actor="carol", reason_digest="0" * 64)
        happen(example, started(notify), cancel, gave_up(), in_doubt(notify))
        assert example.state.status == "dead_lettered"
        code, words = refusal(plan_of(example))
        assert code == "nothing_to_replay"
        assert "carol" in words

    def test_one_that_somebody_is_replaying_names_who_and_since_when(self) -> None:
        code, words = refusal(plan_of(one_failed_one_confirmed(), replayed(state="requested", minutes=7)))
        assert code == "replay_in_progress"
        assert "alice" in words
        assert "2026-01-01T00:07" in words

    def test_one_that_somebody_has_replayed_names_who_and_when(self) -> None:
        example = one_failed_one_confirmed()
        resumed = decided()
        code, words = refusal(plan_of(resumed, replayed(minutes=7)))
        assert code == "already_replayed"
        assert "alice" in words
        assert "2026-01-01T00:07" in words
        assert plan_of(example, replayed()).refused is None, "it gave up once more"

    def test_one_whose_event_was_started_anew_is_resumed_only_on_purpose(self) -> None:
        """Its effects may be there under the rerun's keys: sending them under the old ones would repeat them."""
        example = one_failed_one_confirmed()
        reran = replayed("rerun", new="orc_again")
        code, words = refusal(plan_of(example, reran))
        assert code == "already_replayed"
        assert "orc_again" in words
        assert plan_resume(loaded(example), [reran], LATER, again=True).refused is None

    def test_what_was_refused_or_failed_before_stands_in_nobodys_way(self) -> None:
        earlier = [replayed(state="refused"), replayed(state="failed", actor="bob")]
        plan = plan_resume(loaded(one_failed_one_confirmed()), earlier, LATER)
        assert plan.refused is None
        assert len(plan.earlier) == 2


class TestRerun:
    """A rerun decides anew: what can be told of its effects is what became of the original's."""

    def test_what_was_confirmed_is_told_to_be_sent_again_under_a_new_key(self) -> None:
        plan = plan_rerun(history(one_failed_one_confirmed()), (), "ab" * 32, 0)
        assert standings(plan) == {"record": "decided_anew", "notify": "decided_anew", "forbidden": "denied"}
        (record,) = [effect for effect in plan.effects if effect.name == "record"]
        assert "was confirmed: a rerun sends it again under a new key" in record.why
        assert (plan.release, plan.refused) == ("ab" * 32, None)

    def test_each_rerun_is_another_orchestration(self) -> None:
        example = one_failed_one_confirmed()
        ids = {plan_rerun(history(example), (), "ab" * 32, n).new_orchestration_id for n in range(3)}
        assert len(ids | {ORCHESTRATION}) == 4

    def test_a_rerun_of_a_rerun_is_refused_and_the_original_named(self) -> None:
        example = one_failed_one_confirmed()
        example.facts[0] = example.started().model_copy(update={"lane": "rerun", "replay_of": "orc_original"})
        code, words = refusal(plan_rerun(history(example), (), "ab" * 32, 0))
        assert code == "not_replayable"
        assert "orc_original" in words

    def test_a_second_rerun_is_refused_unless_it_is_meant(self) -> None:
        example, reran = one_failed_one_confirmed(), replayed("rerun", new="orc_again")
        assert refusal(plan_rerun(history(example), [reran], "ab" * 32, 1))[0] == "already_replayed"
        assert plan_rerun(history(example), [reran], "ab" * 32, 1, again=True).refused is None

    def test_a_completed_one_may_be_started_anew_and_a_running_one_not(self) -> None:
        example = decided()
        assert refusal(plan_rerun(history(example), (), "ab" * 32, 0))[0] == "nothing_to_replay"
        record, notify = action(example, "record"), action(example, "notify")
        happen(example, started(record), confirmed(record), started(notify), confirmed(notify))
        assert plan_rerun(history(example), (), "ab" * 32, 0).refused is None
