"""What was looked up is a fact: changing its source afterwards changes no decision that was made with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg

from app.data_plane.ingestion.accept import Submission
from interlock.canonical import JsonObject
from interlock.envelope import Envelope
from tests.system import RunningSystem

REPOSITORY = "Codertocat/Hello-World"
OWNERS = """
SELECT d.orchestration_id, convert_from(p.body, 'utf8')::jsonb #>> '{decision,owner}'
FROM decisions d JOIN payloads p ON p.tenant_id = d.tenant_id AND encode(p.digest, 'hex') = d.outcome_digest
"""


def alert(event_id: str) -> Submission:
    """An alert about a repository that the demo tenant's reference data may know."""
    data: JsonObject = {
        "kind": "dependabot_alert",
        "number": 7,
        "state": "open",
        "severity": "critical",
        "package": "left-pad",
        "repository": {
            "full_name": REPOSITORY,
            "owner": "Codertocat",
            "name": "Hello-World",
            "private": False,
            "default_branch": "main",
        },
    }
    return Submission(
        Envelope(
            id=event_id,
            source="/tests",
            type="dev.interlock.alert",
            tenantid="demo",
            dataschema="urn:interlock:schema:alert:1",
            data=data,
        )
    )


def own_the_repository(database_url: str, owner: str) -> None:
    """Change the source that the workflow looks its repository up in."""
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO reference_entries VALUES ('demo', 'repositories', %s, jsonb_build_object('owner', %s::text))"
            " ON CONFLICT (tenant_id, collection, key) DO UPDATE SET value = excluded.value",
            [REPOSITORY, owner],
        )


def test_changing_the_looked_up_source_afterwards_changes_no_verified_digest(
    make_database: Callable[[], str], home: Path
) -> None:
    """Promise 3: a decision is a function of the snapshot as it was taken, not of the source as it is now."""
    database = make_database()
    with RunningSystem(database, home) as system:
        system.publish_shipped()
        own_the_repository(database, "first-owner")
        system.start_workers()
        before = system.accept([alert("before")])[0].orchestration_ids[0]
        system.wait_until_all_ended(consenting="the release manager")
        digests = "SELECT orchestration_id, decision_digest FROM decisions"
        recorded = dict(system.rows(digests))
        assert system.verify_all() == {}

        own_the_repository(database, "second-owner")
        assert system.verify_all() == {}, "a replay read the source again"
        assert dict(system.rows(digests)) == recorded

        after = system.accept([alert("after")])[0].orchestration_ids[0]
        system.wait_until_all_ended(consenting="the release manager")
        assert system.verify_all() == {}
        owners = dict(system.rows(OWNERS))
        assert owners == {before: "first-owner", after: "second-owner"}, "the source was not what was changed"
