"""Tamper evidence over a real database: whatever is done to what was recorded, the first bad row is named.

Every tampering is done as the database's owner, with plain SQL. A second verifier, which shares no code with the
service (``tests/independent_verifier.py``), must name the same row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app.cli import main as command_line
from config import settings
from interlock.identity import run_id
from tests.cloned_histories import Past, clone, put, put_tenants
from tests.independent_verifier import first_bad
from tests.recorded import HISTORIES, load, restore

Connection = psycopg.Connection[Any]
Tamper = Callable[[Connection], None]
Ask = Callable[..., tuple[int, dict[str, Any]]]

VICTIM, BYSTANDER = clone(1), clone(2)
ONE = VICTIM.orchestration_id
LAST = len(VICTIM.chain) - 1
RUN = sorted(VICTIM.runs)[1]
OPEN, _ = load(HISTORIES / "pull_request.json")


@pytest.fixture
def ask(
    fresh_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Ask]:
    """Runs ``audit`` with ``--json``; gives its exit code and what it printed (the error, if it failed)."""
    monkeypatch.setenv("INTERLOCK_DATABASE_URL", fresh_database)
    monkeypatch.setenv("INTERLOCK_HOME", str(tmp_path))
    settings.load.cache_clear()

    def run(*arguments: str) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            command_line.main(["audit", *arguments, "--json"])
        said = capsys.readouterr()
        return int(ended.value.code or 0), json.loads(said.out.strip() or said.err.strip().splitlines()[-1])

    yield run
    settings.load.cache_clear()


@pytest.fixture
def record(fresh_database: str, ask: Ask) -> str:
    """Two closed orchestrations and an open one with a run that is not folded yet, all of it anchored."""
    put_tenants(fresh_database)
    put(fresh_database, [Past(one, timedelta(days=1)) for one in (VICTIM, BYSTANDER)])
    restore(fresh_database, *load(HISTORIES / "pull_request.json"), facts=3)
    run = run_id(OPEN.orchestration_id, "classify", "classifier")
    with psycopg.connect(fresh_database) as connection:
        for seq, link in enumerate(OPEN.runs[run]):
            connection.execute(
                "INSERT INTO journal VALUES (%s, %s, 'demo', %s, %s)", [run, seq, link.body, link.hash]
            )
    assert ask("anchor")[1]["written"]["heads"] == 3 + 1 + len(VICTIM.runs) + len(BYSTANDER.runs)
    return fresh_database


def rows_of(connection: Connection, chain: str) -> list[tuple[int, bytes, bytes]]:
    found = connection.execute(
        "SELECT seq, body, hash FROM journal WHERE chain_id = %s ORDER BY seq", [chain]
    )
    return [(row[0], row[1], row[2]) for row in found]


def edited(body: bytes) -> bytes:
    """Another time, which no digest of a decision covers."""
    assert b"2026" in body
    return body.replace(b"2026", b"2025", 1)


def set_row(connection: Connection, chain: str, seq: int, body: bytes, digest: bytes) -> None:
    connection.execute(
        "UPDATE journal SET body = %s, hash = %s WHERE chain_id = %s AND seq = %s", [body, digest, chain, seq]
    )


def set_head(connection: Connection, chain: str) -> None:
    """The head row is what the journal says now."""
    seq, _, digest = rows_of(connection, chain)[-1]
    connection.execute(
        "UPDATE orchestrations SET head_seq = %s, head_hash = %s WHERE orchestration_id = %s",
        [seq + 1, digest, chain],
    )


def edit_bytes(chain: str, seq: int) -> Tamper:
    def tamper(connection: Connection) -> None:
        _, body, digest = rows_of(connection, chain)[seq]
        set_row(connection, chain, seq, edited(body), digest)

    return tamper


def edit_bytes_and_hash(chain: str, seq: int) -> Tamper:
    def tamper(connection: Connection) -> None:
        rows = rows_of(connection, chain)
        body = edited(rows[seq][1])
        set_row(connection, chain, seq, body, sha256((rows[seq - 1][2] if seq else b"") + body).digest())

    return tamper


def rehash_from(chain: str, seq: int) -> Tamper:
    """Edited as the service itself would have written it, to the chain's end and its head."""

    def tamper(connection: Connection) -> None:
        rows = rows_of(connection, chain)
        previous = rows[seq - 1][2] if seq else b""
        for place, body, _ in rows[seq:]:
            new = edited(body)
            previous = sha256(previous + new).digest()
            set_row(connection, chain, place, new, previous)
        set_head(connection, chain)

    return tamper


