"""Replay from the command line, over real workers and real sinks: what the on-call sees, and what happens by it.

What the sinks received is read from their own histories. The broken one refuses the first request of each key, so
that each event's orchestration gives up once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from app.adapters.postgresql.reading import Reading
from app.cli import main as command_line
from app.data_plane.replay.request import Person, Requested, Subject, Way
from app.kernel.facts import OrchestrationStarted, decode
from config import settings
from tests.acceptance.repairs import Repairs, give_up, repair_shop
from tests.eventually import assert_eventually
from tests.system import RunningSystem

Json = dict[str, object]
Ask = Callable[..., tuple[int, Json]]
Shop = tuple[RunningSystem, Repairs]

BECAUSE = ("--actor", "alice", "--reason", "the pager was repaired")


@pytest.fixture(scope="module")
def shop(database_url: str) -> Iterator[Shop]:
    """The system of all tests here."""
    with repair_shop(database_url, "replay") as both:
        yield both


@pytest.fixture
def system(shop: Shop) -> RunningSystem:
    """Its workers."""
    return shop[0]


@pytest.fixture
def sinks(shop: Shop) -> Repairs:
    """Its sinks."""
    return shop[1]


@pytest.fixture
def run(
    system: RunningSystem, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Ask]:
    """Runs a command with ``--json``; gives its exit code and what it printed (the error, if it failed)."""
    monkeypatch.setenv("INTERLOCK_DATABASE_URL", system.database_url)
    monkeypatch.setenv("INTERLOCK_REDIS_URL", system.services.settings.effective_redis_url)
    monkeypatch.setenv("INTERLOCK_HOME", str(system.home))
    settings.load.cache_clear()

    def asked(*arguments: str) -> tuple[int, Json]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            command_line.main([*arguments, "--json"])
        said = capsys.readouterr()
        printed = said.out.strip() or said.err.strip().splitlines()[-1]
        return int(ended.value.code or 0), json.loads(printed)

    yield asked
    settings.load.cache_clear()


def test_what_gave_up_is_replayed_once_and_who_did_it_why_and_what_came_out_is_kept(
    run: Ask, system: RunningSystem, sinks: Repairs
) -> None:
    """Promises 2 and 5: a plan, a replay with a reason, one effect, a row in the register, and it verifies."""
    (dead,) = give_up(system, "resumed")
    letter = _letter(system, dead)
    keys = _keys(system, dead)
    healthy = sinks.healthy.received()
    code, told = run("dead-letters", "plan", letter[:14])
    (plan,) = _list(told["plans"])
    assert code == 0
    assert {effect["name"]: effect["standing"] for effect in plan["effects"]} == {
        "record": "confirmed",
        "notify": "will_be_sent",
        "forbidden": "denied",
    }
    of = ("--of", dead.orchestration_id)
    assert _list(run("audit", "replays", *of)[1]["replays"]) == [], "a plan leaves nothing"

    code, told = run("dead-letters", "replay", letter, *BECAUSE)

    (replayed,) = _list(told["replays"])
    assert (code, replayed["state"], replayed["status"]) == (0, "done", "completed")
    received = sinks.broken.received()
    assert received[keys["notify"], "failed"] == received[keys["notify"], "applied"] == 1
    assert sinks.healthy.received() == healthy, "what was confirmed was sent again"
    assert system.rows("SELECT state FROM dead_letters WHERE dead_letter_id = %s", [letter]) == [
        ("replayed",)
    ]

    (listed,) = _list(run("audit", "replays", *of, "--actor", "alice", "--state", "done")[1]["replays"])
    shown = run("audit", "replays", str(listed["replay_id"])[:14])[1]
    assert (shown["actor"], shown["reason"]) == ("alice", "the pager was repaired")
    assert (shown["dead_letter_id"], shown["plan"]) == (letter, plan)
    assert str(shown["outcome"]) == "resumed: 1 of 2 actions are sent again, 1 were confirmed before"
    code, told = run("replay", dead.orchestration_id)
    assert (code, told["matches"]) == (0, True), "reopened and closed again, it is decided the same"


def test_a_rerun_is_another_orchestration_with_keys_and_a_trace_of_its_own(
    run: Ask, system: RunningSystem, sinks: Repairs
) -> None:
    """It sends again what the original had confirmed, under new keys; the plan says so before."""
    (dead,) = give_up(system, "rerun")
    ((release,),) = system.rows("SELECT digest FROM releases WHERE workflow = 'branching'")
    rerun = ("replay", dead.orchestration_id, "--mode", "rerun", "--release", release[:12])
    code, told = run(*rerun, "--dry-run")
    (plan,) = _list(told["plans"])
    assert (code, plan["release"]) == (0, release)
    assert [effect["standing"] for effect in plan["effects"]] == ["decided_anew", "decided_anew", "denied"]

    code, told = run(*rerun, *BECAUSE)

    (replayed,) = _list(told["replays"])
    assert replayed["new_orchestration_id"] == plan["new_orchestration_id"]
    # The broken sink refuses the first request of each key, and the rerun's keys are new.
    assert (code, replayed["state"], replayed["status"]) == (1, "done", "dead_lettered")
    again = Subject("demo", str(replayed["new_orchestration_id"]))
    assert not set(_keys(system, dead).values()) & set(_keys(system, again).values())
    assert sinks.healthy.applied()[_keys(system, again)["record"]] == 1
    views = Reading(system.services.database).views([dead.orchestration_id, again.orchestration_id])
    original, new = views[dead.orchestration_id].row, views[again.orchestration_id].row
    started = decode(views[again.orchestration_id].record.chain[0].body).fact
    assert isinstance(started, OrchestrationStarted)
    assert (started.lane, started.ordinal, started.replay_of) == ("rerun", 1, dead.orchestration_id)
    assert (original.status, new.event_id) == ("dead_lettered", original.event_id)
    assert new.traceparent is not None
    assert original.traceparent is None or new.traceparent[3:35] != original.traceparent[3:35]

    code, told = run("replay", again.orchestration_id, "--mode", "resume", *BECAUSE)
    assert (code, _list(told["replays"])[0]["status"]) == (0, "completed"), "a rerun may be resumed"
    assert run("replay", again.orchestration_id)[1]["matches"] is True


def test_each_refusal_says_why_and_has_no_effect_at_any_sink(
    run: Ask, system: RunningSystem, sinks: Repairs
) -> None:
    """Without a reason, by nobody, of a replay, of a rerun, a second time, of what does not exist."""
    fresh, reran = give_up(system, "refused", "reran")
    rerun = _list(run("replay", reran.orchestration_id, "--mode", "rerun", *BECAUSE)[1]["replays"])[0]
    before = (sinks.healthy.received(), sinks.broken.received())
    rows = system.rows("SELECT count(*) FROM replays")
    resume = ("replay", fresh.orchestration_id, "--mode", "resume")
    bob = ("--actor", "bob", "--reason", "me too")
    for arguments, refusal, named in (
        ((*resume, "--actor", "alice"), "reason_missing", "--reason"),
        ((*resume, "--actor", "alice", "--reason", "  "), "reason_missing", "--reason"),
        ((*resume, "--reason", "because"), "actor_missing", "--actor"),
        ((*resume, *BECAUSE, "--release", "0" * 12), "invalid_argument", "pinned"),
        (
            ("replay", fresh.orchestration_id, "--mode", "rerun", "--release", "0" * 12, *bob),
            "release_not_published",
            "releases list",
        ),
        (
            ("replay", rerun["replay_id"], "--mode", "resume", *bob),
            "not_replayable",
            reran.orchestration_id,
        ),
        (("dead-letters", "replay", rerun["replay_id"], *bob), "not_replayable", reran.orchestration_id),
        (
            ("replay", rerun["new_orchestration_id"], "--mode", "rerun", *bob),
            "not_replayable",
            reran.orchestration_id,
        ),
        (("replay", reran.orchestration_id, "--mode", "rerun", *bob), "already_replayed", "alice"),
        (("replay", reran.orchestration_id, "--mode", "resume", *bob), "already_replayed", "alice"),
        (("replay", "orc_ffffffffffff", "--mode", "resume", *bob), "unknown_orchestration", "runs list"),
        (("replay", "orc_1", "--mode", "resume", *bob), "unknown_orchestration", "short"),
        (("dead-letters", "replay", "dlr_ffffffffffff", *bob), "unknown_dead_letter", "list"),
        (("dead-letters", "replay", *bob), "invalid_argument", "--all"),
        (("audit", "replays", "rpl_ffffffffffff"), "unknown_replay", "audit replays"),
        (("audit", "replays", "--since", "yesterday"), "invalid_argument", "24h"),
    ):
        code, told = run(*(str(argument) for argument in arguments))
        error = told["error"]
        assert isinstance(error, dict)
        assert (code, error["code"]) == (1, refusal), arguments
        assert named in f"{error['what']} {error['remedy']}"
    assert (sinks.healthy.received(), sinks.broken.received()) == before
    assert system.rows("SELECT count(*) FROM replays") == rows


def test_of_two_people_at_once_one_wins_and_each_effect_happens_once(
    system: RunningSystem, sinks: Repairs
) -> None:
    """While workers carry the first one's out, the second is told by name."""
    subjects = give_up(system, *(f"both-{number}" for number in range(6)))
    desk = system.services.replay_desk
    for subject in subjects:
        first = desk.request([subject], Way("resume"), Person("alice", "repaired"))[0]
        second = desk.request([subject], Way("resume"), Person("bob", "me too"))[0]
        assert isinstance(first, Requested)
        assert not isinstance(second, Requested)
        assert (second.code, "alice" in second.what) in {
            ("replay_in_progress", True),
            ("already_replayed", True),
        }
    unfinished = "SELECT count(*) FROM replays WHERE finished_at IS NULL"
    assert_eventually(lambda: system.rows(unfinished) == [(0,)], what="all are carried out")
    system.wait_until_all_ended()
    applied = sinks.broken.applied()
    assert [applied[_keys(system, subject)["notify"]] for subject in subjects] == [1] * 6


