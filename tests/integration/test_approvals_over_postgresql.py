"""People consent to actions, or do not, over a real database: with workers, an expiry, two people, another policy."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO

import psycopg
import pytest
from rich.console import Console

from app.adapters.postgresql.reading_approvals import WAITING, ApprovalReading
from app.cli.approvals_view import print_story
from app.data_plane.orchestration.approvals import (
    ApprovalExpiredError,
    NotAnApproverError,
    NotAwaitedError,
    SupersededError,
    UnansweredForError,
    UnknownApprovalError,
    foresee,
    give,
)
from app.data_plane.orchestration.cancel import Cancellation, cancel
from app.data_plane.ports import Delivery, Queue, Receipt
from app.data_plane.replay.explain_approval import ApprovalStory, explain_approval
from app.data_plane.replay.explain_argument import ArgumentTold
from app.data_plane.replay.request import Subject, Way
from app.data_plane.replay.surroundings import Behind, Surroundings, people_behind, policy_in_force
from app.kernel.errors import InterlockError, NotFoundError, TransientError
from app.kernel.facts import ActionAuthorised, ToolFailed
from app.kernel.release import Release
from interlock.identity import approval_id, run_id
from tests.approving_workflow import (
    CALLED,
    DECIDED,
    GRAVE,
    HOUR,
    accept,
    another_policy,
    answer,
    answer_of,
    asked,
    difference,
    kinds,
    open_steps,
    record_of,
    status_of,
)
from tests.repairing import ALICE, Published, Workshop, workshop

Make = Callable[[Release], tuple[Workshop, Subject]]


@pytest.fixture
def make(fresh_database: str) -> Iterator[Make]:
    """Makes the workshop of a release, and an orchestration that the workers have brought as far as they can."""
    made: list[Workshop] = []

    def one(release: Release) -> tuple[Workshop, Subject]:
        place = Workshop(fresh_database, release)
        made.append(place)
        place.publish(release)
        subject = accept(place, "1")
        place.carrier.rung.clear()
        return place, subject

    yield one
    for place in made:
        place.close()


def how_the_call_ended(place: Workshop, subject: Subject) -> list[str]:
    """Why the run's calls have no result."""
    run = run_id(subject.orchestration_id, "classify", "alpha")
    facts = [one.fact for one in place.store.run_chains(["demo"], [run])[run] or ()]
    return [fact.code for fact in facts if isinstance(fact, ToolFailed)]


@pytest.mark.parametrize("release", [DECIDED, CALLED], ids=["decided", "called"])
def test_what_needs_consent_waits_and_nothing_is_sent(make: Make, release: Release) -> None:
    place, subject = make(release)
    assert status_of(place, subject) == "awaiting_approval"
    assert approval_id(asked(place, subject).action_id) in open_steps(place, subject)
    assert not place.targets.sent
    assert difference(place, subject) == ""


