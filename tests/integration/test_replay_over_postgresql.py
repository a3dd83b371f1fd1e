"""Replays over a real database: each is carried out once, one of two people wins, and what is refused has no effect."""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app.adapters.postgresql.database import Database
from app.adapters.postgresql.reading import Reading
from app.adapters.postgresql.replays import PostgresqlReplays
from app.cli import main as command_line
from app.cli import replay_waiting
from app.data_plane.orchestration.cancel import Cancellation, cancel
from app.data_plane.orchestration.recorder import MOST_LAPSES, Plan, Work
from app.data_plane.ports import Queue
from app.data_plane.replay import execute
from app.data_plane.replay.plan import ReplayPlan
from app.data_plane.replay.record import read_chain
from app.data_plane.replay.refusals import AlreadyReplayedError, ReplayInProgressError
from app.data_plane.replay.register import NewReplay, ReplayRow, Wanted, replay_id
from app.data_plane.replay.request import Person, ReplayDesk, Requested, Subject, Way
from app.data_plane.replay.verify import verify
from app.kernel import fault_points
from app.kernel.errors import InterlockError
from app.kernel.facts import (
    AnyFact,
    DeliveryInDoubt,
    ModelAsked,
    OrchestrationResumed,
    OrchestrationStarted,
    StepGaveUp,
)
from app.kernel.fault_points import REGISTERED, FaultPoint
from app.kernel.release import Release
from config import settings
from interlock.canonical import digest_bytes
from interlock.identity import run_id
from tests.accepted_events import accepted_event
from tests.branching_workflow import AGENTS, Example, branching_release
from tests.integration.test_dead_letters_commands import MESSAGE
from tests.repairing import ALICE, Published, Workshop, workshop
from tests.unit.replay.lives import (
    action,
    confirmed,
    failed,
    gave_up,
    happen,
    in_doubt,
    release_with,
    started,
    unheard_of,
)

BOB = Person("bob", "me too")
RESUME, RERUN = Way("resume"), Way("rerun")


def one_failed(example: Example) -> None:
    """``record`` was given up, ``notify`` is confirmed."""
    record, notify = action(example, "record"), action(example, "notify")
    happen(example, started(record), failed(record), started(notify), confirmed(notify))


def unknown_and_gave_up(example: Example) -> None:
    """Nobody knows of the attempt at ``record``; workers were lost."""
    record, notify = action(example, "record"), action(example, "notify")
    happen(example, started(notify), confirmed(notify), started(record), unheard_of(record), gave_up())


def only_in_doubt(example: Example) -> None:
    record, notify = action(example, "record"), action(example, "notify")
    happen(example, started(record), confirmed(record), started(notify), in_doubt(notify))


@pytest.fixture
def place(fresh_database: str) -> Iterator[Workshop]:
    """A database with the branching workflow's release and another one of it."""
    with workshop(fresh_database, branching_release(), other_release()) as one:
        one.publish(branching_release(), other_release())
        yield one


def other_release() -> Release:
    return release_with(key_ttl_seconds=60)


def state_of(place: Workshop, subject: Subject) -> tuple[str, bool]:
    """What the row says: its status, and whether it is closed."""
    ((status, closed),) = place.sql(
        "SELECT status, closed_at IS NOT NULL FROM orchestrations WHERE orchestration_id = %s",
        subject.orchestration_id,
    )
    return str(status), bool(closed)


def key_of(place: Workshop, subject: Subject, name: str = "record") -> str:
    ((key,),) = place.sql(
        "SELECT idempotency_key FROM actions WHERE orchestration_id = %s AND name = %s",
        subject.orchestration_id,
        name,
    )
    return str(key)


