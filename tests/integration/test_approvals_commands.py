"""``approvals list``, ``show``, ``approve`` and ``deny`` over a real database, and others telling of approvals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.cli import approvals as approvals_command
from app.data_plane.ports import Queue
from app.data_plane.replay.request import Subject
from app.kernel.release import Release
from tests.approving_workflow import (
    CALLED,
    DECIDED,
    GRAVE,
    accept,
    another_policy,
    asked,
    difference,
    kinds,
    status_of,
)
from tests.commands import Ask, Json, Say, asking, saying
from tests.repairing import Rings, Workshop, workshop

WHY = ("--actor", "ines", "--reason", "the subject is known")


@pytest.fixture
def release(request: pytest.FixtureRequest) -> Release:
    """The decision's action needs a person, unless a test says otherwise."""
    chosen = getattr(request, "param", DECIDED)
    assert isinstance(chosen, Release)
    return chosen


@pytest.fixture
def place(fresh_database: str, release: Release) -> Iterator[Workshop]:
    with workshop(fresh_database, release) as one:
        one.publish(release)
        yield one


@pytest.fixture
def subject(place: Workshop) -> Subject:
    """An orchestration that waits for people's consent."""
    return accept(place, "1")


@pytest.fixture
def action(place: Workshop, subject: Subject) -> str:
    """The action that it waits for."""
    return asked(place, subject).action_id


@pytest.fixture
def say(
    fresh_database: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Say]:
    """Runs a command; gives its exit code and what it printed (the error, if it failed)."""
    yield from saying(monkeypatch, capsys, fresh_database, home, columns=200)


@pytest.fixture
def ask(say: Say) -> Ask:
    """The same with ``--json``."""
    return asking(say)


@pytest.fixture
def rung(monkeypatch: pytest.MonkeyPatch) -> list[Queue]:
    """The queues that the commands ring."""
    rings = Rings()
    monkeypatch.setattr(approvals_command, "Doorbells", lambda: rings)
    return rings.rung


def error_of(answer: tuple[int, Json]) -> Json:
    code, told = answer
    assert code == 1
    error = told["error"]
    assert isinstance(error, dict)
    assert error["remedy"], "every error says what to do"
    return error


def route(place: Workshop, release: Release) -> None:
    """The release takes the workflow's events from now on."""
    place.publish(release)
    place.sql(
        "INSERT INTO channels (workflow, channel, release_digest, changed_by, reason)"
        " VALUES ('calling', 'stable', %s, 'tests', 'tests')",
        release.digest,
    )


def waiting(ask: Ask) -> list[Json]:
    rows = ask("approvals", "list")[1]["approvals"]
    assert isinstance(rows, list)
    return rows


def test_an_empty_list_is_no_error(place: Workshop, ask: Ask, say: Say) -> None:
    assert ask("approvals", "list") == (0, {"approvals": []})
    assert say("approvals", "list") == (0, "No action waits for anybody's consent.")


def test_what_waits_is_listed_with_what_it_is_and_how_many_must_consent(
    subject: Subject, action: str, ask: Ask, say: Say
) -> None:
    (row,) = ask("approvals", "list", "--tenant", "demo")[1]["approvals"]  # type: ignore[misc]
    assert (row["action_id"], row["orchestration_id"], row["tenant_id"], row["workflow"]) == (
        action,
        subject.orchestration_id,
        "demo",
        "calling",
    )
    assert (row["name"], row["tool"], row["target"]) == ("record", "reference.record", "tracker")
    assert (row["consents"], row["persons"], row["since"] < row["expires"]) == (0, 1, True)
    assert ask("approvals", "list", "--tenant", "other") == (0, {"approvals": []})
    code, text = say("approvals", "list", "--limit", "1")
    assert (code, action[:16] in text, "0 of 1" in text, "approvals show" in text) == (0, True, True, True)
    assert "There may be more" in text


