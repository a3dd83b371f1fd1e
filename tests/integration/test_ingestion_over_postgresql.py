"""Ingestion over the real database and lock: duplicates that arrive at once, under each role that accepts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from app.adapters.postgresql.database import Database, Role
from app.adapters.postgresql.store import PostgresqlStore
from app.adapters.redis.connection import connect
from app.adapters.redis.front_lock import RedisFrontLock
from app.data_plane.ingestion.accept import Accepted, IngestionService, Submission
from app.data_plane.ingestion.errors import EventConflictError
from app.data_plane.ports import Carrier, Releases
from app.kernel.clock import SystemClock
from app.kernel.errors import PermanentError
from app.supervisor.embedded import EmbeddedServers
from tests.unit.ingestion.fakes import FakeCarrier, FakeReleases, issue


@pytest.fixture
def redis_url(home: Path) -> Iterator[str]:
    """A real Redis of the test's own."""
    with EmbeddedServers(home, postgresql=False) as servers:
        yield servers.redis_url


@pytest.fixture(params=["interlock_api", "interlock_worker"])
def service(
    request: pytest.FixtureRequest, fresh_database: str, redis_url: str
) -> Iterator[IngestionService]:
    """The service as the API and as a worker have it: the same acceptance under either role."""
    role: Role = request.param
    database = Database(fresh_database, role)
    yield IngestionService(
        PostgresqlStore(database, SystemClock()),
        cast(Releases, FakeReleases()),
        cast(Carrier, FakeCarrier()),
        RedisFrontLock(connect(redis_url)),
    )
    database.close()


def test_of_many_deliveries_at_once_one_is_accepted_and_the_others_are_its_duplicates(
    service: IngestionService,
) -> None:
    """Whoever comes while another is committing waits for the truth, and gets the same orchestrations."""
    batch = [Submission(issue(str(number))) for number in range(20)]
    with ThreadPoolExecutor(6) as threads:
        rounds = list(threads.map(lambda _: service.accept(batch), range(6)))
    for answers in zip(*rounds, strict=True):
        accepted = [answer for answer in answers if isinstance(answer, Accepted)]
        assert Counter(answer.state for answer in accepted) == {"accepted": 1, "duplicate": 5}
        assert len({answer.orchestration_ids for answer in accepted}) == 1
        assert len(accepted[0].orchestration_ids) == 2


def test_of_two_events_that_claim_one_id_at_once_one_is_refused(service: IngestionService) -> None:
    """Never two answers for one id, whoever was first."""
    claims = [Submission(issue(title=f"Claim {number}")) for number in range(6)]

    def attempt(submission: Submission) -> Accepted | PermanentError:
        return service.accept([submission])[0]

    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(attempt, claims))
    assert Counter(type(answer) for answer in answers) == {Accepted: 1, EventConflictError: 5}


def test_any_text_that_an_envelope_allows_is_kept(service: IngestionService) -> None:
    """What the rules let through, the database takes."""
    odd = replace(issue(event_id="Ж 😀 \u2028"), subject="x" * 1024, source="/" + "s" * 1023, time=None)
    big = replace(odd, id="\U0010fffd" * 255, data={"title": "\u2028 \U0001f600" * 100})
    for event in (odd, big):
        assert service.accept_one(Submission(event)).state == "accepted"
        assert service.accept_one(Submission(event)).state == "duplicate"
