"""``reviews list``, ``show`` and ``resolve`` over a real database, and ``runs`` telling of reviews."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import Ask, Json, Say, asking, saying
from tests.repairing import Workshop, workshop
from tests.reviewing_workflow import silent_release

RELEASE = silent_release()
WHY = ("--actor", "ines", "--reason", "the title says so")
HIGH = ("--outcome", '{"level": "high"}')


@pytest.fixture
def place(fresh_database: str) -> Iterator[Workshop]:
    with workshop(fresh_database, RELEASE) as one:
        one.publish(RELEASE)
        yield one


@pytest.fixture
def run_id(place: Workshop) -> str:
    """An orchestration that waits for a person."""
    subject = place.accept("1")
    place.carry_on()
    return subject.orchestration_id


@pytest.fixture
def say(
    fresh_database: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Say]:
    """Runs a command; gives its exit code and what it printed (the error, if it failed)."""
    yield from saying(monkeypatch, capsys, fresh_database, home, columns=160)


@pytest.fixture
def ask(say: Say) -> Ask:
    """The same with ``--json``."""
    return asking(say)


def error_of(answer: tuple[int, Json]) -> Json:
    code, told = answer
    assert code == 1
    error = told["error"]
    assert isinstance(error, dict)
    assert error["remedy"], "every error says what to do"
    return error


def test_an_empty_list_is_no_error(place: Workshop, ask: Ask, say: Say) -> None:
    assert ask("reviews", "list") == (0, {"reviews": []})
    assert say("reviews", "list") == (0, "No stage waits for a person.")


def test_what_waits_is_listed_with_since_and_until(run_id: str, ask: Ask, say: Say) -> None:
    code, told = ask("reviews", "list", "--tenant", "demo")
    assert code == 0
    (row,) = told["reviews"]  # type: ignore[misc]
    assert (row["orchestration_id"], row["tenant_id"], row["workflow"], row["stage"]) == (
        run_id,
        "demo",
        "branching",
        "classify",
    )
    assert row["since"] < row["expires"]
    assert ask("reviews", "list", "--tenant", "other") == (0, {"reviews": []})
    code, text = say("reviews", "list")
    assert (code, run_id[:16] in text, "reviews show" in text) == (0, True, True)


def test_runs_tell_what_is_in_review_and_where_to_read_more(run_id: str, ask: Ask, say: Say) -> None:
    (row,) = ask("runs", "list", "--status", "in_review")[1]["runs"]  # type: ignore[misc]
    assert (row["orchestration_id"], row["status"]) == (run_id, "in_review")
    assert ask("runs", "list", "--state", "running")[1] == {"runs": []}
    code, text = say("runs", "explain", run_id)
    assert code == 0
    assert "a person is asked to complete it, within 3600 s" in text
    assert "Stage classify waits for a person" in text
    assert f"reviews show {run_id}" in text


def test_show_tells_what_a_person_must_know(run_id: str, ask: Ask, say: Say) -> None:
    code, told = ask("reviews", "show", run_id.removeprefix("orc_")[:10])
    assert code == 0
    assert (told["stage"], told["state"]) == ("classify", "waiting")
    assert told["event"] == {"type": "dev.interlock.issue", "issue": {"title": "high"}}
    code, text = say("reviews", "show", run_id, "--stage", "classify")
    assert code == 0
    for words in (
        "alpha: no proposal (provider_unavailable",
        '"title": "high"',
        'level  one of ("high", "low")',
        "reviews resolve",
        "expires",
    ):
        assert words in text, text


def test_what_others_wrote_cannot_change_what_a_person_sees(place: Workshop, say: Say) -> None:
    """Control characters and changes of direction are shown as what they are, and secrets not at all."""
    title = "\x1b[2J\u202egnp.exe [bold]ghp_" + "a" * 36
    subject = place.accept("9", title)
    place.carry_on()
    code, text = say("reviews", "show", subject.orchestration_id)
    assert code == 0
    assert not {"\x1b", "\u202e"} & set(text)
    assert "\\u202e" in text
    assert "[bold]" in text
    assert "ghp_" not in text


def test_a_dry_run_tells_what_would_follow_and_records_nothing(run_id: str, ask: Ask, say: Say) -> None:
    code, told = ask("reviews", "resolve", run_id, *HIGH, *WHY, "--dry-run")
    assert (code, told["orchestration_status"], told["starts"], told["dry_run"]) == (
        0,
        "running",
        ["deep"],
        True,
    )
    code, text = say("reviews", "resolve", run_id, *HIGH, *WHY, "--dry-run")
    assert "would be completed" in text
    assert len(ask("reviews", "list")[1]["reviews"]) == 1  # type: ignore[arg-type]


def test_resolving_lets_it_go_on_to_its_decision(
    place: Workshop, run_id: str, ask: Ask, say: Say, tmp_path: Path
) -> None:
    """The last answer makes the decision, by a command alone."""
    assert ask("reviews", "resolve", run_id, *HIGH, *WHY)[0] == 0
    place.carry_on()
    file = tmp_path / "outcome.json"
    file.write_text('{"level": "low"}')
    answer = ("reviews", "resolve", run_id, "--stage", "settle", "--outcome", f"@{file}", *WHY)
    code, text = say(*answer)
    assert code == 0, text
    assert "level = low" in text
    assert "record at tracker" in text
    assert "forbidden at tracker (denied)" in text
    place.carry_on()
    (row,) = ask("runs", "list")[1]["runs"]  # type: ignore[misc]
    assert (row["status"], row["degraded"]) == ("completed", True)
    code, text = say("runs", "explain", run_id)
    assert "no proposal was valid, ines completed it" in text
    assert ask("projections", "rebuild", "--dry-run")[1]["identical"] is True
    code, text = say("reviews", "show", run_id, "--stage", "classify")
    assert "ines completed it" in text
    assert "Nothing needs to be done." in text


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ('{"level": "huge"}', "level: it should be 'high' or 'low'"),
        ("{}", "level: it is missing"),
        ('{"level": "high", "level": "low"}', "twice"),
        ("high", "not JSON"),
        ("[1]", "not an object"),
        ("@/nowhere/outcome.json", "/nowhere/outcome.json cannot be read"),
    ],
)
def test_an_outcome_that_is_no_valid_proposal_is_refused(
    run_id: str, ask: Ask, outcome: str, words: str
) -> None:
    error = error_of(ask("reviews", "resolve", run_id, "--outcome", outcome, *WHY))
    assert error["code"] == "invalid_outcome"
    assert words in str(error["what"]), error
    assert len(ask("reviews", "list")[1]["reviews"]) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "why", [("--reason", "seen"), ("--actor", "ines"), ("--actor", " ", "--reason", "x")]
)
def test_who_and_why_must_be_said(run_id: str, ask: Ask, why: tuple[str, ...]) -> None:
    assert error_of(ask("reviews", "resolve", run_id, *HIGH, *why))["code"] == "not_answered_for"


def test_the_second_person_is_told_who_was_first(run_id: str, ask: Ask) -> None:
    ask("reviews", "resolve", run_id, *HIGH, *WHY)
    error = error_of(ask("reviews", "resolve", run_id, *HIGH, "--actor", "otto", "--reason", "I came later"))
    assert error["code"] == "already_resolved"
    assert str(error["what"]).startswith("ines has completed classify")


def test_a_review_that_expired_is_refused_and_named(place: Workshop, run_id: str, ask: Ask, say: Say) -> None:
    place.end_leases()
    place.carry_on()
    error = error_of(ask("reviews", "resolve", run_id, *HIGH, *WHY))
    assert (error["code"], "--mode rerun" in str(error["remedy"])) == ("review_expired", True)
    (letter,) = ask("dead-letters", "list")[1]["dead_letters"]  # type: ignore[misc]
    assert (letter["code"], letter["state"]) == ("review_expired", "open")
    assert "Nobody completed stage classify in time" in say("runs", "explain", run_id)[1]
    assert ask("reviews", "show", run_id)[1]["state"] == "expired"


def test_cancelled_it_takes_no_answer(run_id: str, ask: Ask) -> None:
    code, told = ask("runs", "cancel", run_id, "--actor", "otto", "--reason", "no need")
    assert (code, told["status"]) == (0, "cancelled")
    error = error_of(ask("reviews", "resolve", run_id, *HIGH, *WHY))
    assert (error["code"], "cancelled" in str(error["what"])) == ("not_in_review", True)
    assert ask("reviews", "list")[1] == {"reviews": []}
    assert ask("reviews", "show", run_id)[1]["state"] == "ended"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("show", "orc_ffffffffffffffff"), "unknown_orchestration"),
        (("show", "orc_0"), "unknown_orchestration"),
        (("resolve", "orc_ffffffffffffffff", *HIGH, *WHY), "unknown_orchestration"),
    ],
)
def test_an_id_that_does_not_exist_is_a_clear_error(
    run_id: str, ask: Ask, arguments: tuple[str, ...], code: str
) -> None:
    assert error_of(ask("reviews", *arguments))["code"] == code


@pytest.mark.parametrize(("stage", "code"), [("nowhere", "unknown_stage"), ("deep", "not_in_review")])
def test_a_stage_that_nobody_was_asked_about_is_a_clear_error(
    run_id: str, ask: Ask, stage: str, code: str
) -> None:
    assert error_of(ask("reviews", "show", run_id, "--stage", stage))["code"] == code
    assert error_of(ask("reviews", "resolve", run_id, "--stage", stage, *HIGH, *WHY))["code"] == code
