"""``dead-letters list`` and ``show`` over a real database: what an on-call sees first."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from app.adapters.postgresql.database import Database
from app.adapters.postgresql.dead_letter_reading import DeadLetterFilter, DeadLetterReading, page_query
from app.adapters.postgresql.store import PostgresqlStore
from app.cli import main as command_line
from app.data_plane.dead_letters.letters import NO_TENANT, Cause, DeadLetterRow, State, dead_letter_id
from app.kernel.clock import SystemClock, to_text
from app.kernel.errors import Fate
from config import settings

Json = dict[str, object]
Ask = Callable[..., tuple[int, str]]

NOW = datetime.now(UTC)


@pytest.fixture
def ask(
    fresh_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Ask]:
    """Runs a command of ``dead-letters``; gives its exit code and what it printed (the error, if it failed)."""
    monkeypatch.setenv("INTERLOCK_DATABASE_URL", fresh_database)
    monkeypatch.setenv("INTERLOCK_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "80")
    settings.load.cache_clear()

    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            command_line.main(["dead-letters", *arguments])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out.strip() or said.err.strip()

    yield run
    settings.load.cache_clear()


def letter(subject: str, minutes_ago: int, **more: object) -> DeadLetterRow:
    """A row that gave up so long ago."""
    at = to_text(NOW - timedelta(minutes=minutes_ago))
    cause = more.get("cause", Cause.FAILED_STEP)
    assert isinstance(cause, Cause)
    row = DeadLetterRow(
        dead_letter_id=dead_letter_id(subject, cause),
        tenant_id="demo",
        event_id="event-7",
        orchestration_id="orc_" + "1" * 32,
        run_id="run_" + "2" * 32,
        workflow="issue-triage",
        step_id="run_" + "2" * 32,
        queue="agent_runs",
        cause=cause,
        code="provider_failed",
        fate=Fate.TRANSIENT,
        what="A step of agent_runs gave up after 5 attempts: provider_failed.",
        remedy="Look at `python -m app dead-letters plan dlr_1`, then replay it.",
        first_at=at,
        last_at=at,
    )
    return replace(row, **more)  # type: ignore[arg-type]


STEP = letter("a", 5)
DELIVERY = letter("b", 90, cause=Cause.FAILED_DELIVERY, code="http_422", queue="dispatch", run_id="")
MESSAGE = letter(
    "c",
    3000,
    cause=Cause.UNDECODABLE_MESSAGE,
    code="not_a_message",
    queue="ingestion",
    tenant_id=NO_TENANT,
    workflow="",
    event_id="",
    orchestration_id="",
    run_id="",
    step_id="",
    message_digest="ab" * 32,
)
DONE = letter("d", 10, state="replayed", workflow="ci-failure", times=3)
ELSEWHERE = letter("e", 20, tenant_id="other")


@pytest.fixture
def filled(fresh_database: str) -> str:
    """A database with these dead letters of two tenants and of nobody."""
    with psycopg.connect(fresh_database) as connection:
        for tenant in ("demo", "other"):
            connection.execute(
                "INSERT INTO tenants (tenant_id, version, digest, document) VALUES (%s, 1, '', '{}')",
                [tenant],
            )
    database = Database(fresh_database, "interlock_worker")
    PostgresqlStore(database, SystemClock()).report([STEP, DELIVERY, MESSAGE, DONE, ELSEWHERE])
    database.close()
    return fresh_database


def listed(answer: tuple[int, str]) -> list[str]:
    """The ids of a list, in its order."""
    code, printed = answer
    assert code == 0, printed
    return [row["dead_letter_id"] for row in json.loads(printed)["dead_letters"]]


def ids(*rows: DeadLetterRow) -> list[str]:
    return [row.dead_letter_id for row in rows]


class TestList:
    """What gave up last comes first; without a word, what is open."""

    def test_an_empty_list_says_so(self, ask: Ask) -> None:
        assert ask("list") == (0, "There is no open dead letter.")
        assert ask("list", "--code", "http_422") == (0, "There is no open dead letter like that.")
        assert ask("list", "--state", "any") == (0, "There is no dead letter.")
        assert listed(ask("list", "--json")) == []

    def test_the_open_ones_of_every_tenant_and_of_nobody(self, ask: Ask, filled: str) -> None:
        assert listed(ask("list", "--json")) == ids(STEP, ELSEWHERE, DELIVERY, MESSAGE)

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            (("--state", "any"), (STEP, DONE, ELSEWHERE, DELIVERY, MESSAGE)),
            (("--state", "replayed"), (DONE,)),
            (("--queue", "dispatch"), (DELIVERY,)),
            (("--cause", "undecodable_message"), (MESSAGE,)),
            (("--code", "http_422"), (DELIVERY,)),
            (("--workflow", "ci-failure", "--state", "any"), (DONE,)),
            (("--tenant", "other"), (ELSEWHERE,)),
            (("--tenant", "-"), (MESSAGE,)),
            (("--since", "1h"), (STEP, ELSEWHERE)),
            (("--since", "2d", "--tenant", "demo"), (STEP, DELIVERY)),
            (("--since", to_text(NOW - timedelta(minutes=15))), (STEP,)),
        ],
    )
    def test_every_filter_narrows_it(
        self, ask: Ask, filled: str, options: tuple[str, ...], expected: tuple[DeadLetterRow, ...]
    ) -> None:
        assert listed(ask("list", *options, "--json")) == ids(*expected)

    def test_pages_begin_behind_the_last_row(self, ask: Ask, filled: str) -> None:
        whole = listed(ask("list", "--json"))
        pages: list[str] = []
        while page := listed(
            ask("list", "--limit", "1", "--json", *(("--before", pages[-1]) if pages else ()))
        ):
            pages += page
        assert pages == whole

    @pytest.mark.parametrize(
        "options",
        [
            ("--state", "closed"),
            ("--queue", "mail"),
            ("--cause", "bad_luck"),
            ("--since", "yesterday"),
            ("--since", "2026-01-01T00:00:00"),
            ("--tenant", ""),
        ],
    )
    def test_a_value_that_cannot_be_is_refused_and_the_choices_are_named(
        self, ask: Ask, options: tuple[str, ...]
    ) -> None:
        """A misspelling is no empty list."""
        code, told = ask("list", *options, "--json")
        assert code == 1
        assert json.loads(told)["error"]["code"] == "invalid_argument"

    @pytest.mark.parametrize("state", ["open", "any"])
    def test_a_list_is_readable_at_80_columns(self, ask: Ask, filled: str, state: str) -> None:
        """Nothing is cut or broken: every cell stands whole on one line."""
        _, printed = ask("list", "--state", state)
        lines = printed.splitlines()
        assert max(map(len, lines)) <= 80
        assert sum("dlr_" in line for line in lines) == (4 if state == "open" else 5)
        assert "undecodable_message" in printed
        assert "…" not in printed


class TestShow:
    """One dead letter: what gave up, why, and what to do."""

    def test_it_is_found_by_the_beginning_of_its_id(self, ask: Ask, filled: str) -> None:
        whole = STEP.dead_letter_id
        for name in (whole, whole[:12], whole.removeprefix("dlr_")[:8]):
            code, printed = ask("show", name, "--json")
            shown = json.loads(printed)
            assert (code, shown["dead_letter_id"], shown["cause"]) == (0, whole, "failed_step")
            assert (shown["orchestration_id"], shown["times"]) == (STEP.orchestration_id, 1)

    def test_a_person_reads_what_failed_and_what_to_do(self, ask: Ask, filled: str) -> None:
        code, printed = ask("show", STEP.dead_letter_id)
        assert code == 0
        for words in (STEP.what, STEP.remedy, STEP.orchestration_id, "event-7", "issue-triage"):
            assert words in printed
        _, message = ask("show", MESSAGE.dead_letter_id)
        assert "not known" in message
        assert "SHA-256 " + "ab" * 32 in message

    @pytest.mark.parametrize("name", ["dlr_0", "dlr_ffffffffffffffff", "dlr_%%%%%%%%", "'; DROP TABLE x"])
    def test_an_id_that_does_not_exist_is_a_clear_error(self, ask: Ask, filled: str, name: str) -> None:
        code, told = ask("show", name, "--json")
        assert code == 1
        assert json.loads(told)["error"]["code"] == "unknown_dead_letter"


class TestSettle:
    """A message's content is not kept: a person says that nothing is to be done, or it stays open for ever."""

    WHO = ("--actor", "ines", "--reason", "a misconfigured producer, corrected")

    def test_a_settled_message_says_by_whom_and_why(self, ask: Ask, filled: str) -> None:
        name = MESSAGE.dead_letter_id
        dry = json.loads(ask("settle", name, *self.WHO, "--dry-run", "--json")[1])
        assert dry == {"settled": [name], "dry_run": True}
        assert name in listed(ask("list", "--json"))
        assert ask("settle", name, *self.WHO) == (0, f"{name} is settled.")
        assert name not in listed(ask("list", "--json"))
        shown = ask("show", name)[1]
        assert "settled" in shown
        assert "by ines: a misconfigured producer, corrected" in shown
        assert json.loads(ask("settle", name, *self.WHO, "--json")[1])["error"]["code"] == "not_settleable"

    def test_nobodys_word_closes_what_a_journal_says(self, ask: Ask, filled: str) -> None:
        code, told = ask("settle", STEP.dead_letter_id, *self.WHO, "--json")
        assert code == 1
        assert json.loads(told)["error"]["code"] == "not_settleable"
        assert f"dead-letters plan {STEP.dead_letter_id}" in json.loads(told)["error"]["remedy"]

    def test_many_are_settled_by_filter_and_only_those_of_messages(self, ask: Ask, filled: str) -> None:
        others = ("settle", "--all", "--cause", "unknown_task", *self.WHO)
        assert ask(*others) == (0, "There is no open dead letter of a message like that.")
        told = json.loads(ask("settle", "--all", *self.WHO, "--json")[1])
        assert told == {"settled": [MESSAGE.dead_letter_id], "dry_run": False}
        assert listed(ask("list", "--json")) == ids(STEP, ELSEWHERE, DELIVERY)

    @pytest.mark.parametrize(
        ("options", "code"),
        [
            ((), "invalid_argument"),
            ((MESSAGE.dead_letter_id, "--all"), "invalid_argument"),
            ((MESSAGE.dead_letter_id, "--actor", "ines"), "unexplained_change"),
            ((MESSAGE.dead_letter_id, "--reason", "why"), "unexplained_change"),
            ((MESSAGE.dead_letter_id, "--actor", "ines", "--reason", "w" * 5000), "unexplained_change"),
        ],
    )
    def test_it_needs_to_be_said_what_by_whom_and_why(
        self, ask: Ask, filled: str, options: tuple[str, ...], code: str
    ) -> None:
        assert json.loads(ask("settle", *options, "--json")[1])["error"]["code"] == code
        assert MESSAGE.dead_letter_id in listed(ask("list", "--json"))


class TestFilter:
    """The filter that bulk replays take too."""

    def test_all_are_read_batch_by_batch_and_counted(
        self, filled: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.adapters.postgresql.dead_letter_reading.BATCH", 2)
        database = Database(filled, "interlock_api")
        reading = DeadLetterReading(database)
        state: State = "open"
        wanted = DeadLetterFilter(state=state, since=NOW - timedelta(days=1))
        assert ids(*reading.all(wanted)) == ids(STEP, ELSEWHERE, DELIVERY)
        assert reading.count(wanted) == 3
        assert reading.count(DeadLetterFilter()) == 5
        database.close()

    def test_an_open_page_is_read_from_its_index(self, filled: str) -> None:
        """A page is as quick among a million closed rows: it is found in the index over open ones, and not sorted."""
        database = Database(filled, "interlock_api")
        query, values = page_query(DeadLetterFilter(state="open", code="http_422"), STEP)
        with database.transaction(["demo"]) as connection:
            plan = connection.execute(f"EXPLAIN {query}", [["demo"], *values, 20, 20]).fetchall()
        assert "Index Only Scan Backward using dead_letters_open" in str(plan)
        database.close()