def test_runs_and_actions_tell_what_waits_and_where_to_read_more(
    subject: Subject, action: str, ask: Ask, say: Say
) -> None:
    (row,) = ask("runs", "list", "--status", "awaiting_approval")[1]["runs"]  # type: ignore[misc]
    assert row["orchestration_id"] == subject.orchestration_id
    assert ask("runs", "list", "--state", "running")[1] == {"runs": []}
    code, text = say("runs", "list")
    assert "1 waits for a person" in text
    code, text = say("runs", "explain", subject.orchestration_id)
    assert code == 0
    assert "needs a person's consent, as risky wants it: it waits for that, for 3600 s" in text
    assert "0 of 1 consented" in text
    assert f"approvals show {action}" in text
    code, text = say("actions", "show", action)
    assert "Who was asked" in text
    assert f"approvals show {action}" in text


def test_show_tells_what_a_person_must_know(action: str, ask: Ask, say: Say) -> None:
    code, told = ask("approvals", "show", action.removeprefix("act_")[:10])
    assert code == 0
    assert (told["state"], told["persons"], told["missing"]) == ("waiting", 1, 1)
    assert told["why"] == {"risky": "it is risky"}
    digest = str(told["action_digest"])
    code, text = say("approvals", "show", action)
    assert code == 0
    for words in (
        'If you consent, Interlock will use reference.record ("Records a verdict on a subject: the smallest write.")',
        "risky: it is risky",
        '"risky"',
        "calling (the workflow itself)",
        "alpha (an agent of the workflow)",
        "It needs a person.",
        'alpha (stage classify): {"level": "low"}',
        "because: it is low",
        f"approvals approve {action} --digest {digest[:12]}",
        f"approvals deny {action}",
        "calling/1",
        "tokens",
    ):
        assert words in text, text


@pytest.mark.parametrize("release", [CALLED], indirect=True)
def test_of_a_call_it_is_shown_which_agent_made_it_and_after_what(action: str, ask: Ask, say: Say) -> None:
    code, text = say("approvals", "show", action)
    assert code == 0
    assert "alpha (stage classify, whose model proposes this): is under way" in text
    assert (
        'called reference.record at tracker with {"subject": "risky", "verdict": "fine"}: handed over' in text
    )


@pytest.mark.parametrize("release", [CALLED], indirect=True)
def test_a_run_that_waits_is_told_with_its_calls(subject: Subject, action: str, say: Say) -> None:
    code, text = say("runs", "explain", subject.orchestration_id)
    assert code == 0
    assert "In stage classify, alpha called reference.record at tracker" in text
    assert f"It called reference.record at tracker: handed over as the action {action}." in text
    say("approvals", "deny", action, *WHY)
    code, text = say("runs", "explain", subject.orchestration_id)
    assert f"ines denied {action}." in text
    assert "was denied after people were asked: ines has denied it" in text


def test_a_dry_run_tells_what_would_follow_and_records_nothing(
    place: Workshop, subject: Subject, action: str, ask: Ask, say: Say, rung: list[Queue]
) -> None:
    before = kinds(place, subject)
    code, told = ask("approvals", "approve", action, *WHY, "--dry-run")
    assert (code, told["state"], told["missing"], told["dry_run"]) == (0, "authorised", 0, True)
    assert "would be consented to" in say("approvals", "approve", action, *WHY, "--dry-run")[1]
    assert "would be denied" in say("approvals", "deny", action, *WHY, "--dry-run")[1]
    assert kinds(place, subject) == before
    assert not rung
    assert len(waiting(ask)) == 1


def test_after_consent_it_goes_on_to_its_end(
    place: Workshop, subject: Subject, action: str, ask: Ask, say: Say, rung: list[Queue]
) -> None:
    digest = asked(place, subject).action_digest
    code, text = say("approvals", "approve", action, "--digest", digest[:12], *WHY)
    assert code == 0, text
    assert "is consented to; it is authorised" in text
    assert rung == [Queue.DISPATCH]
    place.carry_on()
    assert status_of(place, subject) == "completed"
    assert place.targets.sent == {asked(place, subject).idempotency_key: 1}
    assert difference(place, subject) == ""
    assert ask("projections", "rebuild", "--dry-run")[1]["identical"] is True
    assert waiting(ask) == []
    code, told = ask("approvals", "show", action)
    assert (told["state"], told["can_be_done"]) == (
        "approved",
        [f"`python -m app actions show {action}` says what became of it."],
    )
    code, text = say("approvals", "show", action)
    assert "ines consented at" in text
    assert "the subject is known" in text
    assert "was authorised after ines consented" in say("runs", "explain", subject.orchestration_id)[1]
    assert "ines consented to" in say("actions", "show", action)[1]


