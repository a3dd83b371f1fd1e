"""What every message promises, whatever its work does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import tasks.unit_of_work
from app.bootstrap import Services, celery_application
from app.data_plane.ports import Queue
from app.kernel.errors import DefectError, TransientError
from config.settings import Settings
from tasks.unit_of_work import Unit, unit_of_work
from tests.accepted_events import accepted_event
from tests.eventually import assert_eventually


@pytest.fixture
def services(fresh_database: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    """A worker's, over a real database."""
    settings = Settings(home=home, database_url=fresh_database)
    made = Services(settings, celery_application(settings), "interlock_worker")
    monkeypatch.setattr(tasks.unit_of_work, "worker_services", lambda: made)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("error", "told", "lapses"),
    [
        (TransientError("the database is away"), "not done: unavailable", 0),
        (DefectError("a promise was broken"), "not done: defect", 1),
        (ZeroDivisionError(), "not done: defect", 1),
    ],
)
def test_a_message_that_fails_says_so_breaks_no_chord_and_gives_back_what_it_held(
    services: Services, error: Exception, told: str, lapses: int
) -> None:
    """Its steps are due in a moment; only what is its own fault counts towards giving up."""
    services.store.accept([accepted_event("1")])

    @unit_of_work(Queue.ORCHESTRATION)
    def task(unit: Unit) -> str:
        assert len(unit.services.store.claim(Queue.ORCHESTRATION, limit=8, worker=unit.worker)) == 1
        raise error

    assert task() == told
    seen: list[int] = []

    def is_due() -> bool:
        claims = services.store.claim(Queue.ORCHESTRATION, limit=8, worker="other/1")
        seen.extend(claim.lapses for claim in claims)
        return bool(claims)

    assert_eventually(is_due, within=10, what="the step is due")
    assert seen == [lapses]


def test_a_worker_that_cannot_show_that_it_lives_leases_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its leases could not be told from a dead worker's."""
    settings = Settings(home=home, database_url=f"postgresql:///none?host={home}")
    made = Services(settings, celery_application(settings), "interlock_worker")
    monkeypatch.setattr(tasks.unit_of_work, "worker_services", lambda: made)

    @unit_of_work(Queue.ORCHESTRATION)
    def task(_unit: Unit) -> str:
        raise AssertionError("began without a sign of life")

    assert task() == "not done: unavailable"
    made.close()
