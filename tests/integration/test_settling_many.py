"""``actions list`` by filter and page by page, and ``actions settle --all``, over a real database with many doubts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.cli import action_settling
from app.cli import main as command_line
from app.data_plane.dispatch.settle import Settled, Settlement, settle, settle_all
from app.data_plane.orchestration.recorder import Recorder
from app.data_plane.replay.request import Subject
from app.kernel.errors import InterlockError
from config import settings
from tests.branching_workflow import Example, branching_release
from tests.repairing import Workshop, workshop
from tests.unit.replay.lives import action, confirmed, happen, in_doubt, started

Json = dict[str, object]
Ask = Callable[..., tuple[int, Json]]

SAYS = ("--actor", "ines", "--reason", "the pager's own log tells")
PAGER = ("settle", "--all", "--target", "pager")


def notify_in_doubt(example: Example) -> None:
    record, notify = action(example, "record"), action(example, "notify")
    happen(example, started(record), confirmed(record), started(notify), in_doubt(notify))


def both_in_doubt(example: Example) -> None:
    record, notify = action(example, "record"), action(example, "notify")
    happen(example, started(record), in_doubt(record), started(notify), in_doubt(notify))


@pytest.fixture
def place(fresh_database: str) -> Iterator[Workshop]:
    with workshop(fresh_database, branching_release()) as one:
        one.publish(branching_release())
        yield one


@pytest.fixture
def ask(
    place: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Ask]:
    """Runs a command of ``actions`` with ``--json``; gives its exit code and what it printed."""
    monkeypatch.setenv("INTERLOCK_DATABASE_URL", place.url)
    monkeypatch.setenv("INTERLOCK_HOME", str(tmp_path))
    settings.load.cache_clear()

    def run(*arguments: str) -> tuple[int, Json]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            command_line.main(["actions", *arguments, "--json"])
        said = capsys.readouterr()
        return int(ended.value.code or 0), json.loads((said.out.strip() or said.err.strip()).splitlines()[-1])

    yield run
    settings.load.cache_clear()


def named(answer: tuple[int, Json]) -> list[tuple[str, str]]:
    """Of a list: each action's orchestration and name, in its order."""
    code, told = answer
    assert code == 0, told
    return [(row["orchestration_id"], row["name"]) for row in rows(told, "actions")]


def rows(told: Json, name: str) -> list[dict[str, str]]:
    listed = told[name]
    assert isinstance(listed, list)
    return listed


def said(place: Workshop, subject: Subject, name: str, *, actor: str = "ines") -> Settlement:
    """What a person says of one action: that it was applied."""
    ((key,),) = place.sql(
        "SELECT action_id FROM actions WHERE orchestration_id = %s AND name = %s",
        subject.orchestration_id,
        name,
    )
    return Settlement("demo", subject.orchestration_id, str(key), True, actor, "it is there")


def statuses(place: Workshop) -> dict[str, int]:
    counted = place.sql("SELECT status, count(*)::integer FROM orchestrations GROUP BY 1")
    return {str(status): int(str(count)) for status, count in counted}


class TestList:
    @pytest.mark.parametrize("state", [(), ("--state", "in_doubt")], ids=["any state", "in doubt"])
    def test_pages_begin_behind_the_last_row_and_tell_each_action_once(
        self, place: Workshop, ask: Ask, state: tuple[str, ...]
    ) -> None:
        for number in range(3):
            place.lives(str(number), both_in_doubt)
        # Of one moment, so that only their ids tell them apart.
        place.sql("UPDATE orchestrations SET created_at = '2026-01-01T00:00:00Z' WHERE event_id <> '0'")
        whole = named(ask("list", *state, "--limit", "1000"))
        assert len(whole) == (6 if state else 9)
        paged: list[tuple[str, str]] = []
        before: tuple[str, ...] = ()
        while page := ask("list", *state, "--limit", "1" if state else "2", *before):
            paged += named(page)
            if not rows(page[1], "actions"):
                break
            before = ("--before", rows(page[1], "actions")[-1]["action_id"])
        assert paged == whole

    @pytest.mark.parametrize("state", [(), ("--state", "in_doubt")], ids=["any state", "in doubt"])
    def test_every_filter_narrows_it(self, place: Workshop, ask: Ask, state: tuple[str, ...]) -> None:
        old, new = place.lives("old", both_in_doubt), place.lives("new", both_in_doubt)
        place.sql(
            "UPDATE orchestrations SET created_at = created_at - interval '2 days' WHERE orchestration_id = %s",
            old.orchestration_id,
        )
        both = {old.orchestration_id, new.orchestration_id}
        of_pager = named(ask("list", *state, "--target", "pager"))
        assert set(of_pager) == {(key, "notify") for key in both}
        assert {key for key, _ in named(ask("list", *state, "--since", "24h"))} == {new.orchestration_id}
        assert {key for key, _ in named(ask("list", *state, "--workflow", "branching"))} == both
        assert named(ask("list", *state, "--workflow", "another")) == []

    def test_a_time_that_is_none_is_refused(self, ask: Ask) -> None:
        code, told = ask("list", "--since", "yesterday")
        assert (code, told["error"]["code"]) == (1, "invalid_argument")  # type: ignore[index]


