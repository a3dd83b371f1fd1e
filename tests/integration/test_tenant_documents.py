"""When a process learns of the tenants that are published."""

from __future__ import annotations

import psycopg

from app.adapters.postgresql.database import Database
from app.adapters.postgresql.tenants import TenantDocuments

DOCUMENT = '{"name": "demo", "version": 1}'


def test_a_process_that_began_before_the_first_tenant_knows_it_at_once(fresh_database: str) -> None:
    """An API that looks while the installation is being prepared would refuse its first requests for seconds."""
    database = Database(fresh_database, "interlock_api")
    documents = TenantDocuments(database)
    assert documents.all() == {}
    with psycopg.connect(fresh_database) as connection:
        connection.execute("INSERT INTO tenants VALUES ('demo', 1, '', %s)", [DOCUMENT])
    assert list(documents.all()) == ["demo"]
    database.close()
