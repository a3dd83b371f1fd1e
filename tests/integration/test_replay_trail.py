"""Promise: who had what done again, why, what they were shown, and what came out is read from one command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.adapters.postgresql.database import Database
from app.adapters.postgresql.replays import page_query
from app.data_plane.replay.register import Wanted
from app.data_plane.replay.request import Person, Requested, Way
from tests.branching_workflow import branching_release
from tests.commands import Ask, Say, asking, saying
from tests.integration.test_replay_over_postgresql import BOB, _work, one_failed
from tests.repairing import ALICE, Workshop, workshop
from tests.unit.replay.lives import gave_up

SECRET = "ghp_" + "p1A9" * 9


@pytest.fixture
def place(fresh_database: str) -> Iterator[Workshop]:
    """Nothing was replayed yet."""
    with workshop(fresh_database, branching_release()) as one:
        one.publish(branching_release())
        yield one


@pytest.fixture
def say(
    place: Workshop, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Say]:
    yield from saying(monkeypatch, capsys, place.url, home)


@pytest.fixture
def ask(say: Say) -> Ask:
    return asking(say)


def _asked(place: Workshop, event: str, person: Person, mode: str = "resume") -> str:
    way = Way("rerun") if mode == "rerun" else Way("resume")
    requested = place.ask(place.lives(event, one_failed), way, person)
    assert isinstance(requested, Requested)
    return requested.replay_id


def _ids(answer: tuple[int, dict[str, object]]) -> list[str]:
    code, told = answer
    assert code == 0, told
    listed = told["replays"]
    assert isinstance(listed, list)
    return [str(one["replay_id"]) for one in listed]


def test_where_nothing_was_replayed_it_says_so(say: Say, ask: Ask) -> None:
    """And where to look for what could be."""
    code, text = say("audit", "replays")
    assert (code, "dead-letters list" in text) == (0, True)
    assert ask("audit", "replays") == (0, {"replays": [], "next_before": None})


def test_one_replay_is_told_from_its_reason_to_its_effects(place: Workshop, say: Say, ask: Ask) -> None:
    """Planned: one effect to be sent, one confirmed. Came out: that one was sent again, once, and taken."""
    replay = _asked(place, "1", Person("alice", f"ticket 4711, token {SECRET}"))
    place.replayer.execute("w")
    place.deliver()

    code, told = ask("audit", "replays", replay)

    assert (code, told["actor"], told["state"], told["mode"]) == (0, "alice", "done", "resume")
    assert told["planned"] == {"will_be_sent": 1, "confirmed": 1, "denied": 1}
    sent = told["sent"]
    assert isinstance(sent, dict)
    assert (len(sent["actions"]), sent["again"], sent["confirmed"]) == (1, 1, 1)
    assert isinstance(told["plan"], dict)
    assert len(told["plan"]["effects"]) == 3
    _, text = say("audit", "replays", replay[:14])
    assert "ticket 4711" in text
    assert "1 effects sent (1 of them again), 1 confirmed" in text
    for shown in (text, json.dumps(told), say("audit", "replays")[1], json.dumps(ask("audit", "replays")[1])):
        assert SECRET not in shown


def test_a_rerun_is_told_by_what_it_started(place: Workshop, ask: Ask) -> None:
    """Its effects are new ones: nothing of it was sent before."""
    replay = _asked(place, "1", ALICE, "rerun")
    place.replayer.execute("w")
    place.carry_on()

    _, told = ask("audit", "replays", replay)

    sent = told["sent"]
    assert isinstance(sent, dict)
    assert str(told["new_orchestration_id"]).startswith("orc_")
    assert (sent["actions"] != [], sent["again"]) == (True, 0)


def test_each_replay_is_told_its_own_effects(place: Workshop, ask: Ask) -> None:
    """The first gave up before it sent anything; what the second sent is not told of it."""
    subject = place.lives("1", one_failed)
    first = place.row(place.ask(subject)).replay_id
    place.replayer.execute("w")
    place.recorder.record([_work(subject, gave_up())])
    second = place.row(place.ask(subject)).replay_id
    place.replayer.execute("w")
    place.deliver()

    told = [ask("audit", "replays", replay)[1]["sent"] for replay in (first, second)]

    assert [
        (len(sent["actions"]), sent["again"], sent["confirmed"]) for sent in told if isinstance(sent, dict)
    ] == [
        (0, 0, 0),
        (1, 1, 1),
    ]


def test_it_is_filtered_by_person_state_orchestration_mode_time_and_go(place: Workshop, ask: Ask) -> None:
    """The newest first, page by page; what was refused when a worker came to it is among them."""
    one, two, three = (
        _asked(place, "1", ALICE),
        _asked(place, "2", BOB),
        _asked(place, "3", ALICE, "rerun"),
    )
    place.replayer.execute("w")
    place.sql("UPDATE replays SET state = 'refused', outcome = 'key_expired: late' WHERE replay_id = %s", two)
    place.sql("UPDATE replays SET requested_at = requested_at - interval '2 days' WHERE replay_id = %s", one)

    assert _ids(ask("audit", "replays")) == [three, two, one]
    assert _ids(ask("audit", "replays", "--actor", "alice")) == [three, one]
    assert _ids(ask("audit", "replays", "--state", "refused")) == [two]
    assert _ids(ask("audit", "replays", "--mode", "rerun")) == [three]
    assert _ids(ask("audit", "replays", "--since", "24h")) == [three, two]
    assert _ids(ask("audit", "replays", "--until", "24h")) == [one]
    assert _ids(ask("audit", "replays", "--with", one)) == [three, one]
    assert _ids(ask("audit", "replays", "--tenant", "demo")) == [three, two, one]
    code, page = ask("audit", "replays", "--limit", "2")
    assert (code, page["next_before"]) == (0, two)
    assert _ids(ask("audit", "replays", "--limit", "2", "--before", two)) == [one]
    (orchestration,) = place.sql("SELECT orchestration_id FROM replays WHERE replay_id = %s", two)
    assert _ids(ask("audit", "replays", "--of", str(orchestration[0]))) == [two]
    assert ask("audit", "replays", "rpl_00000000")[0] == 1
    assert ask("audit", "replays", "--since", "yesterday")[0] == 1


def test_those_of_one_go_are_told_with_what_they_were_to_do_in_all(place: Workshop, ask: Ask) -> None:
    """A bulk replay is one person's one reason for many."""
    subjects = [place.lives(str(number), one_failed) for number in range(5)]
    requested = place.desk.request(subjects, Way("resume"), ALICE)
    first = requested[0]
    assert isinstance(first, Requested)
    _asked(place, "other", BOB)

    _, told = ask("audit", "replays", first.replay_id)

    together = told["together"]
    assert isinstance(together, dict)
    assert together["replays"] == 5
    assert together["planned"] == {"will_be_sent": 5, "confirmed": 5, "denied": 5}
    assert together["states"] == {"requested": 5}


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (Wanted(), "replays_newest"),
        (Wanted(actor="alice"), "replays_by_actor"),
        (Wanted(state="refused"), "replays_by_state"),
        (Wanted(mode="rerun"), "replays_by_mode"),
        (Wanted(reason_digest="0" * 64), "replays_by_reason"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_page_is_read_from_its_index(place: Workshop, wanted: Wanted, index: str) -> None:
    """As quick among a million as among ten: found in order, and not sorted."""
    place.sql(_MANY)
    place.sql("ANALYZE replays")
    database = Database(place.url, "interlock_api")
    query, values = page_query(wanted)
    with database.transaction(["demo"]) as connection:
        plan = connection.execute(f"EXPLAIN {query}", [["demo"], *values, 20, 20]).fetchall()
    database.close()
    assert f"Index Scan Backward using {index}" in str(plan)


_MANY = """
INSERT INTO replays (replay_id, tenant_id, orchestration_id, dead_letter_id, mode, release, actor, reason_digest,
                     plan_digest, state, requested_at, finished_at)
SELECT 'rpl_' || md5(n::text), 'demo', 'orc_' || md5(n::text), '', (ARRAY['resume', 'rerun'])[1 + mod(n, 2)], '',
       'person ' || mod(n, 50), md5((n / 50)::text), '', (ARRAY['done', 'done', 'refused'])[1 + mod(n, 3)],
       now() - n * interval '1 minute', now()
FROM generate_series(1, 5000) AS n
"""
