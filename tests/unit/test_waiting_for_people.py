"""What waits for a person comes to no end by itself: whoever waits for the rest does not wait for that."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.adapters.postgresql.reading import Counts
from app.cli.demo_view import next_commands
from app.cli.replay_waiting import CameOut
from app.data_plane.replay.register import ReplayRow

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("orchestrations", "actions", "waiting", "under_way"),
    [
        ({"completed": 3}, {"confirmed": 3}, 0, 0),
        ({"completed": 3, "running": 2}, {}, 0, 2),
        ({"completed": 3, "awaiting_approval": 1, "in_review": 1}, {"awaiting_approval": 1}, 2, 0),
        ({"running": 1, "awaiting_approval": 1}, {}, 1, 1),
        ({"awaiting_approval": 1}, {"awaiting_approval": 1, "sending": 1}, 1, 1),
        ({"waiting_for_release": 1}, {}, 0, 1),
    ],
)
def test_what_waits_for_a_person_is_counted_apart(
    orchestrations: dict[str, int], actions: dict[str, int], waiting: int, under_way: int
) -> None:
    counts = Counts({}, orchestrations, actions, 0)
    assert (counts.waiting_for_people, counts.under_way) == (waiting, under_way)


def test_the_demo_tells_how_to_answer_what_waits() -> None:
    told = next_commands(Path("run"), None, {"completed": 3, "awaiting_approval": 1})
    assert any(line.endswith("-m app approvals list") for line in told)
    assert not any("reviews" in line for line in told)
    assert not any("approvals" in line for line in next_commands(Path("run"), None, {"completed": 3}))


@pytest.mark.parametrize("status", ["awaiting_approval", "in_review", "completed"])
def test_a_replay_is_over_when_what_it_started_waits_for_a_person(status: str) -> None:
    row = ReplayRow("rpl_1", "demo", "orc_1", "", "rerun", "", "ines", "", "", "done", "", "orc_2", NOW, NOW)
    assert CameOut(row, "orc_2", status).is_over
    assert not CameOut(row, "orc_2", "running").is_over