def test_after_consent_exactly_what_was_approved_is_sent_with_its_key(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, subject = make(DECIDED)
    sent: list[Delivery] = []

    async def deliver(deliveries: Sequence[Delivery]) -> list[Receipt]:
        sent.extend(deliveries)
        return [Receipt("confirmed", 201) for _ in deliveries]

    monkeypatch.setattr(place.targets, "deliver", deliver)
    waited = asked(place, subject)
    told = answer(place, subject)
    assert (told.state, told.missing, told.consented) == ("authorised", 0, ("ines",))
    assert Queue.DISPATCH in place.carrier.rung, "the next queue is told at once"
    assert approval_id(waited.action_id) not in open_steps(place, subject)
    place.carry_on()
    (one,) = sent
    assert one.idempotency_key == waited.idempotency_key
    assert json.loads(one.body) == {"subject": "risky", "verdict": "low"}
    (authorised,) = [
        fact for fact in place.facts(subject.orchestration_id) if isinstance(fact, ActionAuthorised)
    ]
    assert (authorised.arguments_digest, authorised.approved_by) == (waited.arguments_digest, ("ines",))
    assert status_of(place, subject) == "completed"
    assert difference(place, subject) == ""


def test_a_run_that_waits_goes_on_after_consent(make: Make) -> None:
    place, subject = make(CALLED)
    answer(place, subject)
    assert Queue.DISPATCH in place.carrier.rung
    place.carry_on()
    assert status_of(place, subject) == "completed"
    assert place.targets.sent == {asked(place, subject).idempotency_key: 1}
    assert how_the_call_ended(place, subject) == []
    assert difference(place, subject) == ""


def test_a_run_that_waits_is_told_of_a_denial_and_goes_on(make: Make) -> None:
    place, subject = make(CALLED)
    told = answer(place, subject, consents=False)
    assert told.state == "denied"
    assert Queue.AGENT_RUNS in place.carrier.rung, "the run that waits is told at once"
    place.carry_on()
    assert status_of(place, subject) == "completed"
    assert how_the_call_ended(place, subject) == ["not_approved"]
    assert not place.targets.sent
    assert difference(place, subject) == ""


def test_a_run_that_waits_goes_on_when_nobody_answered_in_time(make: Make) -> None:
    place, subject = make(CALLED)
    place.end_leases()
    place.carry_on()
    assert status_of(place, subject) == "completed"
    assert kinds(place, subject).count("approval_expired") == 1
    assert how_the_call_ended(place, subject) == ["not_approved"]
    assert not place.targets.sent
    assert difference(place, subject) == ""


def test_a_denied_action_of_a_decision_is_never_sent(make: Make) -> None:
    place, subject = make(DECIDED)
    told = answer(place, subject, consents=False)
    assert (told.state, told.orchestration_status) == ("denied", "completed")
    place.carry_on()
    assert not place.targets.sent
    assert open_steps(place, subject) == ()
    assert difference(place, subject) == ""


def test_an_action_of_a_decision_that_nobody_answered_is_denied(make: Make) -> None:
    place, subject = make(DECIDED)
    place.end_leases()
    place.carry_on()
    assert status_of(place, subject) == "completed"
    assert place.sql("SELECT state, reason FROM actions") == [
        ("denied", f"nobody consented within {HOUR:g} s")
    ]
    with pytest.raises(ApprovalExpiredError):
        answer(place, subject)
    assert not place.targets.sent
    assert difference(place, subject) == ""


def test_an_answer_that_is_late_does_not_count_even_before_a_worker_has_noticed(make: Make) -> None:
    place, subject = make(DECIDED)
    late = datetime.now(UTC) + timedelta(seconds=HOUR + 1)
    with pytest.raises(ApprovalExpiredError):
        give(place.recorder, answer_of(place, subject), lambda: late)
    assert "approval_granted" not in kinds(place, subject)


@pytest.mark.parametrize("actor", ["alpha", " ALPHA ", "calling", "\uff41lpha"])
def test_neither_an_agent_nor_the_workflow_consents_however_it_is_written(make: Make, actor: str) -> None:
    place, subject = make(DECIDED)
    before = kinds(place, subject)
    with pytest.raises(NotAnApproverError):
        answer(place, subject, actor)
    assert kinds(place, subject) == before


@pytest.mark.parametrize("sender", [{"login": "Otto"}, {"name": "otto"}, {"login": "otto", "kind": "User"}])
def test_who_sent_the_event_does_not_consent_to_what_comes_of_it(make: Make, sender: dict[str, str]) -> None:
    place, _ = make(DECIDED)
    subject = accept(place, "2", sender=sender)
    (behind,) = people_behind(record_of(place, subject), place.replays)
    assert behind.why == "sent the event"
    with pytest.raises(NotAnApproverError):
        answer(place, subject, "otto", people=(behind.name,))
    answer(place, subject, "ines", people=(behind.name,))
    assert status_of(place, subject) != "awaiting_approval"


def test_who_asked_for_a_rerun_does_not_consent_to_what_it_does_again(make: Make) -> None:
    place, subject = make(DECIDED)
    answer(place, subject, consents=False)
    replay = place.row(place.ask(subject, Way("rerun")))
    place.replayer.execute("replayer")
    started = place.replays.named(["demo"], [replay.replay_id])[replay.replay_id]
    anew = Subject("demo", started.new_orchestration_id)
    place.carry_on()
    (behind,) = people_behind(record_of(place, anew), place.replays)
    assert (behind.name, behind.why) == (ALICE.actor, "asked for this rerun")
    assert people_behind(record_of(place, subject), place.replays) == ()
    with pytest.raises(NotAnApproverError):
        answer(place, anew, ALICE.actor.upper(), people=(behind.name,))


def test_consent_to_something_else_than_what_waits_is_refused(make: Make) -> None:
    place, subject = make(DECIDED)
    before = kinds(place, subject)
    with pytest.raises(SupersededError):
        answer(place, subject, shown="0" * 12)
    assert kinds(place, subject) == before
    shown = asked(place, subject).action_digest
    assert answer(place, subject, shown=shown[:12]).state == "authorised"


@pytest.mark.parametrize("release", [DECIDED, CALLED], ids=["decided", "called"])
def test_under_another_policy_the_approval_is_superseded_and_that_is_recorded(
    make: Make, release: Release
) -> None:
    place, subject = make(release)
    with pytest.raises(SupersededError, match=r"calling/1 .*calling/2"):
        answer(place, subject, policy=another_policy(release).policy)
    place.carry_on()
    assert kinds(place, subject).count("approval_superseded") == 1
    assert "approval_granted" not in kinds(place, subject)
    assert status_of(place, subject) == "completed"
    assert not place.targets.sent
    with pytest.raises(SupersededError):
        answer(place, subject)
    assert difference(place, subject) == ""


def test_the_policy_in_force_is_the_one_whose_release_takes_the_events_now() -> None:
    changed = another_policy(DECIDED)
    assert policy_in_force(Published(changed, DECIDED), "calling") == changed.policy
    assert policy_in_force(Published(DECIDED, changed), "calling") == DECIDED.policy
    assert policy_in_force(Published(DECIDED), "elsewhere") is None


def test_where_the_policy_in_force_cannot_be_read_nobody_can_consent_by_it() -> None:
    """A newer version published it: it may say no, and whoever does not know that must not go on."""

    class Newer(Published):
        def get(self, digest: str) -> Release:
            raise NotFoundError(f"{digest} does not fit this version")

    with pytest.raises(TransientError, match="cannot be read here"):
        policy_in_force(Newer(DECIDED), "calling")


def test_four_eyes_are_those_of_two_people(make: Make) -> None:
    place, subject = make(GRAVE)
    told = answer(place, subject, "Ines")
    assert (told.state, told.missing) == ("awaiting_approval", 1)
    place.carry_on()
    assert status_of(place, subject) == "awaiting_approval"
    assert not place.targets.sent
    for same in ("Ines", " ines ", "INES", "i\uff4ees", "in\u200bes", "\u2060ines"):
        with pytest.raises(NotAnApproverError):
            answer(place, subject, same)
    told = answer(place, subject, "otto")
    assert (told.state, told.missing, told.consented) == ("authorised", 0, ("Ines", "otto"))
    place.carry_on()
    assert place.targets.sent == {asked(place, subject).idempotency_key: 1}
    assert difference(place, subject) == ""


def test_one_of_two_consents_is_not_enough_when_the_time_is_over(make: Make) -> None:
    place, subject = make(GRAVE)
    answer(place, subject)
    place.end_leases()
    place.carry_on()
    assert status_of(place, subject) == "completed"
    assert not place.targets.sent
    assert difference(place, subject) == ""


def test_an_approval_is_used_once(make: Make) -> None:
    place, subject = make(DECIDED)
    answer(place, subject)
    with pytest.raises(NotAwaitedError, match="ines has consented"):
        answer(place, subject, "otto")
    with pytest.raises(NotAwaitedError, match="ines has consented"):
        answer(place, subject, "otto", consents=False)
    place.carry_on()
    assert set(place.targets.sent.values()) == {1}
    with pytest.raises(NotAwaitedError):
        answer(place, subject)


def test_of_two_people_at_once_one_wins_and_the_other_is_told(make: Make, fresh_database: str) -> None:
    """Each has connections of their own, as two commands have."""
    place, subject = make(DECIDED)

    def one_of_them(actor: str, consents: bool) -> str:
        with workshop(fresh_database, DECIDED) as own:
            try:
                return answer(own, subject, actor, consents=consents).state
            except NotAwaitedError as error:
                return error.what

    with ThreadPoolExecutor(2) as two:
        told = sorted(two.map(one_of_them, ("ines", "otto"), (True, False)), key=len)
    assert told[0] in {"authorised", "denied"}
    assert "has consented to" in told[1] or "has denied" in told[1]
    answers = [kind for kind in kinds(place, subject) if kind in {"approval_granted", "approval_denied"}]
    assert len(answers) == 1


def test_of_four_eyes_at_once_both_count(make: Make, fresh_database: str) -> None:
    place, subject = make(GRAVE)

    def one_of_them(actor: str) -> str:
        with workshop(fresh_database, GRAVE) as own:
            return answer(own, subject, actor).state

    with ThreadPoolExecutor(2) as two:
        told = sorted(two.map(one_of_them, ("ines", "otto")))
    assert told == ["authorised", "awaiting_approval"]
    place.carry_on()
    assert set(place.targets.sent.values()) == {1}


def test_cancelled_nobody_is_asked_any_more(make: Make) -> None:
    place, subject = make(DECIDED)
    steps = open_steps(place, subject)
    cancel(place.recorder, Cancellation("demo", subject.orchestration_id, "otto", "no need", steps))
    assert status_of(place, subject) == "cancelled"
    assert open_steps(place, subject) == ()
    assert ApprovalReading(place.database, ["demo"]).soonest(9) == ()
    with pytest.raises(NotAwaitedError, match="cancelled"):
        answer(place, subject)
    assert difference(place, subject) == ""


@pytest.mark.parametrize(
    ("more", "refusal"),
    [
        ({"reason": " "}, UnansweredForError),
        ({"actor": ""}, UnansweredForError),
        ({"action_id": "act_nowhere"}, UnknownApprovalError),
    ],
)
def test_an_answer_that_means_nothing_is_refused(
    make: Make, more: dict[str, str], refusal: type[InterlockError]
) -> None:
    place, subject = make(DECIDED)
    plain = answer_of(place, subject)
    given = {**{"actor": plain.actor}, **more}
    with pytest.raises(refusal):
        answer(place, subject, **given)


def test_what_is_foreseen_is_what_happens_and_foreseeing_changes_nothing(make: Make) -> None:
    place, subject = make(DECIDED)
    before = kinds(place, subject)
    loaded = place.recorder.load(["demo"], [subject.orchestration_id])[subject.orchestration_id]
    foreseen = foresee(loaded, answer_of(place, subject), datetime.now(UTC))
    assert kinds(place, subject) == before
    assert foreseen == answer(place, subject)


def test_what_waits_is_listed_by_its_end_and_no_other_tenants(make: Make) -> None:
    place, first = make(DECIDED)
    second = accept(place, "2")
    listed = ApprovalReading(place.database, ["demo"]).soonest(9)
    assert [row.orchestration_id for row in listed] == [first.orchestration_id, second.orchestration_id]
    (row, _) = listed
    assert (row.workflow, row.name, row.tool, row.target) == (
        "calling",
        "record",
        "reference.record",
        "tracker",
    )
    assert (row.consents, row.persons) == (0, 1)
    assert row.expires - row.since == timedelta(seconds=HOUR)
    assert ApprovalReading(place.database, ["other"]).soonest(9) == ()
    assert len(ApprovalReading(place.database, ["demo"]).soonest(1)) == 1


def test_a_backlog_of_other_steps_is_not_read_for_the_list(make: Make, fresh_database: str) -> None:
    """A million accepted events that wait for a worker keep nobody waiting who looks for what to approve."""
    place, _ = make(DECIDED)
    place.sql(
        "INSERT INTO work_index (step_id, tenant_id, orchestration_id, queue, stage, subject, due_at, lease_seconds)"
        " SELECT 'adv_' || n, 'demo', 'orc_' || n, 'orchestration', '', '', clock_timestamp(), 30"
        " FROM generate_series(1, 20000) n"
    )
    place.sql("ANALYZE work_index")
    with psycopg.connect(fresh_database) as connection:
        plan = connection.execute(f"EXPLAIN {WAITING}", {"tenants": ["demo"], "limit": 20}).fetchall()
    assert "work_index_waits_for_consent" in "".join(line for (line,) in plan)


def test_consents_so_far_are_listed(make: Make) -> None:
    place, subject = make(GRAVE)
    answer(place, subject)
    (row,) = ApprovalReading(place.database, ["demo"]).soonest(9)
    assert (row.consents, row.persons) == (1, 2)


def told_of(place: Workshop, subject: Subject, **more: object) -> ApprovalStory:
    """The story of the action that waits, at this moment unless ``more`` says otherwise."""
    given = {"around": Surroundings(), "now": datetime.now(UTC), **more}
    key = asked(place, subject).action_id
    return explain_approval(record_of(place, subject), place.release, key, **given)  # type: ignore[arg-type]


def shown(story: ApprovalStory) -> str:
    """As a person sees it."""
    console = Console(file=StringIO(), width=200, highlight=False)
    print_story(console, story)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_the_story_says_where_each_argument_came_from_and_what_is_easily_overlooked(make: Make) -> None:
    place, subject = make(CALLED)
    story = told_of(place, subject)
    assert story.arguments is not None
    assert {one.name: one.value for one in story.arguments} == {"subject": "risky", "verdict": "fine"}
    assert {one.came_from for one in story.arguments} == {"a model wrote it"}
    assert "subject decides what happens, and a model wrote it." in story.warnings


def test_what_the_release_says_is_no_reason_for_a_warning(make: Make) -> None:
    place, subject = make(DECIDED)
    story = told_of(place, subject)
    assert story.arguments is not None
    assert [one.came_from for one in story.arguments if one.name == "subject"] == ["the release says it"]
    assert not any(warning.startswith("subject") for warning in story.warnings)


def test_what_others_wrote_cannot_change_what_a_person_sees(make: Make) -> None:
    """Control characters and changes of direction are shown as what they are, and a long text is cut."""
    place, subject = make(DECIDED)
    story = told_of(place, subject, around=Surroundings(where={"tracker": "https://tracker.example"}))
    text = "\x1b[2J\u202egnp.exe [bold]\n" + "x" * 5000
    hostile = ArgumentTold(
        name="note",
        value=text,
        content=True,
        characters=len(text),
        origins=("tool_text",),
        came_from="a tool's free text, which an outsider may have written",
        untrusted=True,
        unproven=("https://evil.example",),
        hidden=("U+001B", "U+202E"),
    )
    seen = shown(replace(story, arguments=(hostile, replace(hostile, content=False))))
    assert not {"\x1b", "\u202e"} & set(seen)
    assert "\\u202e" in seen
    assert "[bold]" in seen
    assert f"2,000 of {len(text):,} characters are shown" in seen
    assert "tracker, https://tracker.example" in seen


def test_a_story_of_another_policy_warns_and_names_who_cannot_consent(make: Make) -> None:
    place, subject = make(GRAVE)
    answer(place, subject)
    people = (Behind("otto", "sent the event"),)
    story = told_of(place, subject, around=Surroundings(another_policy(GRAVE).policy, people))
    assert "Another policy is in force now (calling/2)" in story.warnings[0]
    assert story.cannot_consent == {
        "alpha": "an agent of the workflow",
        "calling": "the workflow itself",
        "otto": "sent the event",
        "ines": "has consented already",
    }
    assert (story.persons, story.missing, [one.actor for one in story.answers]) == (2, 1, ["ines"])


def test_a_story_that_is_late_offers_no_answer(make: Make) -> None:
    place, subject = make(DECIDED)
    story = told_of(place, subject, now=datetime.now(UTC) + timedelta(seconds=HOUR + 1))
    assert (story.state, story.means) == (
        "waiting",
        "it should have been answered, and is about to be denied",
    )
    assert not any("approvals approve" in words for words in story.can_be_done)


def test_erased_arguments_are_told_and_not_guessed(make: Make) -> None:
    place, subject = make(DECIDED)
    record = record_of(place, subject)
    waits = asked(place, subject)
    contents = {key: body for key, body in record.contents.items() if key != waits.arguments_digest}
    erased = replace(record, contents=contents)
    story = explain_approval(erased, DECIDED, waits.action_id, Surroundings(), datetime.now(UTC))
    assert story.arguments is None
    assert "Its arguments were erased" in shown(story)
