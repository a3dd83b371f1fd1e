"""Anchoring over a real database: each look finds exactly what no look before it saw, whoever was writing meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app.adapters.anchor_file import AnchorFolder
from app.adapters.postgresql.anchoring import PostgresqlHeads
from app.adapters.postgresql.database import Database
from app.data_plane.audit.anchorer import Anchorer
from app.data_plane.audit.anchors import Head
from app.kernel.clock import SystemClock

PLAN = """
EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT DISTINCT ON (chain_id) chain_id, seq, hash FROM journal
WHERE written_in >= %s OR written_in = ANY(%s::bigint[]) ORDER BY chain_id, seq DESC
"""


class Writer:
    """Who records facts, as the database's owner, each transaction as long as it likes."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url)

    def write(self, chain: str, seq: int, tenant: str = "demo") -> None:
        self.connection.execute(
            "INSERT INTO journal (chain_id, seq, tenant_id, body, hash) VALUES (%s, %s, %s, '', %s)",
            [chain, seq, tenant, bytes([seq])],
        )


@pytest.fixture
def url(fresh_database: str) -> str:
    with psycopg.connect(fresh_database) as connection:
        connection.execute("INSERT INTO tenants VALUES ('demo', 1, '', '{}')")
    return fresh_database


@pytest.fixture
def heads(url: str) -> Iterator[PostgresqlHeads]:
    database = Database(url, "interlock_worker")
    yield PostgresqlHeads(database)
    database.close()


@pytest.fixture
def folder(tmp_path: Path) -> AnchorFolder:
    return AnchorFolder(tmp_path / "anchors")


@pytest.fixture
def writers(url: str) -> Iterator[tuple[Writer, Writer]]:
    both = (Writer(url), Writer(url))
    yield both
    for writer in both:
        writer.connection.close()


def look(heads: PostgresqlHeads, folder: AnchorFolder) -> list[tuple[str, int]]:
    """What one look anchors."""
    before = sum(1 for _ in folder.as_of_now().lines())
    assert Anchorer(heads, folder, SystemClock()).anchor() is not None
    found = [line.line for line in folder.as_of_now().lines()][before:]
    return [(chain, seq) for line in found if line for chain, (seq, _) in line.heads.items()]


def test_a_look_finds_the_chains_that_grew_since_the_last_one_and_their_newest_fact(
    heads: PostgresqlHeads, folder: AnchorFolder, writers: tuple[Writer, Writer]
) -> None:
    """The first finds all of them."""
    writer, _ = writers
    for chain, seq in (("orc_1", 0), ("orc_1", 1), ("run_1", 0)):
        writer.write(chain, seq)
    writer.connection.commit()
    assert look(heads, folder) == [("orc_1", 1), ("run_1", 0)]
    assert look(heads, folder) == []

    writer.write("orc_1", 2)
    writer.write("orc_2", 0)
    writer.connection.commit()

    assert look(heads, folder) == [("orc_1", 2), ("orc_2", 0)]
    assert look(heads, folder) == []


def test_what_was_being_written_during_a_look_is_found_by_the_first_one_after_its_commit(
    heads: PostgresqlHeads, folder: AnchorFolder, writers: tuple[Writer, Writer]
) -> None:
    """Transactions do not commit in the order of their numbers: none is passed over, and none keeps others waiting."""
    slow, quick = writers
    slow.write("orc_slow", 0)
    quick.write("orc_quick", 0)
    quick.connection.commit()
    assert look(heads, folder) == [("orc_quick", 0)]

    quick.write("orc_quick", 1)
    quick.connection.commit()
    assert look(heads, folder) == [("orc_quick", 1)]
    slow.connection.commit()

    assert look(heads, folder) == [("orc_slow", 0)]
    assert look(heads, folder) == []


def test_what_is_rolled_back_is_never_anchored(
    heads: PostgresqlHeads, folder: AnchorFolder, writers: tuple[Writer, Writer]
) -> None:
    writer, _ = writers
    writer.write("orc_1", 0)
    assert look(heads, folder) == []
    writer.connection.rollback()
    assert look(heads, folder) == []