class TestResume:
    def test_what_gave_up_is_sent_once_with_its_key_and_what_was_confirmed_never(
        self, place: Workshop
    ) -> None:
        subject = place.lives("1", one_failed)
        assert state_of(place, subject) == ("dead_lettered", True)
        asked = place.ask(subject)
        assert place.row(asked).state == "requested"
        assert place.deliver() == Counter(), "asking has no effect yet"
        assert place.replayer.execute("w").steps == 1
        assert place.row(asked).state == "done"
        assert state_of(place, subject) == ("running", False)
        assert place.deliver() == {key_of(place, subject): 1}
        assert state_of(place, subject) == ("completed", True)
        assert place.deliver() == {key_of(place, subject): 1}

    def test_what_gave_up_may_give_up_again_and_be_replayed_again(self, place: Workshop) -> None:
        subject = place.lives("1", one_failed)
        first = place.ask(subject)
        place.replayer.execute("w")
        place.recorder.record([_work(subject, gave_up())])
        assert state_of(place, subject) == ("dead_lettered", True)
        second = place.ask(subject, person=BOB)
        assert place.row(second).replay_id != place.row(first).replay_id
        place.replayer.execute("w")
        place.deliver()
        assert state_of(place, subject) == ("completed", True)
        resumed = [
            fact for fact in place.facts(subject.orchestration_id) if isinstance(fact, OrchestrationResumed)
        ]
        assert [fact.actor for fact in resumed] == ["alice", "bob"]

    def test_the_decision_digest_never_changes_by_resuming(self, place: Workshop) -> None:
        subject = place.lives("1", one_failed)
        before = place.sql("SELECT decision_digest FROM decisions")
        place.ask(subject)
        place.replayer.execute("w")
        place.deliver()
        assert place.sql("SELECT decision_digest FROM decisions") == before
        made = [fact for fact in place.facts(subject.orchestration_id) if fact.kind == "decision_made"]
        assert len(made) == 1

    def test_the_reason_is_kept_with_the_fact_and_stands_in_no_step(self, place: Workshop) -> None:
        subject = place.lives("1", one_failed)
        row = place.row(place.ask(subject))
        place.replayer.execute("w")
        resumed = place.facts(subject.orchestration_id)[-1]
        assert isinstance(resumed, OrchestrationResumed)
        assert (resumed.replay_id, resumed.reason_digest) == (row.replay_id, row.reason_digest)
        kept = place.store.contents(["demo"], [row.reason_digest])[row.reason_digest]
        assert json.loads(kept) == {"actor": "alice", "reason": "the target was repaired"}
        assert place.sql("SELECT 1 FROM work_index WHERE work_index::text LIKE '%%repaired%%'") == []

    def test_the_reason_is_in_no_line_and_in_no_repr(
        self, place: Workshop, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Whoever gives one may quote a secret; the payload store keeps it, and only `audit replays` reads it."""
        caplog.set_level(logging.DEBUG)
        person = Person("alice", "the password was hunter2")
        subjects = [place.lives(str(number), one_failed) for number in range(2)]
        with capture_logs() as lines:
            asked = [
                place.ask(subject, way, person)
                for subject, way in zip(subjects, (RESUME, RERUN), strict=True)
            ]
            refused = place.ask(subjects[0], RESUME, person)
            place.replayer.execute("w")
            place.carry_on()
        assert [line["mode"] for line in lines if line["event"] == "replay ended"] == ["resume", "rerun"]
        assert "hunter2" not in repr(lines)
        assert "hunter2" not in caplog.text
        assert "hunter2" not in repr((person, asked, refused, str(refused)))

    @pytest.mark.parametrize("reached", ["nothing", "no run", "one run", "every run", "the decision"])
    def test_what_gave_up_in_the_middle_goes_on_from_there(self, place: Workshop, reached: str) -> None:
        """Its steps are done as if they were new; a run that is final asks no model again."""
        subject = place.accept("1")
        key = subject.orchestration_id
        runs = [run_id(key, "classify", agent) for agent in AGENTS]
        if reached != "nothing":
            place.advancer.advance("w")
        if reached in {"one run", "every run"}:
            place.run_agents(*runs[: 1 if reached == "one run" else 3])
        if reached == "the decision":
            while not place.sql("SELECT 1 FROM decisions"):
                place.run_agents()
                place.aggregator.aggregate("w")
        place.recorder.record([_work(subject, gave_up("orchestration", "defect"))])
        place.carry_on()
        assert state_of(place, subject) == ("dead_lettered", True)
        assert place.targets.sent == Counter(), "what is closed sends nothing"

        asked = place.ask(subject)
        place.replayer.execute("w")
        place.carry_on()

        assert place.row(asked).state == "done"
        assert state_of(place, subject) == ("completed", True)
        assert sorted(place.targets.sent.values()) == [1, 1]
        view = Reading(place.database, ["demo"]).views([key])[key]
        asks = Counter(
            recorded.chain_id
            for links in view.record.runs.values()
            for recorded in read_chain(links)
            if isinstance(recorded.fact, ModelAsked)
        )
        assert set(asks.values()) == {1}
        assert set(runs) <= set(asks)
        # These tests' raw bytes are no CloudEvent; what was erased is not missed.
        raw = digest_bytes(accepted_event("1", title="high").raw)
        kept = {digest: body for digest, body in view.record.contents.items() if digest != raw}
        assert verify(replace(view.record, contents=kept), branching_release()).difference is None


class TestRerun:
    def test_its_event_is_started_anew_under_the_named_release_linked_to_the_original(
        self, place: Workshop
    ) -> None:
        subject = place.lives("1", one_failed)
        before = place.facts(subject.orchestration_id)
        asked = place.ask(subject, Way("rerun", other_release().digest[:10]))
        place.replayer.execute("w")
        row = place.row(asked)
        assert (row.state, row.release) == ("done", other_release().digest)
        (fact,) = place.facts(row.new_orchestration_id)
        assert isinstance(fact, OrchestrationStarted)
        assert (fact.lane, fact.ordinal, fact.replay_of) == ("rerun", 1, subject.orchestration_id)
        assert fact.release == other_release().digest
        assert place.facts(subject.orchestration_id) == before, "the original stays as it is"
        assert place.sql("SELECT state FROM dead_letters") == [("replayed",)]
        (claim,) = place.store.claim(Queue.ORCHESTRATION, limit=9, worker="w")
        assert claim.orchestration_id == row.new_orchestration_id
        assert place.deliver() == Counter(), "nothing of the original is sent"

    def test_without_a_name_it_has_the_release_that_is_routed_now(self, place: Workshop) -> None:
        subject = place.lives("1", one_failed)
        assert place.row(place.ask(subject, RERUN)).release == branching_release().digest

    def test_each_rerun_has_the_next_ordinal_and_keys_of_its_own(self, place: Workshop) -> None:
        subject = place.lives("1", one_failed)
        ids = {subject.orchestration_id}
        for ordinal in (1, 2, 3):
            asked = place.ask(subject, Way("rerun", again=True))
            place.replayer.execute("w")
            new = place.row(asked).new_orchestration_id
            (fact,) = place.facts(new)
            assert isinstance(fact, OrchestrationStarted)
            assert fact.ordinal == ordinal
            ids.add(new)
        assert len(ids) == 4

    def test_an_event_whose_content_was_removed_is_not_started_anew(self, place: Workshop) -> None:
        subject = place.lives("1", one_failed)
        asked = place.ask(subject, RERUN)
        place.sql("DELETE FROM payloads WHERE digest <> decode(%s, 'hex')", "0" * 64)
        place.replayer.execute("w")
        row = place.row(asked)
        assert (row.state, row.new_orchestration_id) == ("refused", "")
        assert row.outcome.startswith("content_gone: ")

    @pytest.mark.parametrize("way", [RESUME, RERUN], ids=["resume", "rerun"])
    def test_what_is_not_there_any_more_is_not_waited_for(self, place: Workshop, way: Way) -> None:
        subject, other = (place.lives(name, one_failed) for name in ("1", "2"))
        asked, beside = (place.ask(one, way) for one in (subject, other))
        place.sql("DELETE FROM orchestrations WHERE orchestration_id = %s", subject.orchestration_id)
        place.replayer.execute("w")
        row = place.row(asked)
        assert (row.state, row.outcome[:14]) == ("refused", "content_gone: ")
        assert place.row(beside).state == "done", "it keeps no other of its batch from being carried out"
        place.end_leases()
        assert place.replayer.execute("w").steps == 0


class TestRefusals:
    """Each of these leaves the targets, the journal and the work index as they were."""

    def test_past_its_key_nothing_is_sent_and_the_doubt_is_recorded(self, fresh_database: str) -> None:
        """Past ``key_ttl`` a replay refuses and reconciles."""
        with workshop(fresh_database, other_release()) as place:
            subject = place.lives("1", unknown_and_gave_up)
            assert place.desk.plan([subject], RESUME)[0].refused is None, "its target still keeps the key"  # type: ignore[union-attr]
            place.clock.by = timedelta(seconds=61)
            asked = place.ask(subject)
            place.replayer.execute("w")
            row = place.row(asked)
            assert row.state == "refused"
            assert row.outcome.startswith("key_expired: ")
            kinds = [fact.kind for fact in place.facts(subject.orchestration_id)][-3:]
            assert kinds == ["orchestration_resumed", "delivery_in_doubt", "orchestration_closed"]
            assert state_of(place, subject) == ("dead_lettered", True)
            place.end_leases()
            assert place.deliver() == Counter()
            again = place.ask(subject, person=BOB)
            assert isinstance(again, InterlockError)
            assert again.code == "nothing_to_replay"

    def test_within_its_key_it_is_sent_again_with_the_same_key(self, fresh_database: str) -> None:
        """The refusal above is because of the time and nothing else."""
        with workshop(fresh_database, other_release()) as place:
            subject = place.lives("1", unknown_and_gave_up)
            place.ask(subject)
            place.replayer.execute("w")
            assert place.deliver() == {key_of(place, subject): 1}
            doubts = [
                fact for fact in place.facts(subject.orchestration_id) if isinstance(fact, DeliveryInDoubt)
            ]
            assert doubts == []

    def test_what_is_refused_leaves_nothing_behind(self, place: Workshop) -> None:
        doubtful = place.lives("doubtful", only_in_doubt)
        running = place.lives("running", lambda _example: None)
        unknown = Subject("demo", "orc_unknown")
        dead = place.lives("dead", one_failed)
        nobody, nothing = Person(" ", "because"), Person("alice", "\t ")
        for subject, way, person, code in (
            (doubtful, RESUME, ALICE, "nothing_to_replay"),
            (running, RESUME, ALICE, "nothing_to_replay"),
            (running, RERUN, ALICE, "nothing_to_replay"),
            (unknown, RESUME, ALICE, "unknown_orchestration"),
            (unknown, RERUN, ALICE, "unknown_orchestration"),
            (dead, RESUME, nothing, "reason_missing"),
            (dead, RERUN, nobody, "actor_missing"),
            (dead, RERUN, Person("alice", "x" * 5_000), "too_long"),
            (dead, Way("rerun", "f" * 64), ALICE, "release_not_published"),
            (dead, Way("rerun", other_release().digest[:4]), ALICE, "release_not_published"),
        ):
            before = place.sql("SELECT count(*) FROM journal"), place.sql("SELECT count(*) FROM payloads")
            assert _refusal(place, subject, way, person) == code
            assert place.sql("SELECT 1 FROM replays") == []
            assert place.sql("SELECT 1 FROM work_index WHERE queue = 'replay'") == []
            after = place.sql("SELECT count(*) FROM journal"), place.sql("SELECT count(*) FROM payloads")
            assert before == after

    def test_a_rerun_of_a_rerun_is_refused_and_a_resume_of_it_is_not(self, place: Workshop) -> None:
        subject = place.lives("1", one_failed)
        row_of_rerun = place.ask(subject, RERUN)
        place.replayer.execute("w")
        rerun = Subject("demo", place.row(row_of_rerun).new_orchestration_id)
        place.recorder.record([_work(rerun, gave_up("orchestration", "defect"))])
        assert _refusal(place, rerun, RERUN, ALICE) == "not_replayable"
        asked = place.ask(rerun, RESUME)
        place.replayer.execute("w")
        assert place.row(asked).state == "done"

    def test_what_changed_between_asking_and_doing_is_refused_then(self, place: Workshop) -> None:
        subject = place.lives("1", one_failed)
        asked = place.ask(subject)
        mended = OrchestrationResumed(replay_id="rpl_other", actor="carol", reason_digest="0" * 64)
        place.recorder.record([_work(subject, mended)])
        place.replayer.execute("w")
        row = place.row(asked)
        assert row.state == "refused"
        assert row.outcome.startswith("nothing_to_replay: ")
        assert place.facts(subject.orchestration_id)[-1] == mended


class TestTwoPeople:
    """One wins, the other is told by name, and each effect happens once."""

    def test_two_people_at_once_win_each_orchestration_once(self, fresh_database: str) -> None:
        with workshop(fresh_database, branching_release()) as place:
            subjects = [place.lives(str(number), one_failed) for number in range(24)]
            people = (ALICE, BOB)
            with (
                workshop(fresh_database, branching_release()) as hers,
                workshop(fresh_database, branching_release()) as his,
                ThreadPoolExecutor(2) as threads,
            ):
                start = threading.Barrier(2, timeout=30)
                tasks = [
                    threads.submit(_ask_all, desk, start, subjects, person)
                    for desk, person in zip((hers, his), people, strict=True)
                ]
                answers = [task.result(60) for task in tasks]
            wins = Counter[str]()
            for mine, yours in zip(*answers, strict=True):
                for one, other, winner in ((mine, yours, "alice"), (yours, mine, "bob")):
                    if isinstance(one, Requested):
                        wins[winner] += 1
                        assert isinstance(other, (ReplayInProgressError, AlreadyReplayedError)), other
                        assert winner in other.what
            assert wins.total() == len(subjects)
            place.replayer.execute("w")
            place.deliver()
            resumed = place.sql(
                "SELECT orchestration_id FROM replays WHERE mode = 'resume' AND state = 'done'"
            )
            assert len(resumed) + len(place.sql("SELECT 1 FROM replays WHERE mode = 'rerun'")) == len(
                subjects
            )
            assert len(resumed) >= 18, "only every fourth may have been started anew instead"
            sent = {key_of(place, Subject("demo", str(key))): 1 for (key,) in resumed}
            assert place.targets.sent == sent

    def test_a_resume_and_a_rerun_of_one_orchestration_exclude_each_other(self, place: Workshop) -> None:
        subject = place.lives("1", one_failed)
        assert isinstance(place.ask(subject, RESUME), Requested)
        other = place.ask(subject, RERUN, BOB)
        assert isinstance(other, ReplayInProgressError)
        assert "alice" in other.what
        assert "since" in other.what

    def test_the_register_itself_lets_only_one_of_two_in(self, place: Workshop) -> None:
        """Both were planned before either was registered: the unique index decides."""
        subject = place.lives("1", one_failed)
        both = [_planned(place, subject, way, person) for way, person in ((RESUME, ALICE), (RERUN, BOB))]
        assert place.replays.register(both[:1]) == {}
        in_the_way = place.replays.register(both[1:])
        assert in_the_way[subject.orchestration_id].actor == "alice"
        assert place.sql("SELECT count(*) FROM replays") == [(1,)]
        assert place.sql("SELECT count(*) FROM work_index WHERE queue = 'replay'") == [(1,)]

    @pytest.mark.parametrize(("first", "second"), [(RERUN, RESUME), (RESUME, RERUN)], ids=["rerun", "resume"])
    def test_what_was_planned_before_the_others_replay_was_carried_out_is_refused(
        self, place: Workshop, first: Way, second: Way
    ) -> None:
        """Promise 2: as a resume beside a rerun, the same effect would happen under the old key and under a new one."""
        subject = place.lives("1", one_failed)

        def alice_is_faster() -> None:
            assert isinstance(place.ask(subject, first), Requested)
            place.replayer.execute("w")
            place.carry_on()

        register = OvertakenRegister(place.database, alice_is_faster)
        desk = ReplayDesk(
            place.store,
            place.recorder,
            register,
            Published(branching_release(), other_release()),
            place.carrier,
            place.clock,
        )

        (answer,) = desk.request([subject], second, BOB)

        assert isinstance(answer, AlreadyReplayedError), "bob planned it when nobody had replayed it yet"
        assert "alice" in answer.what
        place.replayer.execute("w")
        place.carry_on()
        assert place.sql("SELECT actor, mode, state FROM replays") == [("alice", first.mode, "done")]
        assert set(place.targets.sent.values()) == {1}
        record_keys = place.sql(
            "SELECT idempotency_key FROM actions WHERE name = 'record' AND state = 'confirmed'"
        )
        assert len(record_keys) == 1, "the effect happened under one key"


class OvertakenRegister(PostgresqlReplays):
    """The register of somebody who is overtaken between planning and registering."""

    def __init__(self, database: Database, meanwhile: Callable[[], None]) -> None:
        super().__init__(database)
        self._meanwhile = meanwhile

    def register(self, requested: Sequence[NewReplay]) -> dict[str, ReplayRow]:
        self._meanwhile()
        return super().register(requested)


class TestCancelling:
    def test_a_replay_that_is_not_due_yet_is_not_withdrawn_with_the_steps(self, place: Workshop) -> None:
        """Withdrawn without its row, it would be requested for ever, and stand in every later replay's way."""
        subject = place.lives("1", one_failed)
        (asked,) = place.desk.request([subject], RESUME, ALICE, rate=0.01, before=1)
        mended = OrchestrationResumed(replay_id="rpl_other", actor="carol", reason_digest="0" * 64)
        place.recorder.record([_work(subject, mended)])
        key = subject.orchestration_id
        steps = Reading(place.database, ["demo"]).open_steps(key)
        assert (
            cancel(place.recorder, Cancellation("demo", key, "otto", "no need", steps)).status == "cancelled"
        )
        place.end_leases()
        place.replayer.execute("w")
        assert place.row(asked).state == "refused"
        assert isinstance(place.ask(subject, RERUN, BOB), Requested)


class TestCrashes:
    """Between the request and its end a worker may die anywhere: it happens once."""

    @pytest.mark.parametrize("way", [RESUME, RERUN], ids=["resume", "rerun"])
    @pytest.mark.parametrize(
        "point",
        [
            point
            for point in REGISTERED["replay"]
            if point not in {FaultPoint.AFTER_RECEIVE, FaultPoint.AFTER_RECORD_BEFORE_ACK}
        ],
    )
    def test_a_crash_at_any_point_loses_nothing_and_doubles_nothing(
        self, place: Workshop, point: FaultPoint, way: Way
    ) -> None:
        subject = place.lives("1", one_failed)
        asked = place.ask(subject, way)
        with crash_at(point) as hit, pytest.raises(Crash):
            place.replayer.execute("w")
        assert hit == [point]
        place.end_leases()
        for _ in range(3):
            place.replayer.execute("another")
        row = place.row(asked)
        assert row.state == "done"
        resumed = [
            fact for fact in place.facts(subject.orchestration_id) if isinstance(fact, OrchestrationResumed)
        ]
        reruns = place.sql("SELECT orchestration_id FROM orchestrations WHERE lane = 'rerun'")
        if way is RESUME:
            assert (len(resumed), reruns) == (1, [])
            assert place.deliver() == {key_of(place, subject): 1}
        else:
            assert (resumed, reruns) == ([], [(row.new_orchestration_id,)])

    def test_a_replay_that_cannot_be_done_fails_and_leaves_the_orchestration_as_it_was(
        self, place: Workshop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is tried a few times; then its row says so, and somebody may ask again."""
        subject = place.lives("1", one_failed)
        before = place.facts(subject.orchestration_id)
        asked = place.ask(subject)
        with monkeypatch.context() as broken:
            broken.setattr(execute, "resume", _defect)
            for _ in range(MOST_LAPSES):
                place.end_leases()
                place.replayer.execute("w")
        row = place.row(asked)
        assert (row.state, row.outcome) == ("failed", f"defect: it was tried {MOST_LAPSES} times")
        assert place.facts(subject.orchestration_id) == before
        assert not any(isinstance(fact, StepGaveUp) for fact in before)
        place.ask(subject, person=BOB)
        place.replayer.execute("w")
        assert place.deliver() == {key_of(place, subject): 1}


class TestInBulk:
    def test_so_many_begin_in_a_second(self, place: Workshop) -> None:
        subjects = [place.lives(str(number), one_failed) for number in range(10)]
        answers = place.desk.request(subjects, RESUME, ALICE, rate=2.0)
        assert all(isinstance(answer, Requested) for answer in answers)
        due = place.sql(
            "SELECT round(extract(epoch FROM due_at - min(due_at) OVER ())::numeric, 1)::float8 FROM work_index"
            " WHERE queue = 'replay' ORDER BY due_at"
        )
        assert [row[0] for row in due] == [0.5 * number for number in range(10)]
        assert place.replayer.execute("w").steps == 1, "the others are not due yet"

    def test_those_that_are_refused_keep_no_other_from_being_replayed(self, place: Workshop) -> None:
        good, bad = place.lives("good", one_failed), place.lives("bad", only_in_doubt)
        first, second = place.desk.request([bad, good], RESUME, ALICE)
        assert isinstance(first, InterlockError)
        assert isinstance(second, Requested)

    def test_a_plan_leaves_nothing_behind(self, place: Workshop) -> None:
        subjects = [place.lives(str(number), one_failed) for number in range(3)]
        assert len(place.desk.plan(subjects, RESUME)) == 3
        assert len(place.desk.plan(subjects, RERUN)) == 3
        assert place.sql("SELECT 1 FROM replays") == []


class TestRegister:
    """Every replay that was requested leaves its row: who, why, what was planned, what came out."""

    def test_the_newest_are_listed_first_page_by_page_and_by_person(self, place: Workshop) -> None:
        for number, person in enumerate((ALICE, BOB, ALICE)):
            place.ask(place.lives(str(number), one_failed), person=person)
        place.replayer.execute("w")
        rows = place.replays.newest(["demo"], Wanted(limit=2))
        assert [row.actor for row in rows] == ["alice", "bob"]
        (last,) = place.replays.newest(["demo"], Wanted(before=rows[-1]))
        assert last.actor == "alice"
        assert len(place.replays.newest(["demo"], Wanted(actor="bob", state="done"))) == 1
        assert place.replays.newest(["other"], Wanted()) == ()
        assert place.replays.newest(["demo"], Wanted(state="failed")) == ()

    def test_what_was_planned_is_kept_as_it_was_shown(self, place: Workshop) -> None:
        subject = place.lives("1", one_failed)
        row = place.row(place.ask(subject))
        plan = json.loads(place.store.contents(["demo"], [row.plan_digest])[row.plan_digest])
        assert plan["totals"] == {"will_be_sent": 1, "confirmed": 1, "denied": 1}

    def test_another_tenants_replays_are_not_seen(self, place: Workshop) -> None:
        asked = place.ask(place.lives("1", one_failed))
        assert isinstance(asked, Requested)
        assert place.replays.named(["other"], [asked.replay_id]) == {}


class TestCommandWithoutAWorker:
    def test_it_says_after_a_while_that_nobody_takes_it(
        self,
        place: Workshop,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """Nothing is lost: it stays requested, and the next person is told who asked."""
        subject = place.lives("1", one_failed)
        monkeypatch.setenv("INTERLOCK_DATABASE_URL", place.url)
        monkeypatch.setenv("INTERLOCK_HOME", str(tmp_path))
        monkeypatch.setattr(replay_waiting, "QUIET_SECONDS", 0.5)
        settings.load.cache_clear()
        command = ("replay", subject.orchestration_id, "--mode", "resume", "--json")
        codes = []
        for actor in ("alice", "bob"):
            with pytest.raises(SystemExit) as ended:
                command_line.main([*command, "--actor", actor, "--reason", "because"])
            error = json.loads(capsys.readouterr().err.strip().splitlines()[-1])["error"]
            codes.append((ended.value.code, error["code"]))
        settings.load.cache_clear()
        assert codes == [(1, "not_taken"), (1, "replay_in_progress")]
        assert "alice" in error["what"]
        place.replayer.execute("w")
        assert place.deliver() == {key_of(place, subject): 1}


class TestWhatALimitLeavesOut:
    @pytest.mark.parametrize("command", ["plan", "replay --dry-run", "replay --no-wait"])
    def test_programs_are_told_as_people_are(
        self,
        place: Workshop,
        command: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """Whoever takes a part for all believes that everything is repaired."""
        place.store.report([replace(MESSAGE, last_at="2100-01-01T00:00:00.000000Z")])
        for number in range(2):
            place.lives(str(number), one_failed)
        monkeypatch.setenv("INTERLOCK_DATABASE_URL", place.url)
        monkeypatch.setenv("INTERLOCK_HOME", str(tmp_path))
        settings.load.cache_clear()
        person = ("--actor", "alice", "--reason", "because") if "replay" in command else ()
        told = []
        for limit in ("1", "2"):
            with pytest.raises(SystemExit) as ended:
                command_line.main(
                    ["dead-letters", *command.split(), "--all", "--limit", limit, "--json", *person]
                )
            said = capsys.readouterr()
            assert ended.value.code in (0, 1), said.err
            told.append(json.loads(said.out))
        settings.load.cache_clear()
        assert [(one["more"], one["of_messages"]) for one in told] == [(True, 1), (False, 1)]


class Crash(BaseException):
    """The process ends here."""


class crash_at:  # noqa: N801 - reads as a statement
    """Inside the block a worker of the queue ``replay`` dies at this point, once; gives the points that were hit."""

    def __init__(self, point: FaultPoint) -> None:
        self._point = point
        self._hit: list[FaultPoint] = []

    def __enter__(self) -> list[FaultPoint]:
        fault_points.arm(self._reached)
        return self._hit

    def __exit__(self, *_: object) -> None:
        fault_points.arm(None)

    def _reached(self, point: FaultPoint, queue: str) -> None:
        if point is self._point and queue == "replay" and not self._hit:
            self._hit.append(point)
            raise Crash


def _defect(*_: object) -> object:
    raise ZeroDivisionError


def _ask_all(
    place: Workshop, start: threading.Barrier, subjects: Sequence[Subject], person: Person
) -> list[Requested | InterlockError]:
    answers = []
    for number, subject in enumerate(subjects):
        start.wait()
        way = RERUN if person is BOB and number % 2 else RESUME
        answers.append(place.ask(subject, way if number % 4 == 3 else RESUME, person))
    return answers


def _refusal(place: Workshop, subject: Subject, way: Way, person: Person) -> str:
    try:
        answer = place.ask(subject, way, person)
    except InterlockError as error:
        return error.code
    assert isinstance(answer, InterlockError), "it was requested"
    return answer.code


def _work(subject: Subject, fact: AnyFact) -> Work:
    return Work("demo", subject.orchestration_id, None, lambda _loaded: Plan((fact,)))


def _planned(place: Workshop, subject: Subject, way: Way, person: Person) -> NewReplay:
    (plan,) = place.desk.plan([subject], way)
    assert isinstance(plan, ReplayPlan)
    return NewReplay(
        replay_id=replay_id(subject.orchestration_id, 0),
        tenant_id="demo",
        orchestration_id=subject.orchestration_id,
        dead_letter_id="",
        mode=way.mode,
        release=plan.release,
        actor=person.actor,
        reason_digest="1" * 64,
        plan_digest="2" * 64,
        contents={},
    )