def rehash_run_and_its_fold(connection: Connection) -> None:
    """A run's answer is changed, and everything that rests on it: its chain, its fold, the orchestration's chain."""
    old = rows_of(connection, RUN)[-1][2].hex()
    rehash_from_without_head(connection, RUN, 0)
    new = rows_of(connection, RUN)[-1][2].hex()
    rows = rows_of(connection, ONE)
    previous = b""
    for place, body, _ in rows:
        changed = body.replace(old.encode(), new.encode())
        previous = sha256(previous + changed).digest()
        set_row(connection, ONE, place, changed, previous)
    set_head(connection, ONE)


def rehash_from_without_head(connection: Connection, chain: str, seq: int) -> None:
    rows = rows_of(connection, chain)
    previous = rows[seq - 1][2] if seq else b""
    for place, body, _ in rows[seq:]:
        new = edited(body)
        previous = sha256(previous + new).digest()
        set_row(connection, chain, place, new, previous)


def delete(chain: str, *, first: int, last: int) -> Tamper:
    def tamper(connection: Connection) -> None:
        connection.execute(
            "DELETE FROM journal WHERE chain_id = %s AND seq BETWEEN %s AND %s", [chain, first, last]
        )

    return tamper


def cut_off_the_tail(connection: Connection) -> None:
    delete(ONE, first=LAST - 1, last=LAST)(connection)
    set_head(connection, ONE)


def swap(connection: Connection) -> None:
    (_, body3, hash3), (_, body4, hash4) = rows_of(connection, ONE)[3:5]
    set_row(connection, ONE, 3, body4, hash4)
    set_row(connection, ONE, 4, body3, hash3)


def move_and_rehash(connection: Connection) -> None:
    """Every hash follows, and the head is right; but the facts themselves tell where they were recorded."""
    bodies = [body for _, body, _ in rows_of(connection, ONE)]
    bodies[5:7] = bodies[6], bodies[5]
    previous = b""
    for place, body in enumerate(bodies):
        previous = sha256(previous + body).digest()
        set_row(connection, ONE, place, body, previous)
    set_head(connection, ONE)


def insert_behind(chain: str) -> Tamper:
    """One more fact, rightly linked."""

    def tamper(connection: Connection) -> None:
        seq, body, previous = rows_of(connection, chain)[-1]
        new = body.replace(f'"seq":{seq}'.encode(), f'"seq":{seq + 1}'.encode())
        connection.execute(
            "INSERT INTO journal VALUES (%s, %s, 'demo', %s, %s)",
            [chain, seq + 1, new, sha256(previous + new).digest()],
        )

    return tamper


def insert_before(connection: Connection) -> None:
    _, body, digest = rows_of(connection, ONE)[0]
    connection.execute("INSERT INTO journal VALUES (%s, -1, 'demo', %s, %s)", [ONE, body, digest])


def insert_in_between(connection: Connection) -> None:
    """Every later fact moves one place on."""
    connection.execute("UPDATE journal SET seq = -seq - 1 WHERE chain_id = %s AND seq > 5", [ONE])
    connection.execute("UPDATE journal SET seq = -seq WHERE chain_id = %s AND seq < 0", [ONE])
    _, body, digest = rows_of(connection, ONE)[5]
    connection.execute("INSERT INTO journal VALUES (%s, 6, 'demo', %s, %s)", [ONE, body, digest])


def insert_a_chain(connection: Connection) -> None:
    """A run that no orchestration called for."""
    for seq, link in enumerate(clone(3).runs[sorted(clone(3).runs)[0]]):
        connection.execute(
            "INSERT INTO journal VALUES (%s, %s, 'demo', %s, %s)",
            [sorted(clone(3).runs)[0], seq, link.body, link.hash],
        )


