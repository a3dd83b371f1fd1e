"""Guards: a process learns the tenants' patterns from the database in whatever role it is, and goes on without it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import get_args

import psycopg
import pytest

from app.adapters.postgresql.database import Database, Role
from app.adapters.postgresql.redaction_patterns import PatternRefresh, learn_patterns
from app.adapters.postgresql.tenants import TenantDocuments
from app.kernel.errors import TransientError
from app.telemetry.redaction import REDACTED, install_patterns, redact
from tests.eventually import assert_eventually

BADGE = {"name": "badge", "keyword": "badge-", "pattern": "badge-[0-9]{6}"}


def publish(url: str, tenant: str, *patterns: dict[str, str]) -> None:
    """A tenant's newest document, as publishing writes it."""
    document = {"name": tenant, "version": 1, "redaction": {"patterns": patterns}}
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO tenants (tenant_id, version, digest, document) VALUES (%s, 1, %s, %s)"
            " ON CONFLICT (tenant_id) DO UPDATE SET document = excluded.document",
            [tenant, "0" * 64, json.dumps(document)],
        )


@pytest.fixture
def documents(fresh_database: str) -> Iterator[TenantDocuments]:
    publish(fresh_database, "acme", BADGE)
    publish(fresh_database, "plain")
    database = Database(fresh_database, "interlock_worker")
    yield TenantDocuments(database)
    install_patterns({})
    database.close()


def test_every_role_that_meets_content_may_read_them(fresh_database: str, documents: TenantDocuments) -> None:
    """The exporter of metrics reads counts and names alone; it goes on without them."""
    for role in get_args(Role):
        install_patterns({})
        database = Database(fresh_database, role)
        assert learn_patterns(TenantDocuments(database)) == (role != "interlock_metrics"), role
        assert (redact("badge-123456") == REDACTED) == (role != "interlock_metrics"), role
        database.close()


def test_a_process_knows_them_when_it_begins(documents: TenantDocuments) -> None:
    refresh = PatternRefresh(documents)
    refresh.start()
    assert redact("badge-123456") == REDACTED
    refresh.stop()


def test_a_document_that_is_published_later_is_learned(
    fresh_database: str, documents: TenantDocuments
) -> None:
    """By the thread: a worker lives for weeks."""
    refresh = PatternRefresh(documents, seconds=0.05)
    refresh.start()
    publish(fresh_database, "acme", {"name": "pass", "keyword": "pass/", "pattern": "pass/[a-z]{8}"})
    assert_eventually(lambda: redact("pass/abcdefgh") == REDACTED)
    assert redact("badge-123456") == "badge-123456"
    refresh.stop()


class Away(TenantDocuments):
    """A database that does not answer."""

    def __init__(self) -> None:
        pass

    def all(self) -> dict[str, object]:  # type: ignore[override]
        raise TransientError("The database does not answer.")


def test_what_was_known_stays_while_the_database_is_away(documents: TenantDocuments) -> None:
    learn_patterns(documents)
    assert not learn_patterns(Away())
    assert redact("badge-123456") == REDACTED
    refresh = PatternRefresh(Away())
    refresh.start()
    refresh.stop()
    assert redact("badge-123456") == REDACTED
