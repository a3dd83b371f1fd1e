"""``actions list``, ``show`` and ``settle`` over a real database, and ``runs`` telling of doubts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from app.adapters.postgresql.database import Database
from app.adapters.postgresql.migrate import upgrade
from app.adapters.postgresql.releases import PostgresqlReleases
from app.adapters.postgresql.store import PostgresqlStore
from app.cli.recording_at_hand import SilentCarrier
from app.data_plane.orchestration.recorder import Plan, Recorder, Work
from app.data_plane.tools import shipped_tools
from app.kernel.clock import SystemClock
from app.kernel.facts import (
    ActionAuthorised,
    AnyFact,
    DeliveryInDoubt,
    DeliveryRetried,
    DeliveryStarted,
    decode,
)
from app.supervisor.embedded import EmbeddedServers
from config.settings import CHECKOUT
from tests.commands import Ask, Json, Say, asking, saying
from tests.recorded import HISTORIES, load, restore

RECORD, RELEASE = load(HISTORIES / "issue.json")
ORCHESTRATION = RECORD.orchestration_id
UNTIL_AUTHORISED = 18
(ACTION,) = [
    fact
    for fact in (decode(link.body).fact for link in RECORD.chain[:UNTIL_AUTHORISED])
    if isinstance(fact, ActionAuthorised)
]
KEY = ACTION.action_id


def put_in_doubt(url: str) -> None:
    """An orchestration whose one action was tried twice and is in doubt."""
    restore(url, RECORD, RELEASE, facts=UNTIL_AUTHORISED, runs=True)
    database = Database(url, "interlock_worker", size=1)
    store = PostgresqlStore(database, SystemClock())
    recorder = Recorder(store, PostgresqlReleases(database, shipped_tools()), SilentCarrier())
    facts: tuple[AnyFact, ...] = (
        DeliveryStarted(action_id=KEY, attempt=1),
        DeliveryRetried(action_id=KEY, attempt=1, reason="timed_out (status 0)", ambiguous=True),
        DeliveryStarted(action_id=KEY, attempt=2),
        DeliveryInDoubt(action_id=KEY, attempt=2, reason="timed_out (status 0)"),
    )
    recorder.record([Work("demo", ORCHESTRATION, None, lambda _: Plan(facts))])
    database.close()


@pytest.fixture
def say(
    fresh_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Say]:
    """Runs a command; gives its exit code and what it printed (the error, if it failed)."""
    yield from saying(monkeypatch, capsys, fresh_database, tmp_path, columns=100)


@pytest.fixture
def ask(say: Say) -> Ask:
    """The same with ``--json``."""
    return asking(say)


@pytest.fixture
def doubtful(fresh_database: str, say: Say) -> str:
    """The database with one action in doubt, and its read models."""
    put_in_doubt(fresh_database)
    say("projections", "rebuild")
    return fresh_database


def test_an_empty_database_is_no_error(ask: Ask, say: Say) -> None:
    """Empty states are clear."""
    assert ask("actions", "list") == (0, {"actions": []})
    assert say("actions", "list", "--state", "in_doubt") == (0, "No action is in_doubt.")
    assert say("actions", "list") == (0, "There is no action yet.")


def test_actions_are_listed_by_state_and_tenant(ask: Ask, say: Say, doubtful: str) -> None:
    assert _ids(ask("actions", "list")) == [KEY]
    assert _ids(ask("actions", "list", "--state", "in_doubt", "--tenant", "demo")) == [KEY]
    assert _ids(ask("actions", "list", "--state", "confirmed")) == []
    assert _ids(ask("actions", "list", "--state", "in_doubt", "--tenant", "other")) == []
    code, text = say("actions", "list", "--state", "in_doubt")
    assert code == 0
    assert KEY[:16] in text
    assert "actions show" in text


def test_a_state_that_does_not_exist_is_refused(ask: Ask) -> None:
    """A misspelling is no empty list."""
    code, told = ask("actions", "list", "--state", "doubtful")
    assert code == 1
    assert "in_doubt" in str(_error(told)["remedy"])


def test_show_tells_what_it_is_what_was_tried_and_what_can_be_done(ask: Ask, say: Say, doubtful: str) -> None:
    code, told = ask("actions", "show", KEY.removeprefix("act_")[:10])
    assert code == 0
    assert (told["action_id"], told["state"], told["tool"]) == (KEY, "in_doubt", ACTION.tool)
    assert told["arguments_digest"] == ACTION.arguments_digest
    assert told["idempotency_key"] == ACTION.idempotency_key
    attempts = told["attempts"]
    assert isinstance(attempts, list)
    assert [attempt["number"] for attempt in attempts] == [1, 2]
    assert all("timed_out" in attempt["answer"] and attempt["answered_at"] for attempt in attempts)
    assert "honours keys, for 86400 s" in str(told["keeps_keys"])
    assert str(told["key_kept_until"]) > str(attempts[0]["at"])
    code, text = say("actions", "show", KEY)
    assert code == 0
    for words in (
        "nobody knows whether it was applied",
        "--not-applied",
        ACTION.idempotency_key,
        "Attempt 2",
    ):
        assert words in text


@pytest.mark.parametrize("name", ["act_0", "act_ffffffffffffffff", "act_%", "'; DROP TABLE x"])
def test_an_id_that_does_not_exist_is_a_clear_error(ask: Ask, doubtful: str, name: str) -> None:
    for command in (("show",), ("settle", "--applied", "--actor", "ines", "--reason", "seen")):
        code, told = ask("actions", command[0], name, *command[1:])
        assert (code, _error(told)["code"]) == (1, "unknown_action")


def test_settling_as_applied_completes_the_orchestration_and_the_record_verifies(
    ask: Ask, say: Say, doubtful: str
) -> None:
    why = ("--actor", "ines", "--reason", "the label is on the issue")
    code, dry = ask("actions", "settle", KEY, "--applied", *why, "--dry-run")
    assert (code, dry["orchestration_status"], dry["dry_run"]) == (0, "completed", True)
    assert _ids(ask("actions", "list", "--state", "in_doubt")) == [KEY]

    code, told = ask("actions", "settle", KEY, "--applied", *why)

    assert (code, told) == (0, {**dry, "dry_run": False})
    assert _ids(ask("actions", "list", "--state", "in_doubt")) == []
    assert _ids(ask("actions", "list", "--state", "settled")) == [KEY]
    assert ask("runs", "verify", ORCHESTRATION)[0] == 0
    assert ask("projections", "rebuild")[1]["identical"] is True
    code, text = say("runs", "explain", ORCHESTRATION)
    assert "completed" in text.splitlines()[0]
    assert f"ines said of {KEY}, which was in doubt, that it was applied." in text
    assert "settled: it was applied, and is not sent again" in text
    with psycopg.connect(doubtful) as connection:
        kept = connection.execute("SELECT count(*) FROM payloads WHERE body LIKE '%the label is on%'")
        assert kept.fetchone() == (1,)


def test_settling_as_not_applied_names_how_it_is_sent_again(ask: Ask, say: Say, doubtful: str) -> None:
    code, text = say(
        "actions", "settle", KEY, "--not-applied", "--actor", "ines", "--reason", "no such label"
    )
    assert code == 0
    assert "--mode resume" in text
    assert "dead-letters replay" in text
    run = ask("runs", "show", ORCHESTRATION)[1]["run"]
    assert isinstance(run, dict)
    assert run["status"] == "dead_lettered"
    code, told = ask("actions", "show", KEY)
    assert "--mode resume" in str(told["can_be_done"])
    assert "and was not applied" in str(told["means"])


def test_explaining_tells_of_the_doubt(say: Say, doubtful: str) -> None:
    code, text = say("runs", "explain", ORCHESTRATION)
    assert code == 0
    assert "is repeated while the target keeps its key" in text
    assert f"{KEY} is in doubt after attempt 2" in text
    assert f"actions show {KEY}" in text


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--actor", "ines", "--reason", "seen"), "invalid_argument"),
        (("--applied", "--reason", "seen"), "not_answered_for"),
        (("--applied", "--actor", " ", "--reason", "seen"), "not_answered_for"),
        (("--applied", "--actor", "ines"), "not_answered_for"),
    ],
)
def test_who_says_what_and_why_must_all_be_said(
    ask: Ask, doubtful: str, arguments: tuple[str, ...], code: str
) -> None:
    exit_code, told = ask("actions", "settle", KEY, *arguments)
    assert (exit_code, _error(told)["code"]) == (1, code)
    assert _error(told)["remedy"]
    assert _ids(ask("actions", "list", "--state", "in_doubt")) == [KEY]


def test_the_second_person_is_told_who_was_first(ask: Ask, doubtful: str) -> None:
    for actor in ("ines", "otto"):
        code, told = ask("actions", "settle", KEY, "--applied", "--actor", actor, "--reason", "seen")
    assert (code, _error(told)["code"]) == (1, "already_settled")
    assert str(_error(told)["what"]).startswith("ines has settled")


def test_the_beginning_of_an_id_that_is_confirmed_is_refused_with_what_it_is(
    ask: Ask, fresh_database: str
) -> None:
    restore(fresh_database, RECORD, RELEASE)
    ask("projections", "rebuild")
    code, told = ask("actions", "settle", KEY, "--applied", "--actor", "ines", "--reason", "seen")
    assert (code, _error(told)["code"]) == (1, "not_in_doubt")
    assert "confirmed" in str(_error(told)["what"])


def test_cancelling_says_what_stays_in_doubt_and_it_can_be_settled(
    ask: Ask, say: Say, fresh_database: str
) -> None:
    """While an attempt that nobody heard of may have been applied, nobody must be told that it stays unsent."""
    restore(fresh_database, RECORD, RELEASE, facts=UNTIL_AUTHORISED, runs=True)
    database = Database(fresh_database, "interlock_worker", size=1)
    store = PostgresqlStore(database, SystemClock())
    recorder = Recorder(store, PostgresqlReleases(database, shipped_tools()), SilentCarrier())
    facts: tuple[AnyFact, ...] = (
        DeliveryStarted(action_id=KEY, attempt=1),
        DeliveryRetried(action_id=KEY, attempt=1, reason="timed_out", ambiguous=True),
    )
    recorder.record([Work("demo", ORCHESTRATION, None, lambda _: Plan(facts))])
    database.close()
    say("projections", "rebuild")
    dry = ask("runs", "cancel", ORCHESTRATION, "--actor", "ines", "--reason", "no need", "--dry-run")[1]
    assert (dry["in_doubt"], dry["stays_unsent"]) == ([ACTION.name], [])
    told = say("runs", "cancel", ORCHESTRATION, "--actor", "ines", "--reason", "no need")[1]
    assert f"Action {ACTION.name} may have been applied, and is in doubt" in told
    assert _ids(ask("actions", "list", "--state", "in_doubt")) == [KEY]
    shown = say("actions", "show", KEY)[1]
    assert "--not-applied" in shown
    assert "ines cancelled the orchestration: nothing is sent or asked" in shown
    code, settled = ask("actions", "settle", KEY, "--applied", "--actor", "otto", "--reason", "it is there")
    assert (code, settled["orchestration_status"]) == (0, "cancelled")
    assert ask("runs", "verify", ORCHESTRATION)[0] == 0


def test_a_person_settles_and_cancels_while_no_service_runs(home: Path) -> None:
    """The commands start the run folder's database for themselves, and end it again."""
    with EmbeddedServers(home, durable=False, redis=False) as servers:
        upgrade(servers.database_url)
        put_in_doubt(servers.database_url)
    assert "is settled: it was not applied" in _run(
        home, "actions", "settle", KEY, "--not-applied", "--actor", "ines", "--reason", "seen"
    )
    refused = _run(home, "runs", "cancel", ORCHESTRATION, "--actor", "ines", "--reason", "seen", code=1)
    assert "has ended already: dead_lettered" in refused


def _run(home: Path, *arguments: str, code: int = 0) -> str:
    environment = {"INTERLOCK_HOME": str(home), "PATH": "/usr/bin:/bin", "COLUMNS": "200"}
    if arguments[0] == "actions":
        rebuilt = subprocess.run(
            [sys.executable, "-m", "app", "projections", "rebuild"],
            cwd=CHECKOUT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert rebuilt.returncode == 0, rebuilt.stderr
    ran = subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == code, ran.stderr
    return ran.stdout + ran.stderr


def _ids(answer: tuple[int, Json]) -> list[str]:
    code, told = answer
    assert code == 0, told
    return [row["action_id"] for row in told["actions"]]  # type: ignore[attr-defined]


def _error(told: Json) -> Json:
    error = told["error"]
    assert isinstance(error, dict)
    return error