def delete_an_orchestration(connection: Connection) -> None:
    """Whole, with everything that tells of it."""
    connection.execute("DELETE FROM journal WHERE chain_id = ANY(%s)", [[ONE, *VICTIM.runs]])
    for table in ("orchestrations", "decisions", "actions", "work_index"):
        connection.execute(f"DELETE FROM {table} WHERE orchestration_id = %s", [ONE])


def delete_its_row(connection: Connection) -> None:
    connection.execute("DELETE FROM orchestrations WHERE orchestration_id = %s", [ONE])


@dataclass(frozen=True, slots=True)
class Case:
    """A tampering, and the first row that is not what it was."""

    done: str
    tamper: Tamper
    named: tuple[str, int]
    needs_anchors: bool = False
    """Consistent in itself: only what was written elsewhere tells."""


CASES = (
    Case("a fact's bytes are edited", edit_bytes(ONE, 3), (ONE, 3)),
    Case("the first fact's bytes are edited", edit_bytes(ONE, 0), (ONE, 0)),
    Case("a run's fact is edited", edit_bytes(RUN, 1), (RUN, 1)),
    Case("a fact's bytes and hash are edited", edit_bytes_and_hash(ONE, 3), (ONE, 4)),
    Case("the last fact's bytes and hash are edited", edit_bytes_and_hash(ONE, LAST), (ONE, LAST)),
    Case("a run's last fact is edited with its hash", edit_bytes_and_hash(RUN, 2), (RUN, 2)),
    Case("a whole chain is hashed anew, with its head", rehash_from(ONE, 3), (ONE, LAST), needs_anchors=True),
    Case(
        "a run, its fold and its orchestration are hashed anew",
        rehash_run_and_its_fold,
        (ONE, LAST),
        needs_anchors=True,
    ),
    Case("a fact is deleted", delete(ONE, first=7, last=7), (ONE, 7)),
    Case("the first fact is deleted", delete(ONE, first=0, last=0), (ONE, 0)),
    Case("a run's last fact is deleted", delete(RUN, first=2, last=2), (RUN, 2)),
    Case("a fact is inserted behind the last", insert_behind(ONE), (ONE, LAST + 1)),
    Case("a fact is inserted behind a run's last", insert_behind(RUN), (RUN, 3)),
    Case("a fact is inserted before the first", insert_before, (ONE, -1)),
    Case("a fact is inserted in between", insert_in_between, (ONE, 6)),
    Case("a run is inserted", insert_a_chain, (sorted(clone(3).runs)[0], 0)),
    Case("two facts are swapped", swap, (ONE, 3)),
    Case("a fact is moved, and the chain hashed anew", move_and_rehash, (ONE, 5)),
    Case("the tail is cut off, and the head set back", cut_off_the_tail, (ONE, LAST - 1), needs_anchors=True),
    Case("the tail is cut off", delete(ONE, first=LAST, last=LAST), (ONE, LAST)),
    Case("a run's chain is deleted", delete(RUN, first=0, last=9), (RUN, 0)),
    Case("an orchestration's chain is deleted", delete(ONE, first=0, last=LAST), (ONE, 0)),
    Case("an orchestration's row is deleted", delete_its_row, (ONE, 0)),
    Case("an orchestration is deleted whole", delete_an_orchestration, (ONE, 0), needs_anchors=True),
)


def test_what_nobody_touched_passes(ask: Ask, record: str, tmp_path: Path) -> None:
    """Both verifiers find nothing; what was compared is told."""
    code, told = ask("verify")

    assert (code, told["whole"], told["first"], told["bad_chains"]) == (0, True, None, 0)
    facts = psycopg.connect(record).execute("SELECT count(*) FROM journal").fetchone()
    assert (told["facts"],) == facts
    assert told["orchestrations"] == 3
    assert told["runs"] == 1 + len(VICTIM.runs) + len(BYSTANDER.runs)
    assert told["anchors"]["heads"] == told["chains"]
    assert told["anchors"]["facts_since"] == 0
    assert first_bad(record, tmp_path / "anchors") is None


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.done)
def test_the_first_bad_row_is_named_by_both_verifiers(
    ask: Ask, record: str, tmp_path: Path, case: Case
) -> None:
    """Exit code 1 is what a nightly job looks at."""
    with psycopg.connect(record) as connection:
        case.tamper(connection)

    code, told = ask("verify")

    assert code == 1
    assert (told["first"]["chain"], told["first"]["seq"]) == case.named
    assert BYSTANDER.orchestration_id not in {fault["chain"] for fault in told["faults"]}
    assert first_bad(record, tmp_path / "anchors") == case.named

    # What the anchors are for: without them a forgery that is consistent in itself is not seen, by either.
    (tmp_path / "anchors" / "000001.jsonl").unlink()
    code, told = ask("verify")
    expected = None if case.needs_anchors else case.named
    assert (code, told["anchors"]["until"]) == (int(expected is not None), None)
    assert first_bad(record, tmp_path / "anchors") == expected
    if expected is not None:
        assert (told["first"]["chain"], told["first"]["seq"]) == expected


