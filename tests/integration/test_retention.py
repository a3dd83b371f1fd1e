"""Retention over a real database: what is closed long enough goes into an archive, what is open stays to the byte."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app.adapters.anchor_file import AnchorFolder, AnchorsAsOfNow
from app.adapters.archive_file import BrokenArchiveError, read_archive
from app.adapters.postgresql import retention as retaining
from app.adapters.postgresql.database import Database
from app.adapters.postgresql.fact_counts import FactCounts
from app.adapters.postgresql.store import PostgresqlStore
from app.cli import main as command_line
from app.data_plane.audit.anchors import Entry, Written
from app.data_plane.ports import AcceptedEvent, Outcome
from app.data_plane.replay.record import Record
from app.data_plane.retention import retention as retention_module
from app.kernel.clock import SystemClock
from app.telemetry import metric_names
from config import settings
from interlock.canonical import digest_bytes
from tests.accepted_events import accepted_event
from tests.cloned_histories import Past, clone, put, put_tenants
from tests.eventually import assert_eventually
from tests.independent_verifier import first_bad
from tests.recorded import HISTORIES, load, restore

Json = dict[str, Any]
Ask = Callable[..., tuple[int, Json]]

OLD = [clone(number) for number in range(6)]
YOUNG = [clone(number) for number in range(10, 12)]
OPEN, _ = load(HISTORIES / "pull_request.json")
TABLES = (
    "orchestrations",
    "journal",
    "decisions",
    "actions",
    "work_index",
    "dead_letters",
    "replays",
    "payloads",
    "events",
    "spans",
)
DEAD_LETTER = (
    "INSERT INTO dead_letters (dead_letter_id, tenant_id, event_id, orchestration_id, run_id, workflow, step_id,"
    " queue, cause, code, fate, what, remedy, state, first_at, last_at)"
)
SPAN = "INSERT INTO spans SELECT '', '', '', 'demo', '', %s, '', '', '', '', 0, 0, 'ok', '', '{}', '[]', '[]'"
FACTS = len(OLD[0].chain) + sum(map(len, OLD[0].runs.values()))


@pytest.fixture
def ask(
    fresh_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
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
        return int(ended.value.code or 0), json.loads(said.out.strip() or said.err.strip().splitlines()[-1])

    yield run
    settings.load.cache_clear()


@pytest.fixture
def past(fresh_database: str, ask: Ask) -> str:
    """Six orchestrations that were closed 40 days ago, two that were yesterday, one that is open; all anchored."""
    put_tenants(fresh_database)
    put(fresh_database, [Past(one, timedelta(days=40)) for one in OLD])
    put(fresh_database, [Past(one, timedelta(days=1)) for one in YOUNG])
    restore(fresh_database, *load(HISTORIES / "pull_request.json"), facts=3)
    for name in ids_of([*OLD, *YOUNG, OPEN]):
        run_sql(fresh_database, SPAN, [name])
    ask("audit", "anchor")
    return fresh_database


def rows_of(url: str, ids: Sequence[str] | None = None) -> dict[str, list[str]]:
    """Every row of every table, or those of these orchestrations; events and contents are never of one."""
    with psycopg.connect(url) as connection:
        found = {}
        for table in TABLES:
            rows = connection.execute(f"SELECT to_jsonb({table}) FROM {table}").fetchall()
            found[table] = sorted(json.dumps(row[0], sort_keys=True) for row in rows)
    if ids is None:
        return found
    chains = {*ids, *(run for one in [*OLD, *YOUNG] if one.orchestration_id in ids for run in one.runs)}
    return {
        table: [row for row in rows if any(f'"{name}"' in row for name in chains)]
        for table, rows in found.items()
    }


def without(rows: dict[str, list[str]], gone: dict[str, list[str]]) -> dict[str, list[str]]:
    return {table: [row for row in listed if row not in gone[table]] for table, listed in rows.items()}


def ids_of(records: Sequence[Record]) -> list[str]:
    return [one.orchestration_id for one in records]


def run_sql(url: str, statement: str, parameters: Sequence[object] = ()) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(statement, parameters)


def archived(folder: Path) -> dict[str, Any]:
    """What all archives hold, by orchestration."""
    return {
        kept.orchestration_id: kept for path in sorted(folder.glob("*.gz")) for kept in read_archive(path)
    }


class TestRemoving:
    """Whole orchestrations go, after they are archived; everything else stays as it was."""

    def test_what_was_closed_long_ago_goes_and_every_other_row_stays_to_the_byte(
        self, ask: Ask, past: str, tmp_path: Path
    ) -> None:
        before, gone = rows_of(past), rows_of(past, ids_of(OLD))
        assert all(
            gone[table]
            for table in ("orchestrations", "journal", "decisions", "actions", "work_index", "spans")
        )
        assert gone["events"] == []

        code, told = ask("retention", "--older-than", "30d", "--batch", "4")

        assert (code, told["removed"]["orchestrations"], told["removed"]["facts"]) == (0, 6, 6 * FACTS)
        assert told["batches"] == 2
        assert rows_of(past) == without(before, gone)
        assert sorted(archived(tmp_path / "archive")) == sorted(ids_of(OLD))
        assert ask("retention", "--older-than", "30d")[1]["removed"]["orchestrations"] == 0

    def test_a_dry_run_tells_the_same_and_changes_nothing(self, ask: Ask, past: str, tmp_path: Path) -> None:
        before = rows_of(past)

        dry = ask("retention", "--older-than", "30d", "--dry-run")[1]

        assert rows_of(past) == before
        assert not (tmp_path / "archive").exists()
        done = ask("retention", "--older-than", "30d")[1]
        assert dry["removed"] == done["removed"]
        assert (dry["dry_run"], dry["stays"], done["stays"]) == (True, {}, {})

    def test_afterwards_the_record_verifies_and_nothing_removed_is_named(
        self, ask: Ask, past: str, tmp_path: Path
    ) -> None:
        """By both verifiers; and what somebody else removes is still named."""
        ask("retention", "--older-than", "30d", "--batch", "4")

        code, told = ask("audit", "verify")
        assert (code, told["orchestrations"]) == (0, 3)
        assert told["anchors"]["removed_chains"] == 6 * (1 + len(OLD[0].runs))
        assert first_bad(past, tmp_path / "anchors") is None

        victim = YOUNG[0]
        run_sql(
            past, "DELETE FROM journal WHERE chain_id = ANY(%s)", [[victim.orchestration_id, *victim.runs]]
        )
        run_sql(past, "DELETE FROM orchestrations WHERE orchestration_id = %s", [victim.orchestration_id])
        code, told = ask("audit", "verify")
        assert (code, told["first"]["chain"]) == (1, victim.orchestration_id)
        assert first_bad(past, tmp_path / "anchors") == (victim.orchestration_id, 0)

    def test_what_is_removed_during_a_verification_is_not_missed(
        self, ask: Ask, past: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The anchors are read first; what goes before the database is read, they say later."""
        real = AnchorFolder.as_of_now

        def then_remove(self: AnchorFolder) -> AnchorsAsOfNow:
            before = real(self)
            with pytest.raises(SystemExit):
                command_line.main(["retention", "--older-than", "30d", "--json"])
            return before

        monkeypatch.setattr(AnchorFolder, "as_of_now", then_remove)

        with pytest.raises(SystemExit) as ended:
            command_line.main(["audit", "verify"])
        assert ended.value.code == 0
        assert len(archived(tmp_path / "archive")) == 6

    def test_a_redelivered_event_stays_a_duplicate_for_ever(self, ask: Ask, fresh_database: str) -> None:
        """Also one that names its workflow; other data under its id stay refused."""
        put_tenants(fresh_database)
        event = accepted_event("1")
        database = Database(fresh_database, "interlock_worker")
        store = PostgresqlStore(database, SystemClock())
        store.accept([event])
        run_sql(fresh_database, "UPDATE work_index SET finished_at = now()")
        run_sql(
            fresh_database,
            "UPDATE orchestrations SET status = 'completed', closed_at = now() - interval '31 days'",
        )
        assert ask("retention", "--older-than", "30d")[1]["removed"]["orchestrations"] == 1

        (again,) = store.accept([event])
        (other,) = store.accept([accepted_event("1", title="another")])
        database.close()

        assert (again.outcome, again.orchestration_ids, again.removed) == (Outcome.DUPLICATE, (), True)
        assert other.outcome is Outcome.CONFLICT
        assert rows_of(fresh_database)["orchestrations"] == []

    def test_an_empty_database_has_nothing_to_remove(self, ask: Ask, fresh_database: str) -> None:
        for arguments in ((), ("--dry-run",)):
            code, told = ask("retention", "--older-than", "0d", *arguments)
            assert (code, told["removed"]) == (0, {"orchestrations": 0, "facts": 0, "contents": 0})

    @pytest.mark.parametrize("age", ["30x", "d", "", "-1d", "1.5d", "999999999w", "30 d"])
    def test_an_age_that_is_none_is_refused_in_words(self, ask: Ask, age: str) -> None:
        code, told = ask("retention", f"--older-than={age}")
        assert (code, told["error"]["code"]) == (1, "invalid_age")
        assert "30d" in told["error"]["remedy"]


