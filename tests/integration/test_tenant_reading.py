"""What a tool that an agent calls may look at: the reference data of its own tenant, and of no other."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from app.adapters.postgresql.database import Database
from app.adapters.postgresql.lookups import TenantReading
from app.adapters.postgresql.tenants import TenantDocuments
from interlock.canonical import JsonObject


@pytest.fixture
def database(fresh_database: str) -> Database:
    with psycopg.connect(fresh_database, autocommit=True) as connection:
        for tenant, owner in (("demo", "core"), ("other", "nobody")):
            connection.execute(
                "INSERT INTO reference_entries (tenant_id, collection, key, value)"
                " VALUES (%s, 'repositories', %s, %s)",
                [tenant, f"{tenant}/a", f'{{"owner": "{owner}"}}'],
            )
    return Database(fresh_database, "interlock_worker")


@pytest.mark.parametrize(
    ("collection", "key", "found"),
    [
        ("repositories", "demo/a", {"owner": "core"}),
        ("repositories", "other/a", None),
        ("repositories", "demo/b", None),
        ("services", "demo/a", None),
        ("repositories", "demo/a\x00", None),
        ("\ud800", "demo/a", None),
    ],
)
def test_a_tool_finds_its_own_tenants_entries_alone(
    database: Database, collection: str, key: str, found: JsonObject | None
) -> None:
    """Whatever a model asks for: another tenant's key, and what PostgreSQL cannot even be asked for."""
    with_it = TenantReading(database, "demo")
    assert asyncio.run(with_it.entry(collection, key)) == found
    database.close()


def test_the_first_tenant_is_known_as_soon_as_it_is_published(fresh_database: str) -> None:
    """The API may have looked a moment before; it must not refuse the tenant's keys until it looks again."""
    database = Database(fresh_database, "interlock_api")
    documents = TenantDocuments(database)
    assert documents.all() == {}
    with psycopg.connect(fresh_database, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO tenants (tenant_id, version, digest, document)"
            """ VALUES ('demo', 1, '', '{"name": "demo", "version": 1}')"""
        )
    assert set(documents.all()) == {"demo"}
    database.close()