def test_a_tenant_is_seen_from_its_first_fact_on(
    heads: PostgresqlHeads, folder: AnchorFolder, writers: tuple[Writer, Writer]
) -> None:
    """Under row-level security, by the role of the workers."""
    writer, _ = writers
    writer.write("orc_1", 0)
    writer.connection.commit()
    assert look(heads, folder) == [("orc_1", 0)]
    writer.connection.execute("INSERT INTO tenants VALUES ('new', 1, '', '{}')")
    writer.write("orc_2", 0, tenant="new")
    writer.connection.commit()
    assert look(heads, folder) == [("orc_2", 0)]


def test_a_database_without_tenants_has_nothing_to_anchor(fresh_database: str, folder: AnchorFolder) -> None:
    database = Database(fresh_database, "interlock_worker")
    assert look(PostgresqlHeads(database), folder) == []
    database.close()


def test_one_process_looks_at_a_time(heads: PostgresqlHeads, folder: AnchorFolder, url: str) -> None:
    """The other one does nothing: the same heads twice would only cost room."""
    other = Database(url, "interlock_worker")
    with heads.look() as mine:
        assert mine is not None
        assert Anchorer(PostgresqlHeads(other), folder, SystemClock()).anchor() is None
    other.close()


def test_a_crash_before_the_file_is_written_loses_no_head(
    heads: PostgresqlHeads, folder: AnchorFolder, writers: tuple[Writer, Writer]
) -> None:
    """What was looked at lives in the file alone: whoever looks next begins where the file ends."""
    writer, _ = writers
    writer.write("orc_1", 0)
    writer.connection.commit()
    with heads.look() as crashed:
        assert crashed is not None
        assert list(crashed.heads(folder.position())) == [[Head("orc_1", 0, b"\0")]]

    assert look(heads, folder) == [("orc_1", 0)]


def test_facts_from_before_transactions_were_noted_are_in_the_first_look(
    heads: PostgresqlHeads, folder: AnchorFolder, writers: tuple[Writer, Writer]
) -> None:
    writer, _ = writers
    writer.write("orc_old", 0)
    writer.connection.execute("UPDATE journal SET written_in = NULL")
    writer.connection.commit()

    assert look(heads, folder) == [("orc_old", 0)]
    assert look(heads, folder) == []


def test_numbers_that_begin_anew_have_everything_anchored_again(
    heads: PostgresqlHeads, folder: AnchorFolder, writers: tuple[Writer, Writer]
) -> None:
    """As after a restore: what an older server's numbers say counts for nothing."""
    writer, _ = writers
    writer.write("orc_1", 0)
    writer.connection.commit()
    look(heads, folder)
    file = folder.folder / "000001.jsonl"
    file.write_bytes(file.read_bytes().replace(b'"server":"', b'"server":"another'))

    assert look(heads, folder) == [("orc_1", 0)]
    assert look(heads, folder) == []


def test_a_look_reads_what_is_new_and_not_the_table(url: str, heads: PostgresqlHeads) -> None:
    """Also straight after a burst, which vacuum has not come to: the look has the index summarised itself."""
    with psycopg.connect(url, autocommit=True) as owner:
        for batch in range(200):
            owner.execute(
                "INSERT INTO journal (chain_id, seq, tenant_id, body, hash)"
                " SELECT 'orc_' || %s || '_' || n, 0, 'demo', convert_to(repeat('x', 400), 'utf8'), '\\x00'"
                " FROM generate_series(1, 250) AS n",
                [str(batch)],
            )
        pages = owner.execute("SELECT pg_relation_size('journal') / 8192").fetchone()
    assert pages is not None
    with heads.look() as seen:
        assert seen is not None
    with psycopg.connect(url, options="-c role=interlock_worker -c enable_seqscan=off") as connection:
        connection.execute("SELECT set_config('interlock.tenants', 'demo', true)")
        newest, running = seen.position.end - 3, [seen.position.end - 40, seen.position.end - 80]
        row = connection.execute(PLAN, [newest, running]).fetchone()
    assert row is not None
    nodes = list(_nodes(row[0][0]["Plan"]))
    assert {node["Index Name"] for node in nodes if "Index Name" in node} == {"journal_by_age"}
    read = nodes[0]["Shared Hit Blocks"] + nodes[0]["Shared Read Blocks"]
    assert nodes[0]["Actual Rows"] > 250
    assert read < pages[0] / 10, f"{read} of {pages[0]} pages"


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)