class TestStaying:
    """Nothing that somebody may still need goes."""

    @pytest.mark.parametrize(
        ("reason", "statement"),
        [
            (
                "step",
                "INSERT INTO work_index (step_id, tenant_id, orchestration_id, queue, stage, subject, due_at,"
                " lease_seconds) VALUES ('run_x', 'demo', %s, 'agent_runs', '', '', now(), 30)",
            ),
            (
                "replay",
                "INSERT INTO replays (replay_id, tenant_id, orchestration_id, dead_letter_id, mode, release, actor,"
                " reason_digest, plan_digest, state) VALUES ('rep_1', 'demo', %s, '', 'rerun', '', '', '', '',"
                " 'requested')",
            ),
            ("doubt", "UPDATE actions SET state = 'in_doubt' WHERE orchestration_id = %s"),
            (
                "dead_letter",
                f"{DEAD_LETTER} VALUES ('dl_1', 'demo', '', %s, '', '', '', '', '', '', 'permanent', '', '', 'open',"
                " now(), now())",
            ),
            (
                "event",
                "INSERT INTO orchestrations (orchestration_id, tenant_id, source, event_id, event_type, workflow,"
                " lane, ordinal, release, channel, status, head_seq, head_hash) SELECT 'orc_rerun', tenant_id,"
                " source, event_id, event_type, workflow, 'rerun', 1, release, channel, 'running', 0, ''"
                " FROM orchestrations WHERE orchestration_id = %s",
            ),
        ],
        ids=lambda value: value if " " not in value else "",
    )
    def test_an_orchestration_with_something_open_stays_and_it_is_told_why(
        self, ask: Ask, past: str, reason: str, statement: str
    ) -> None:
        run_sql(past, statement, [OLD[2].orchestration_id])
        mine = rows_of(past, [OLD[2].orchestration_id])

        dry = ask("retention", "--older-than", "30d", "--dry-run")[1]
        told = ask("retention", "--older-than", "30d")[1]

        assert (told["removed"]["orchestrations"], told["stays"]) == (5, {reason: 1})
        assert (dry["removed"]["orchestrations"], dry["stays"]) == (5, {reason: 1})
        assert rows_of(past, [OLD[2].orchestration_id]) == mine

    def test_an_open_dead_letter_goes_with_its_orchestration_when_that_is_wanted(
        self, ask: Ask, past: str, tmp_path: Path
    ) -> None:
        """One that was settled or replayed goes anyway, and both are in the archive."""
        for number, state in enumerate(("open", "replayed")):
            run_sql(
                past,
                f"{DEAD_LETTER} VALUES (%s, 'demo', '', %s, '', '', '', '', '', '', 'permanent', '', '', %s, now(),"
                " now())",
                [f"dl_{number}", OLD[number].orchestration_id, state],
            )
        assert ask("retention", "--older-than", "30d")[1]["removed"]["orchestrations"] == 5
        assert (
            ask("retention", "--older-than", "30d", "--open-dead-letters")[1]["removed"]["orchestrations"]
            == 1
        )
        assert rows_of(past)["dead_letters"] == []
        kept = archived(tmp_path / "archive")
        assert [kept[OLD[n].orchestration_id].rows["dead_letters"][0]["state"] for n in (0, 1)] == [
            "open",
            "replayed",
        ]

    def test_the_orchestrations_of_one_event_go_together(self, ask: Ask, past: str) -> None:
        """A rerun's number counts the reruns that are there: were one gone alone, its ids would be given again."""
        run_sql(
            past,
            "UPDATE orchestrations SET (source, event_id) ="
            " (SELECT source, event_id FROM orchestrations WHERE orchestration_id = %s) WHERE orchestration_id = %s",
            [YOUNG[0].orchestration_id, OLD[0].orchestration_id],
        )
        run_sql(
            past,
            "UPDATE orchestrations SET (source, event_id) ="
            " (SELECT source, event_id FROM orchestrations WHERE orchestration_id = %s) WHERE orchestration_id = %s",
            [OLD[1].orchestration_id, OLD[2].orchestration_id],
        )

        told = ask("retention", "--older-than", "30d", "--batch", "1")[1]

        assert told["stays"] == {"event": 1}
        assert told["removed"]["orchestrations"] == 5
        left = {json.loads(row)["orchestration_id"] for row in rows_of(past)["orchestrations"]}
        assert left == {OLD[0].orchestration_id, *ids_of(YOUNG), OPEN.orchestration_id}

    def test_a_record_that_is_not_whole_stays_as_evidence(self, ask: Ask, past: str) -> None:
        """Retention would be a way to be rid of it."""
        one = OLD[3].orchestration_id
        run_sql(past, "UPDATE journal SET body = body || ' ' WHERE chain_id = %s AND seq = 4", [one])
        mine = rows_of(past, [one])

        code, told = ask("retention", "--older-than", "30d")

        assert (code, told["stays"], told["removed"]["orchestrations"]) == (1, {"fault": 1}, 5)
        assert (told["faults"][0]["chain"], told["faults"][0]["seq"]) == (one, 4)
        assert rows_of(past, [one]) == mine

    def test_what_somebody_is_writing_is_passed_over_and_nobody_waits(self, ask: Ask, past: str) -> None:
        """A person resumes one at this moment: retention takes the others, and is not waited for either."""
        with psycopg.connect(past) as writer:
            writer.execute(
                "SELECT FROM orchestrations WHERE orchestration_id = %s FOR UPDATE", [OLD[1].orchestration_id]
            )
            told = ask("retention", "--older-than", "30d")[1]
            assert (told["stays"], told["removed"]["orchestrations"]) == ({"written": 1}, 5)

        assert ask("retention", "--older-than", "30d")[1]["removed"]["orchestrations"] == 1


