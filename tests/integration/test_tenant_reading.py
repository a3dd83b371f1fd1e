"""What a tool that an agent calls may look at: the reference data of its own tenant, and of no other."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from app.adapters.postgresql.database import Database
from app.adapters.postgresql.lookups import TenantReading
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
