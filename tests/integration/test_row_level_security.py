"""Isolation in the database itself: roles see the transaction's tenants and nobody else, and cannot rewrite the past.

Raw SQL on purpose: whatever a defect in the code above might send, this is what the tables let through.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import sql

from app.adapters.postgresql.database import Database
from app.adapters.postgresql.store import PostgresqlStore
from app.data_plane.ports import Append, Change
from app.kernel.clock import SystemClock
from app.kernel.facts import SnapshotTaken
from tests.accepted_events import accepted_event, orchestration_of

ROLES = ("interlock_worker", "interlock_api")
ISOLATED = ("events", "orchestrations", "journal", "payloads", "decisions", "actions", "reference_entries")
CONTROL_PLANE = ("tenants", "documents", "releases", "channels", "reference_entries")
HISTORY = ("journal", "events", "payloads", "decisions")
REFUSED = psycopg.errors.InsufficientPrivilege


@pytest.fixture
def url(fresh_database: str) -> str:
    """A database with rows of two tenants in every table with content that a role may read."""
    database = Database(fresh_database, "interlock_worker")
    store = PostgresqlStore(database, SystemClock())
    for tenant in ("blue", "green"):
        event = accepted_event("1", tenant=tenant)
        store.accept([event])
        one = orchestration_of(event)
        fact = SnapshotTaken(snapshot_digest="0" * 64)
        store.commit([Change(tenant, one, orchestration=Append(one, 1, (fact,)))])
    database.close()
    with psycopg.connect(fresh_database) as connection:
        for tenant in ("blue", "green"):
            connection.execute(
                "INSERT INTO decisions VALUES (%s, %s, '', '', false, 0, '')", [f"orc_{tenant}", tenant]
            )
            connection.execute(
                "INSERT INTO actions VALUES (%s, %s, '', 0, '', '', '', 'sending', '', '', 0, '', '')",
                [f"act_{tenant}", tenant],
            )
            connection.execute("INSERT INTO reference_entries VALUES (%s, 'c', 'k', '{}')", [tenant])
        connection.execute(
            "INSERT INTO tenants (tenant_id, version, digest, document) VALUES ('blue', 1, '', '{}')"
        )
        connection.execute(
            "INSERT INTO documents (kind, name, version, digest, body) VALUES ('k', 'n', 1, '', '')"
        )
        connection.execute(
            "INSERT INTO releases (digest, workflow, body, published_by) VALUES ('d', 'w', '', 'a')"
        )
        connection.execute(
            "INSERT INTO channels (workflow, channel, release_digest, changed_by, reason)"
            " VALUES ('w', 'stable', 'd', 'a', 'r')"
        )
    return fresh_database


@contextmanager
def as_role(url: str, role: str, tenants: str | None = None) -> Iterator[psycopg.Connection[Any]]:
    """A transaction of that role for these tenants."""
    with psycopg.connect(url, options=f"-c role={role}") as connection:
        if tenants is not None:
            connection.execute("SELECT set_config('interlock.tenants', %s, true)", [tenants])
        yield connection
        connection.rollback()


def tenants_in(connection: psycopg.Connection[Any], table: str) -> set[str]:
    """Whose rows are seen."""
    query = sql.SQL("SELECT DISTINCT tenant_id FROM {}").format(sql.Identifier(table))
    return {row[0] for row in connection.execute(query)}


def readable(role: str) -> tuple[str, ...]:
    return tuple(table for table in ISOLATED if role == "interlock_worker" or table != "reference_entries")


@pytest.mark.parametrize("role", ROLES)
def test_a_role_sees_exactly_the_transactions_tenants(url: str, role: str) -> None:
    for tenants in ({"blue"}, {"green"}, {"blue", "green"}, {"nobody"}):
        with as_role(url, role, ",".join(tenants)) as connection:
            for table in readable(role):
                assert tenants_in(connection, table) == tenants - {"nobody"}, table


@pytest.mark.parametrize("role", ROLES)
def test_a_transaction_that_names_no_tenant_is_an_error_and_not_an_empty_answer(url: str, role: str) -> None:
    for table in readable(role):
        with as_role(url, role) as connection, pytest.raises(REFUSED, match="tenants is not set"):
            tenants_in(connection, table)


@pytest.mark.parametrize("role", ROLES)
def test_it_is_an_error_also_on_a_connection_that_named_one_before(url: str, role: str) -> None:
    """After a first SET LOCAL the setting is '' and not null: a scalar policy would silently return nothing."""
    with psycopg.connect(url, options=f"-c role={role}", autocommit=True) as connection:
        with connection.transaction():
            connection.execute("SET LOCAL interlock.tenants = 'blue'")
            assert tenants_in(connection, "journal") == {"blue"}
        row = connection.execute("SELECT current_setting('interlock.tenants', true)").fetchone()
        assert row == ("",)
        with pytest.raises(REFUSED, match="tenants is not set"):
            tenants_in(connection, "journal")


@pytest.mark.parametrize("role", ROLES)
def test_a_row_of_another_tenant_cannot_be_written(url: str, role: str) -> None:
    with as_role(url, role, "blue") as connection, pytest.raises(REFUSED, match="row-level security"):
        connection.execute("INSERT INTO payloads VALUES ('green', '', '')")
    with as_role(url, role, "blue") as connection:
        changed = connection.execute("UPDATE orchestrations SET status = 'failed' WHERE tenant_id = 'green'")
        assert changed.rowcount == 0


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("table", HISTORY)
def test_what_happened_cannot_be_changed_or_removed(url: str, role: str, table: str) -> None:
    name = sql.Identifier(table)
    for statement in (
        sql.SQL("UPDATE {} SET tenant_id = 'blue'").format(name),
        sql.SQL("DELETE FROM {}").format(name),
        sql.SQL("TRUNCATE {}").format(name),
    ):
        with as_role(url, role, "blue") as connection, pytest.raises(REFUSED, match="permission denied"):
            connection.execute(statement)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("table", CONTROL_PLANE)
def test_what_may_run_is_not_for_workers_and_the_api_to_write(url: str, role: str, table: str) -> None:
    name = sql.Identifier(table)
    with psycopg.connect(url) as owner:
        query = "SELECT column_name FROM information_schema.columns WHERE table_name = %s LIMIT 1"
        row = owner.execute(query, [table]).fetchone()
    assert row is not None
    for statement in (
        sql.SQL("INSERT INTO {} DEFAULT VALUES").format(name),
        sql.SQL("UPDATE {} SET {} = NULL").format(name, sql.Identifier(row[0])),
        sql.SQL("DELETE FROM {}").format(name),
    ):
        with as_role(url, role, "blue") as connection, pytest.raises(REFUSED, match="permission denied"):
            connection.execute(statement)


@pytest.mark.parametrize("table", ["documents", "releases"])
def test_not_even_their_owner_changes_what_is_published(url: str, table: str) -> None:
    """A slip in an SQL console must not change what decided."""
    name = sql.Identifier(table)
    for statement in (
        sql.SQL("UPDATE {} SET body = 'x'").format(name),
        sql.SQL("DELETE FROM {}").format(name),
    ):
        with (
            psycopg.connect(url) as owner,
            pytest.raises(psycopg.errors.IntegrityError, match="never edited"),
        ):
            owner.execute(statement)


@pytest.mark.parametrize("role", [*ROLES, "interlock_control"])
def test_no_role_goes_around_row_level_security_or_owns_a_table(url: str, role: str) -> None:
    with psycopg.connect(url) as owner:
        row = owner.execute(
            "SELECT rolbypassrls, rolsuper FROM pg_roles WHERE rolname = %s", [role]
        ).fetchone()
        owned = owner.execute("SELECT tablename FROM pg_tables WHERE tableowner = %s", [role]).fetchall()
    assert row == (False, False)
    assert owned == []


def test_every_table_with_a_tenants_content_forces_row_level_security(url: str) -> None:
    """A table added later without its policy fails here.

    The work index and reservations hold ids and numbers, which the reconciler reads of all tenants; tenants only names.
    """
    with psycopg.connect(url) as owner:
        rows = owner.execute(
            "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'"
            " WHERE c.relkind = 'r' AND NOT a.attisdropped AND NOT (c.relrowsecurity AND c.relforcerowsecurity)"
        ).fetchall()
    assert {row[0] for row in rows} == {"work_index", "reservations", "tenants"}