class TestCrashing:
    """An archive too many, never one too few."""

    def test_a_crash_between_archiving_and_removing_has_it_archived_again(
        self, ask: Ask, past: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = rows_of(past)

        def crash(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(retaining.PostgresqlBatch, "remove", crash)
            with pytest.raises(SystemExit) as ended:
                command_line.main(["retention", "--older-than", "30d"])
        assert ended.value.code == 130
        assert rows_of(past) == before
        assert sorted(archived(tmp_path / "archive")) == sorted(ids_of(OLD))
        assert ask("audit", "verify")[0] == 0

        assert ask("retention", "--older-than", "30d")[1]["removed"]["orchestrations"] == 6
        assert sorted(archived(tmp_path / "archive")) == sorted(ids_of(OLD))
        assert ask("audit", "verify")[0] == 0

    def test_a_crash_after_the_anchors_were_told_is_no_fault_either(
        self, ask: Ask, past: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """They say that it was removed, and it is there: it is compared as ever."""

        class Crashing(AnchorFolder):
            def append(self, entries: Iterable[Entry]) -> Written:
                super().append(entries)
                raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr("app.cli.retention.AnchorFolder", Crashing)
            with pytest.raises(SystemExit):
                command_line.main(["retention", "--older-than", "30d"])

        assert ask("audit", "verify")[0] == 0
        run_sql(
            past,
            "UPDATE journal SET body = body || ' ' WHERE chain_id = %s AND seq = 4",
            [OLD[0].orchestration_id],
        )
        assert ask("audit", "verify")[1]["first"]["seq"] == 4

    def test_what_is_added_meanwhile_is_never_removed_unarchived(
        self, ask: Ask, past: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Nobody writes a closed orchestration without its head; somebody who does only has the batch done again."""
        real, added = retaining.PostgresqlBatch.remove, list[str]()

        def add_first(self: retaining.PostgresqlBatch, removed: retention_module.Removal) -> None:
            if not added:
                added.append("once")
                run_sql(
                    past,
                    f"{DEAD_LETTER} VALUES ('dl_late', 'demo', '', %s, '', '', '', '', '', '', 'permanent', '', '',"
                    " 'settled', now(), now())",
                    [OLD[0].orchestration_id],
                )
            real(self, removed)

        monkeypatch.setattr(retaining.PostgresqlBatch, "remove", add_first)

        assert ask("retention", "--older-than", "30d")[1]["removed"]["orchestrations"] == 6
        archives = (tmp_path / "archive").glob("*.gz")
        with_it = [one for path in archives for one in read_archive(path) if "dead_letters" in one.rows]
        assert [one.orchestration_id for one in with_it] == [OLD[0].orchestration_id]

    def test_two_at_once_do_not_work_against_each_other(self, ask: Ask, past: str) -> None:
        with psycopg.connect(past) as other:
            other.execute("SELECT pg_advisory_xact_lock(%s)", [retaining._RETAINING])
            code, told = ask("retention", "--older-than", "30d")
        assert (code, told["error"]["code"]) == (1, "conflict")


class TestArchives:
    """An archive is evidence: exact bytes, whose chains can be followed without the database."""

    def test_an_archive_holds_every_row_and_content_to_the_byte(
        self, ask: Ask, past: str, tmp_path: Path
    ) -> None:
        gone = rows_of(past, ids_of(OLD))

        ask("retention", "--older-than", "30d")

        kept = archived(tmp_path / "archive")
        for table in ("orchestrations", "decisions", "actions", "work_index"):
            held = [
                json.dumps(row, sort_keys=True) for one in kept.values() for row in one.rows.get(table, ())
            ]
            assert sorted(held) == gone[table]
        for record in OLD:
            one = kept[record.orchestration_id]
            chains = {record.orchestration_id: record.chain, **record.runs}
            expected = [
                (chain, seq, link.body, link.hash)
                for chain, links in sorted(chains.items())
                for seq, link in enumerate(links)
            ]
            assert [(row[0], row[1], row[3], row[4]) for row in one.facts] == expected
            assert one.contents == record.contents
            assert one.fault() is None

    @pytest.mark.parametrize("change", ["a fact", "a line less", "a line more", "cut off", "a content"])
    def test_an_archive_that_was_changed_is_no_evidence(
        self, ask: Ask, past: str, tmp_path: Path, change: str
    ) -> None:
        told = ask("retention", "--older-than", "30d")[1]
        path = tmp_path / "archive" / told["archives"][0]
        *lines, end = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
        first = json.loads(lines[0])
        if change == "a fact":
            fact = first["chains"][first["orchestration_id"]][3]
            fact["hash"] = sha256(b"").hexdigest()
        if change == "a content":
            name = next(iter(first["contents"]))
            first["contents"][name] = ""
        edited = {
            "a fact": [json.dumps(first).encode() + b"\n", *lines[1:], end],
            "a content": [json.dumps(first).encode() + b"\n", *lines[1:], end],
            "a line less": [*lines[1:], end],
            "a line more": [lines[0], *lines, end],
            "cut off": lines,
        }[change]
        path.write_bytes(gzip.compress(b"".join(edited)))

        with pytest.raises(BrokenArchiveError):
            list(read_archive(path))
        assert ask("audit", "archive", str(path))[0] == 1

    def test_a_command_reads_archives_back(self, ask: Ask, past: str, tmp_path: Path) -> None:
        ask("retention", "--older-than", "30d", "--batch", "4")

        code, told = ask("audit", "archive", str(tmp_path / "archive"))

        assert (code, told["files"], told["orchestrations"], told["facts"]) == (0, 2, 6, 6 * FACTS)


class TestContents:
    """Content is shared within a tenant: it goes when nothing that remains can name it."""

    def test_content_that_a_remaining_orchestration_names_stays(self, ask: Ask, past: str) -> None:
        """All clones name the same content, and the youngest was put yesterday."""
        before = rows_of(past)["payloads"]
        assert ask("retention", "--older-than", "30d")[1]["removed"]["contents"] == 0
        assert rows_of(past)["payloads"] == before

    def test_content_that_nothing_names_any_more_goes(self, ask: Ask, fresh_database: str) -> None:
        """What only the removed named; that of another tenant with an older orchestration stays."""
        put_tenants(fresh_database, ("demo", "other"))
        put(fresh_database, [Past(one, timedelta(days=40)) for one in OLD])
        put(fresh_database, [Past(clone(0, tenant="other"), timedelta(days=50))])
        run_sql(
            fresh_database,
            "INSERT INTO work_index (step_id, tenant_id, orchestration_id, queue, stage, subject, due_at,"
            " lease_seconds) VALUES ('run_x', 'other', %s, 'agent_runs', '', '', now(), 30)",
            [clone(0, tenant="other").orchestration_id],
        )
        dry = ask("retention", "--older-than", "30d", "--dry-run")[1]["removed"]

        removed = ask("retention", "--older-than", "30d", "--batch", "4")[1]["removed"]

        assert removed == dry
        assert (removed["orchestrations"], removed["contents"]) == (6, len(OLD[0].contents))
        left = [json.loads(row)["tenant_id"] for row in rows_of(fresh_database)["payloads"]]
        assert set(left) == {"other"}

    def test_content_that_is_put_again_has_a_new_date_once_a_day(self, fresh_database: str) -> None:
        """Old content that a new event names must not go with the orchestration that put it first."""
        put_tenants(fresh_database)
        database = Database(fresh_database, "interlock_worker")
        store = PostgresqlStore(database, SystemClock())
        first, second = accepted_event("1"), _same_content(accepted_event("1"), "2")
        store.accept([first])
        for age, renewed in (("2 hours", False), ("25 hours", True)):
            run_sql(fresh_database, "UPDATE payloads SET put_at = now() - %s::interval", [age])
            store.accept([second])
            with psycopg.connect(fresh_database) as connection:
                row = connection.execute(
                    "SELECT put_at > now() - interval '1 hour' FROM payloads WHERE digest = %s",
                    [bytes.fromhex(digest_bytes(first.normalised))],
                ).fetchone()
            assert row == (renewed,)
            second = _same_content(first, "3")
        database.close()

    def test_content_that_is_being_removed_is_put_again_by_whoever_needs_it(
        self, fresh_database: str
    ) -> None:
        """Retention has deleted it and not committed yet: the writer waits for that, and inserts it."""
        put_tenants(fresh_database)
        database = Database(fresh_database, "interlock_worker")
        store = PostgresqlStore(database, SystemClock())
        first, second = accepted_event("1"), _same_content(accepted_event("1"), "2")
        store.accept([first])
        run_sql(fresh_database, "UPDATE payloads SET put_at = now() - interval '40 days'")
        with psycopg.connect(fresh_database) as remover:
            remover.execute("DELETE FROM payloads")
            with ThreadPoolExecutor(1) as threads:
                accepting = threads.submit(store.accept, [second])
                _wait_until_somebody_waits(fresh_database)
                remover.commit()
                assert accepting.result(timeout=30)[0].outcome is Outcome.ACCEPTED

        found = {json.loads(row)["digest"] for row in rows_of(fresh_database)["payloads"]}
        assert found == {f"\\x{digest_bytes(body)}" for body in (second.raw, second.normalised)}
        database.close()


def _same_content(event: AcceptedEvent, event_id: str) -> AcceptedEvent:
    """Another event with the same data."""
    other = accepted_event(event_id)
    assert other.normalised == event.normalised
    return other


def _wait_until_somebody_waits(url: str) -> None:
    def waits() -> bool:
        with psycopg.connect(url) as connection:
            row = connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
        return row is not None and row[0] > 0

    assert_eventually(waits, what="the writer waits")


class TestCounting:
    """What Prometheus was told does not go back for retention: a counter that does is read as a restart."""

    def test_what_was_counted_stays_counted_when_its_facts_and_rows_are_removed(
        self, ask: Ask, past: str
    ) -> None:
        one = OLD[0].orchestration_id
        for number, (state, digest) in enumerate((("settled", "ab"), ("settled", ""), ("replayed", "cd"))):
            run_sql(
                past,
                "INSERT INTO dead_letters (dead_letter_id, tenant_id, event_id, orchestration_id, run_id, workflow,"
                " step_id, queue, cause, code, fate, what, remedy, state, first_at, last_at, times, message_digest)"
                " VALUES (%s, %s, '', %s, '', '', '', 'dispatch', 'rejected_message', '', 'permanent', '', '', %s,"
                " now(), now(), 3, %s)",
                [f"dlr_{number}", OLD[0].tenant_id, one, state, digest],
            )
        run_sql(
            past,
            "INSERT INTO replays (replay_id, tenant_id, orchestration_id, dead_letter_id, mode, release, actor,"
            " reason_digest, plan_digest, state, finished_at)"
            " VALUES ('rpl_1', %s, %s, '', 'rerun', '', 'ada', '', '', 'done', now())",
            [OLD[0].tenant_id, one],
        )
        with closing(Database(past, "interlock_metrics")) as database:
            counting = FactCounts(database)
            assert counting.fold(60.0)
            before = counting.sums().values
            code, _ = ask("retention", "--older-than", "30d")
            assert code == 0
            assert rows_of(past, ids_of(OLD))["journal"] == []
            assert rows_of(past, [one])["replays"] == []
            assert FactCounts(database).fold(60.0)
            after = FactCounts(database).sums().values
        assert after == before
        assert before[metric_names.DEAD_LETTERS]["dispatch", "rejected_message"] == 6
        assert before[metric_names.REPLAYS] == {("rerun", "done"): 1}
        assert sum(before[metric_names.FACTS].values()) > 6 * FACTS
