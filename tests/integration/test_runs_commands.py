"""``runs`` and ``projections`` over a real database that holds recorded histories."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from app.cli import main as command_line
from config import settings
from tests.recorded import HISTORIES, load, restore

Json = dict[str, object]
Ask = Callable[..., tuple[int, Json]]

PULL_REQUEST, _ = load(HISTORIES / "pull_request.json")
ISSUE, _ = load(HISTORIES / "issue.json")


@pytest.fixture
def ask(
    fresh_database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Ask]:
    """Runs a command with ``--json``; gives its exit code and what it printed (the error, if it failed)."""
    monkeypatch.setenv("INTERLOCK_DATABASE_URL", fresh_database)
    monkeypatch.setenv("INTERLOCK_HOME", str(tmp_path))
    settings.load.cache_clear()

    def run(*arguments: str) -> tuple[int, Json]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            command_line.main([*arguments, "--json"])
        said = capsys.readouterr()
        printed = said.out.strip() or said.err.strip().splitlines()[-1]
        return int(ended.value.code or 0), json.loads(printed)

    yield run
    settings.load.cache_clear()


@pytest.fixture
def two_runs(fresh_database: str) -> str:
    """A database with two orchestrations that are completed; its read models are empty."""
    restore(fresh_database, *load(HISTORIES / "pull_request.json"))
    restore(fresh_database, *load(HISTORIES / "issue.json"))
    return fresh_database


def test_an_empty_database_is_no_error(ask: Ask) -> None:
    """Empty states are clear."""
    assert ask("runs", "list") == (0, {"runs": []})
    assert ask("runs", "verify", "--all")[1]["verified"] == 0
    assert ask("projections", "rebuild")[1]["identical"] is True


def test_runs_are_listed_by_state_and_workflow_page_by_page(ask: Ask, two_runs: str) -> None:
    """Keyset paging: the next page begins behind the last row, whatever was added meanwhile."""
    assert len(_rows(ask("runs", "list", "--state", "completed", "--workflow", "issue-triage"))) == 2
    assert _rows(ask("runs", "list", "--state", "failed")) == []
    assert _rows(ask("runs", "list", "--workflow", "ci-failure")) == []
    assert _rows(ask("runs", "list", "--tenant", "other")) == []
    first = _rows(ask("runs", "list", "--limit", "1"))
    second = _rows(ask("runs", "list", "--limit", "1", "--before", first[0]))
    assert {*first, *second} == {PULL_REQUEST.orchestration_id, ISSUE.orchestration_id}
    assert _rows(ask("runs", "list", "--before", second[0])) == []


def test_a_state_that_does_not_exist_is_refused(ask: Ask) -> None:
    """A misspelling is no empty list."""
    assert ask("runs", "list", "--state", "done")[0] == 1


def test_a_run_is_found_by_the_beginning_of_its_id(ask: Ask, two_runs: str) -> None:
    """Eight characters or more, with or without the prefix."""
    whole = ISSUE.orchestration_id
    for name in (whole, whole[:12], whole.removeprefix("orc_")[:8]):
        code, told = ask("runs", "explain", name)
        assert (code, told["orchestration_id"]) == (0, whole)


@pytest.mark.parametrize("name", ["orc_0", "orc_ffffffffffffffff", "orc_%", "'; DROP TABLE x"])
def test_an_id_that_does_not_exist_is_a_clear_error(ask: Ask, two_runs: str, name: str) -> None:
    """Never a stack trace, never somebody else's run."""
    code, told = ask("runs", "show", name)

    assert code == 1
    assert _error(told)["code"] == "unknown_orchestration"


def test_verify_matches_and_finds_the_first_difference(ask: Ask, two_runs: str) -> None:
    """Exit code 1 is what a nightly job looks at."""
    assert ask("runs", "verify", ISSUE.orchestration_id)[0] == 0
    assert ask("runs", "verify", "--all")[1]["matches"] == 2
    with psycopg.connect(two_runs) as connection:
        connection.execute("DELETE FROM journal WHERE chain_id = %s AND seq = 5", [ISSUE.orchestration_id])

    code, told = ask("runs", "verify", "--all")

    assert (code, told["verified"], told["matches"]) == (1, 2, 1)
    (found,) = _list(told["differences"])
    assert isinstance(found, dict)
    assert found["difference"]["place"] == f"{ISSUE.orchestration_id} #5"