@pytest.mark.parametrize("release", [CALLED], indirect=True)
def test_a_run_that_waits_is_rung_for_when_somebody_says_no(
    place: Workshop, subject: Subject, action: str, say: Say, rung: list[Queue]
) -> None:
    code, text = say("approvals", "deny", action, *WHY)
    assert (code, "is denied" in text) == (0, True)
    assert rung == [Queue.AGENT_RUNS]
    place.carry_on()
    assert status_of(place, subject) == "completed"
    assert not place.targets.sent
    assert difference(place, subject) == ""


def test_a_denied_action_is_told_with_who_and_why(
    place: Workshop, subject: Subject, action: str, ask: Ask, say: Say
) -> None:
    code, told = ask("approvals", "deny", action, *WHY)
    assert (code, told["state"], told["orchestration_status"]) == (0, "denied", "completed")
    assert not place.targets.sent
    code, text = say("approvals", "show", action)
    assert "ines denied it" in text
    assert "the subject is known" in text
    assert "--mode rerun" in text


def test_an_approval_that_expired_is_refused_and_named(
    place: Workshop, subject: Subject, action: str, ask: Ask, say: Say
) -> None:
    place.end_leases()
    place.carry_on()
    error = error_of(ask("approvals", "approve", action, *WHY))
    assert error["code"] == "approval_expired"
    assert ask("approvals", "show", action)[1]["state"] == "expired"
    assert "its approval expired" in say("runs", "explain", subject.orchestration_id)[1]


def test_the_second_person_is_told_who_was_first(action: str, ask: Ask) -> None:
    ask("approvals", "approve", action, *WHY)
    error = error_of(ask("approvals", "approve", action, "--actor", "otto", "--reason", "I came later"))
    assert error["code"] == "not_awaiting_approval"
    assert str(error["what"]).startswith("ines has consented")


@pytest.mark.parametrize("release", [GRAVE], indirect=True)
def test_four_eyes_need_two_people(
    place: Workshop, subject: Subject, action: str, ask: Ask, say: Say
) -> None:
    code, text = say("approvals", "show", action)
    assert "If you and another person consent" in text
    code, text = say("approvals", "approve", action, *WHY)
    assert (code, "The consent of a person is missing yet." in text) == (0, True)
    error = error_of(ask("approvals", "approve", action, "--actor", " INES ", "--reason", "again"))
    assert error["code"] == "not_an_approver"
    assert [row["consents"] for row in waiting(ask)] == [1]
    assert "ines (has consented already)" in say("approvals", "show", action)[1]
    assert ask("approvals", "approve", action, "--actor", "otto", "--reason", "so do I")[1]["missing"] == 0
    place.carry_on()
    assert set(place.targets.sent.values()) == {1}
    assert difference(place, subject) == ""


@pytest.mark.parametrize("actor", ["alpha", "Alpha ", "calling"])
def test_agents_and_the_workflow_are_refused(action: str, ask: Ask, actor: str) -> None:
    error = error_of(ask("approvals", "approve", action, "--actor", actor, "--reason", "mine"))
    assert error["code"] == "not_an_approver"
    assert len(waiting(ask)) == 1


def test_who_sent_the_event_is_refused(place: Workshop, ask: Ask, say: Say) -> None:
    action = asked(place, accept(place, "2", sender={"login": "otto"})).action_id
    assert "otto (sent the event)" in say("approvals", "show", action)[1]
    error = error_of(ask("approvals", "approve", action, "--actor", "Otto", "--reason", "mine"))
    assert error["code"] == "not_an_approver"
    assert ask("approvals", "deny", action, "--actor", "otto", "--reason", "I take it back")[0] == 0


