"""Promise 1: an orchestration whose contents are gone comes to its end, and the others of its batch never notice."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from app.data_plane.orchestration.recorder import MOST_LAPSES
from app.data_plane.replay.request import Subject
from app.data_plane.tools import shipped_tools
from app.kernel.release import Lookup, Release
from tests.accepted_events import accepted_event, orchestration_of
from tests.branching_workflow import branching_release
from tests.repairing import Workshop, workshop


def looking_up() -> Release:
    """The branching workflow with a lookup of what the event says."""
    release = branching_release()
    tool = "directory.lookup"
    arguments = {"collection": '"repositories"', "key": "event.issue.title"}
    lookup = Lookup(name="entry", tool=tool, arguments=arguments)
    template = release.template.model_copy(update={"lookups": (lookup,)})
    tools = {**release.tools, tool: shipped_tools()[tool]}
    return release.model_copy(update={"template": template, "tools": tools})


@pytest.fixture
def place(fresh_database: str) -> Iterator[Workshop]:
    with workshop(fresh_database, looking_up()) as one:
        one.publish(looking_up())
        yield one


def accept(place: Workshop, event_id: str) -> Subject:
    """An event whose content is no other's."""
    event = accepted_event(event_id, title=f"high {event_id}", release=place.release.digest)
    place.store.accept([event])
    return Subject("demo", orchestration_of(event))


def erase(place: Workshop, event_id: str) -> None:
    """Take the event's content out of the payload store."""
    event = accepted_event(event_id, title=f"high {event_id}", release=place.release.digest)
    place.sql("DELETE FROM payloads WHERE body = %s", event.normalised)


def status(place: Workshop, subject: Subject) -> object:
    row = place.sql("SELECT status FROM orchestrations WHERE orchestration_id = %s", subject.orchestration_id)
    return row[0][0]


def try_often_enough(place: Workshop, work: Callable[[], object]) -> None:
    for _ in range(MOST_LAPSES + 1):
        place.end_leases()
        work()


def test_a_snapshot_that_cannot_be_taken_ends_as_a_dead_letter(place: Workshop) -> None:
    """Nothing of it can be asked; what was accepted beside it goes on at once."""
    bad, good = accept(place, "bad"), accept(place, "good")
    erase(place, "bad")
    place.advancer.advance("w")
    assert [fact.kind for fact in place.facts(good.orchestration_id)][-1] == "stage_started"
    try_often_enough(place, lambda: place.advancer.advance("w"))
    assert status(place, bad) == "dead_lettered"
    place.carry_on()
    assert status(place, good) == "completed"


def test_a_run_that_cannot_be_prepared_gives_up_and_its_stage_goes_on_without_it(place: Workshop) -> None:
    """Its batch's other runs are asked at once."""
    bad, good = accept(place, "bad"), accept(place, "good")
    place.advancer.advance("w")
    erase(place, "bad")
    place.run_agents()
    lapses = (
        "SELECT DISTINCT orchestration_id, lapses > 0, finished_at IS NULL FROM work_index"
        " WHERE queue = 'agent_runs'"
    )
    assert set(place.sql(lapses)) == {
        (bad.orchestration_id, True, True),
        (good.orchestration_id, False, False),
    }
    try_often_enough(place, lambda: [place.run_agents() for _ in range(4)])
    (open_runs,) = place.sql(
        "SELECT count(*) FROM work_index WHERE queue = 'agent_runs' AND finished_at IS NULL"
    )
    assert open_runs == (0,)