class TestSettlingMany:
    """A target was away for an hour: a person looks there once, and says it of all."""

    def test_all_at_one_target_are_settled_and_each_is_told(
        self, place: Workshop, ask: Ask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(action_settling, "BATCH", 2)
        subjects = [place.lives(str(number), notify_in_doubt) for number in range(5)]
        other = place.lives("other", both_in_doubt)
        before = place.sql("SELECT count(*) FROM journal")
        code, dry = ask(*PAGER, "--applied", *SAYS, "--dry-run")
        assert (code, len(rows(dry, "settled")), dry["dry_run"]) == (0, 6, True)
        assert place.sql("SELECT count(*) FROM journal") == before, "a dry run records nothing"

        code, told = ask(*PAGER, "--applied", *SAYS)

        assert (code, told["failed"], told["more"]) == (0, [], False)
        ended = {one["orchestration_id"]: one["orchestration_status"] for one in rows(told, "settled")}
        assert ended == {
            **{one.orchestration_id: "completed" for one in subjects},
            other.orchestration_id: "dead_lettered",
        }
        assert rows(told, "settled") == rows(dry, "settled")
        assert named(ask("list", "--state", "in_doubt")) == [(other.orchestration_id, "record")]
        assert place.sql("SELECT DISTINCT reason FROM actions WHERE state = 'settled'") == [
            ("it was applied, says ines",)
        ]

    def test_not_applied_leaves_them_to_be_sent_again(self, place: Workshop, ask: Ask) -> None:
        for number in range(3):
            place.lives(str(number), notify_in_doubt)
        code, told = ask(*PAGER, "--not-applied", *SAYS, "--workflow", "branching")
        assert (code, len(rows(told, "settled"))) == (0, 3)
        assert statuses(place) == {"dead_lettered": 3}
        assert place.sql(
            "SELECT count(*) FROM dead_letters WHERE state = 'open' AND code = 'not_applied'"
        ) == [(3,)]

    def test_two_of_one_orchestration_are_settled_in_one_batch(self, place: Workshop) -> None:
        subject = place.lives("1", both_in_doubt)
        answers = settle_all(place.recorder, [said(place, subject, name) for name in ("record", "notify")])
        assert [isinstance(one, Settled) for one in answers] == [True, True]
        assert statuses(place) == {"completed": 1}

    def test_one_that_cannot_be_settled_keeps_no_other_from_it_and_is_told(
        self, place: Workshop, ask: Ask
    ) -> None:
        good, bad = place.lives("good", notify_in_doubt), place.lives("bad", notify_in_doubt)
        place.sql("UPDATE orchestrations SET release = %s WHERE event_id = 'bad'", "0" * 64)
        code, told = ask(*PAGER, "--applied", *SAYS)
        assert code == 1
        assert [one["orchestration_id"] for one in rows(told, "settled")] == [good.orchestration_id]
        (failed,) = rows(told, "failed")
        assert failed["orchestration_id"] == bad.orchestration_id
        assert failed["code"]
        assert failed["remedy"]

    def test_what_somebody_settles_meanwhile_is_told_by_whom(
        self, place: Workshop, ask: Ask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        subject, _other = (place.lives(name, notify_in_doubt) for name in ("1", "2"))
        theirs = said(place, subject, "notify", actor="otto")

        def otto_is_faster(
            recorder: Recorder, settlements: list[Settlement]
        ) -> list[Settled | InterlockError]:
            settle(place.recorder, theirs)
            return settle_all(recorder, settlements)

        monkeypatch.setattr(action_settling, "settle_all", otto_is_faster)
        code, told = ask(*PAGER, "--applied", *SAYS)
        assert code == 1
        (failed,) = rows(told, "failed")
        assert (failed["action_id"], failed["code"]) == (theirs.action_id, "already_settled")
        assert failed["what"].startswith("otto has settled")
        assert len(rows(told, "settled")) == 1

    def test_a_limit_says_that_there_are_more(self, place: Workshop, ask: Ask) -> None:
        for number in range(3):
            place.lives(str(number), notify_in_doubt)
        told = ask(*PAGER, "--applied", *SAYS, "--limit", "2")[1]
        assert (len(rows(told, "settled")), told["more"]) == (2, True)
        assert len(named(ask("list", "--state", "in_doubt"))) == 1

    def test_nothing_in_doubt_is_no_failure(self, ask: Ask) -> None:
        code, told = ask(*PAGER, "--applied", *SAYS)
        assert (code, told) == (0, {"settled": [], "failed": [], "dry_run": False, "more": False})

    @pytest.mark.parametrize(
        ("arguments", "code"),
        [
            (("settle", "--applied", *SAYS), "invalid_argument"),
            (("settle", "--all", "--applied", *SAYS), "invalid_argument"),
            (
                ("settle", "act_00000000", "--all", "--target", "pager", "--applied", *SAYS),
                "invalid_argument",
            ),
            (("settle", "act_00000000", "--target", "pager", "--applied", *SAYS), "invalid_argument"),
            ((*PAGER, *SAYS), "invalid_argument"),
            ((*PAGER, "--applied", "--reason", "seen"), "not_answered_for"),
            ((*PAGER, "--applied", "--actor", "ines"), "not_answered_for"),
        ],
    )
    def test_which_what_by_whom_and_why_must_all_be_said(
        self, place: Workshop, ask: Ask, arguments: tuple[str, ...], code: str
    ) -> None:
        place.lives("1", notify_in_doubt)
        exit_code, told = ask(*arguments)
        assert (exit_code, told["error"]["code"]) == (1, code)  # type: ignore[index]
        assert len(named(ask("list", "--state", "in_doubt"))) == 1