@pytest.mark.parametrize(("digest", "code"), [("0" * 12, "approval_superseded"), ("0a", "invalid_argument")])
def test_another_digest_than_that_of_what_waits_is_refused(
    place: Workshop, subject: Subject, action: str, ask: Ask, digest: str, code: str
) -> None:
    before = kinds(place, subject)
    error = error_of(ask("approvals", "approve", action, "--digest", digest, *WHY))
    assert error["code"] == code
    assert kinds(place, subject) == before


def test_under_another_policy_nobody_can_consent_any_more_and_that_is_recorded(
    place: Workshop, subject: Subject, action: str, ask: Ask, say: Say
) -> None:
    changed = another_policy(DECIDED)
    route(place, changed)
    assert "Another policy is in force now (calling/2)" in say("approvals", "show", action)[1]
    error = error_of(ask("approvals", "approve", action, *WHY, "--dry-run"))
    assert error["code"] == "approval_superseded"
    assert "approval_superseded" not in kinds(place, subject), "a dry run records nothing"
    error = error_of(ask("approvals", "approve", action, *WHY))
    assert error["code"] == "approval_superseded"
    assert subject.orchestration_id in str(error["remedy"])
    assert "approval_superseded" in kinds(place, subject)
    place.carry_on()
    assert status_of(place, subject) == "completed"
    assert not place.targets.sent
    _, told = ask("approvals", "show", action)
    assert (told["state"], "calling/2" in str(told["means"])) == ("superseded", True)
    assert difference(place, subject) == ""


def test_a_release_that_is_routed_anew_with_the_same_policy_voids_nothing(
    place: Workshop, action: str, ask: Ask
) -> None:
    route(place, DECIDED)
    assert ask("approvals", "approve", action, *WHY)[1]["state"] == "authorised"


@pytest.mark.parametrize(
    "why", [("--reason", "seen"), ("--actor", "ines"), ("--actor", " ", "--reason", "x")]
)
@pytest.mark.parametrize("verb", ["approve", "deny"])
def test_who_and_why_must_be_said(action: str, ask: Ask, verb: str, why: tuple[str, ...]) -> None:
    assert error_of(ask("approvals", verb, action, *why))["code"] == "not_answered_for"
    assert error_of(ask("approvals", verb, action, *why, "--dry-run"))["code"] == "not_answered_for"


def test_cancelled_it_takes_no_answer(subject: Subject, action: str, ask: Ask) -> None:
    ask("runs", "cancel", subject.orchestration_id, "--actor", "otto", "--reason", "no need")
    error = error_of(ask("approvals", "approve", action, *WHY))
    assert (error["code"], "cancelled" in str(error["what"])) == ("not_awaiting_approval", True)
    assert waiting(ask) == []
    assert ask("approvals", "show", action)[1]["state"] == "ended"


@pytest.mark.parametrize("command", [("show",), ("approve", *WHY), ("deny", *WHY)])
@pytest.mark.parametrize("name", ["act_ffffffffffffffff", "act_0"])
def test_an_id_that_does_not_exist_is_a_clear_error(
    action: str, ask: Ask, command: tuple[str, ...], name: str
) -> None:
    error = error_of(ask("approvals", command[0], name, *command[1:]))
    assert error["code"] == "unknown_action"


def test_an_action_that_nobody_was_asked_about_is_a_clear_error(place: Workshop, ask: Ask) -> None:
    """The policy forbids it, or permits it by itself: there is nothing to consent to."""
    place.sql(
        "INSERT INTO actions SELECT 'act_00000000', tenant_id, orchestration_id, 1, '', '', '', 'authorised', '', '',"
        " 0, '', '' FROM orchestrations WHERE orchestration_id = %s",
        accept(place, "3").orchestration_id,
    )
    for command in (("show",), ("approve", *WHY), ("deny", *WHY)):
        error = error_of(ask("approvals", command[0], "act_00000000", *command[1:]))
        assert error["code"] == "unknown_approval"