def test_dropped_read_models_are_rebuilt_to_identical_rows(ask: Ask, two_runs: str) -> None:
    """The journals are the truth; the read models can be dropped."""
    assert ask("projections", "rebuild")[1]["identical"] is False
    before = _read_models(two_runs)
    assert len(before) > 2
    with psycopg.connect(two_runs) as connection:
        connection.execute("TRUNCATE decisions, actions")

    dry = ask("projections", "rebuild", "--dry-run")[1]
    assert len(_list(dry["missing"])) == len(before)
    assert _read_models(two_runs) == []
    ask("projections", "rebuild")

    assert _read_models(two_runs) == before
    assert ask("projections", "rebuild")[1]["identical"] is True


def test_rows_that_differ_or_belong_to_nothing_are_reported_and_replaced(ask: Ask, two_runs: str) -> None:
    """A read model that somebody edited."""
    ask("projections", "rebuild")
    before = _read_models(two_runs)
    with psycopg.connect(two_runs) as connection:
        connection.execute("UPDATE decisions SET degraded = NOT degraded")
        connection.execute("INSERT INTO decisions VALUES ('orc_stray', 'demo', '', '', false, 0, '')")

    told = ask("projections", "rebuild")[1]

    assert len(_list(told["differing"])) == 2
    assert told["extra"] == ["orc_stray"]
    assert _read_models(two_runs) == before


def test_cancelling_ends_a_run_and_withdraws_its_open_steps(ask: Ask, fresh_database: str) -> None:
    """What is unsent stays unsent; the reason's words are content, the fact holds their digest."""
    record, release = load(HISTORIES / "issue.json")
    restore(fresh_database, record, release, facts=3)
    _open_step(fresh_database, record.orchestration_id)
    name, why = record.orchestration_id, ("--actor", "ines", "--reason", "opened by mistake")

    dry = ask("runs", "cancel", name, *why, "--dry-run")[1]
    assert (dry["status"], dry["withdrawn_steps"]) == ("running", ["run_open"])
    assert ask("runs", "cancel", name, "--actor", "ines")[0] == 1
    assert ask("runs", "cancel", name, *why) == (0, {**dry, "status": "cancelled", "dry_run": False})

    told = ask("runs", "explain", name)[1]
    assert (told["status"], told["ended_because"]) == ("cancelled", "cancelled by ines")
    assert ask("runs", "verify", name)[0] == 0
    with psycopg.connect(fresh_database) as connection:
        assert connection.execute("SELECT count(*) FROM work_index WHERE finished_at IS NULL").fetchone() == (
            0,
        )
        kept = connection.execute("SELECT count(*) FROM payloads WHERE body LIKE '%opened by mistake%'")
        assert kept.fetchone() == (1,)


def test_a_run_that_has_ended_cannot_be_cancelled(ask: Ask, two_runs: str) -> None:
    """A clear refusal, and nothing recorded."""
    code, told = ask("runs", "cancel", ISSUE.orchestration_id, "--actor", "ines", "--reason", "too late")

    assert code == 1
    assert _error(told)["code"] == "not_cancellable"
    assert ask("runs", "verify", ISSUE.orchestration_id)[0] == 0


def _rows(answer: tuple[int, Json]) -> list[str]:
    code, told = answer
    assert code == 0, told
    return [row["orchestration_id"] for row in told["runs"]]  # type: ignore[attr-defined]


def _error(told: Json) -> Json:
    error = told["error"]
    assert isinstance(error, dict)
    return error


def _list(value: object) -> list[object]:
    assert isinstance(value, list)
    return value


def _read_models(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT d::text FROM decisions d UNION ALL SELECT a::text FROM actions a ORDER BY 1"
        )
        return [row[0] for row in found]


def _open_step(url: str, orchestration_id: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO work_index (step_id, tenant_id, orchestration_id, queue, stage, subject, due_at,"
            " lease_seconds) VALUES ('run_open', 'demo', %s, 'agent_runs', 'classify', 'classifier', now(), 30)",
            [orchestration_id],
        )