def test_what_is_recorded_after_the_last_anchor_is_told_as_the_window(ask: Ask, record: str) -> None:
    """A forgery of those facts could not be seen yet, and whoever reads the answer should know."""
    put(record, [Past(clone(9), timedelta(hours=1))])

    code, told = ask("verify")

    assert code == 0
    assert told["anchors"]["facts_since"] == len(clone(9).chain) + sum(map(len, clone(9).runs.values()))
    assert told["anchors"]["oldest_since"] < told["anchors"]["until"]


def test_a_fact_that_is_given_to_another_tenant_is_named(ask: Ask, record: str) -> None:
    """The tenant is in no hash; it is in the derivation of the orchestration's id."""
    with psycopg.connect(record) as connection:
        connection.execute("INSERT INTO tenants VALUES ('other', 1, '', '{}')")
        connection.execute("UPDATE journal SET tenant_id = 'other' WHERE chain_id = %s AND seq = 4", [ONE])
    assert ask("verify")[1]["first"]["seq"] == 4

    with psycopg.connect(record) as connection:
        for table, key in (("journal", "chain_id"), ("orchestrations", "orchestration_id")):
            connection.execute(f"UPDATE {table} SET tenant_id = 'other' WHERE {key} = %s", [ONE])
    code, told = ask("verify")
    assert (code, told["first"]["chain"], told["first"]["seq"]) == (1, ONE, 0)


@pytest.mark.parametrize("change", ["edit", "drop", "swap"])
def test_the_anchors_are_a_chain_themselves(ask: Ask, record: str, tmp_path: Path, change: str) -> None:
    """Who can write their file as well is seen as long as one line after it stays."""
    for number in (10, 11, 12):
        put(record, [Past(clone(number), timedelta(days=1))])
        ask("anchor")
    file = tmp_path / "anchors" / "000001.jsonl"
    lines = file.read_bytes().splitlines()
    changed = {
        "edit": [lines[0].replace(b"0", b"1", 1), *lines[1:]],
        "drop": [lines[0], *lines[2:]],
        "swap": [lines[0], lines[2], lines[1], lines[3]],
    }[change]
    file.write_bytes(b"\n".join(changed) + b"\n")

    code, told = ask("verify")

    assert (code, told["first"]["chain"], told["first"]["seq"]) == (1, "000001.jsonl line 2", None)
    assert first_bad(record, tmp_path / "anchors") == ("000001.jsonl line 2", None)


def test_an_empty_database_and_a_folder_without_anchors_are_clear(
    ask: Ask, fresh_database: str, tmp_path: Path
) -> None:
    """Empty states are no errors; a folder that was named and holds nothing is one."""
    assert ask("verify")[0] == 0
    assert ask("anchor") == (0, {"folder": str(tmp_path / "anchors"), "written": {"heads": 0, "lines": 0}})

    code, told = ask("verify", "--anchors", str(tmp_path))

    assert (code, told["error"]["code"]) == (1, "no_anchors")


def test_people_are_told_in_words(
    ask: Ask, record: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What was checked, how far the anchors reach, and what is wrong."""

    def said() -> str:
        with pytest.raises(SystemExit):
            command_line.main(["audit", "verify"])
        return capsys.readouterr().out

    whole = said()
    assert "Every fact is what it was." in whole
    assert str(tmp_path / "anchors") in whole
    with psycopg.connect(record) as connection:
        edit_bytes(ONE, 3)(connection)
    assert f"First bad row: {ONE} #3: its hash does not follow" in said()