def test_many_are_replayed_by_a_filter_so_many_a_second(
    run: Ask, system: RunningSystem, sinks: Repairs
) -> None:
    """The plan's totals first; then a line for each of what came out."""
    run("dead-letters", "replay", "--all", "--rate", "100", *BECAUSE)
    subjects = give_up(system, *(f"many-{number}" for number in range(4)))
    ours = {subject.orchestration_id for subject in subjects}
    before = sinks.broken.received()
    code, told = run("dead-letters", "plan", "--cause", "failed_delivery", "--queue", "dispatch")
    assert (code, {plan["orchestration_id"] for plan in _list(told["plans"])}) == (0, ours)
    assert told["totals"] == {"confirmed": 4, "will_be_sent": 4, "denied": 4}
    assert _list(run("dead-letters", "plan", "--cause", "in_doubt")[1]["plans"]) == []
    few = ("dead-letters", "replay", "--workflow", "branching", "--limit", "2", *BECAUSE)
    told = run(*few, "--dry-run")[1]
    assert (len(_list(told["plans"])), told["more"]) == (2, True)
    assert sinks.broken.received() == before, "a dry run sends nothing"

    code, told = run("dead-letters", "replay", "--cause", "failed_delivery", "--rate", "4", *BECAUSE)

    replayed = _list(told["replays"])
    assert (code, {one["orchestration_id"] for one in replayed}) == (0, ours)
    assert {(one["state"], one["status"]) for one in replayed} == {("done", "completed")}
    applied = sinks.broken.applied()
    assert [applied[_keys(system, subject)["notify"]] for subject in subjects] == [1] * 4
    assert run("dead-letters", "replay", "--all", *BECAUSE) == (
        0,
        {"replays": [], "refused": [], "more": False, "of_messages": 0},
    )
    assert system.verify_all() == {}


def _letter(system: RunningSystem, of: Subject) -> str:
    ((letter,),) = system.rows(
        "SELECT dead_letter_id FROM dead_letters WHERE orchestration_id = %s", [of.orchestration_id]
    )
    return str(letter)


def _keys(system: RunningSystem, of: Subject) -> dict[str, str]:
    """By action: its idempotency key, of those that the policy permitted."""
    query = "SELECT name, idempotency_key FROM actions WHERE orchestration_id = %s AND state <> 'denied'"
    return dict(system.rows(query, [of.orchestration_id]))


def _list(value: object) -> list[dict[str, object]]:
    assert isinstance(value, list)
    return value
