"""Promise: what docs/approvals.md says works. Its commands are run as they stand there, over real workers."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.cli import main as command_line
from app.data_plane.gateway.judge import Principal, Question, judge
from app.kernel.release import Policy
from config import settings
from tests.acceptance.repairs import events
from tests.approving_workflow import CALLED
from tests.documented import blocks, commands
from tests.eventually import assert_eventually
from tests.system import RunningSystem

PAGE = "docs/approvals.md"


@pytest.fixture
def system(fresh_database: str, home: Path) -> Iterator[RunningSystem]:
    with RunningSystem(fresh_database, home) as running:
        running.publish(CALLED)
        running.start_workers()
        yield running


def waiting(system: RunningSystem) -> list[tuple[str, str]]:
    """The actions that wait, and their orchestrations."""
    query = "SELECT action_id, orchestration_id FROM actions WHERE state = 'awaiting_approval' ORDER BY 1"
    return [(row[0], row[1]) for row in system.rows(query)]


def test_the_policy_of_the_guide_asks_two_people_about_what_is_risky_and_nobody_about_the_rest() -> None:
    (cedar,) = blocks(PAGE, "cedar")
    policy = Policy(name="guide", version=1, cedar=cedar)

    def verdict(subject: str) -> tuple[str, int]:
        asked = Question(
            Principal("Workflow", "calling"),
            "calling",
            "reference.record",
            "tracker",
            "demo",
            {"subject": subject, "verdict": "low"},
        )
        found = judge(policy, asked)
        return found.outcome, found.persons

    assert verdict("routine") == ("permitted", 0)
    assert verdict("risky") == ("needs_approval", 2)


def test_every_command_of_the_guide_does_what_it_says(
    system: RunningSystem, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing but the doorbells carries it on: the clock that finds what is overdue does not run here."""
    system.accept(events("1", "2"))
    assert_eventually(lambda: len(waiting(system)) == 2, what="both runs wait for a person")
    (action, run), (other, _) = waiting(system)
    named = {"ACTION": action, "OTHER": other, "RUN": run, "DIGEST": ""}
    monkeypatch.setenv("INTERLOCK_DATABASE_URL", system.database_url)
    monkeypatch.setenv("INTERLOCK_REDIS_URL", system.services.settings.effective_redis_url)
    monkeypatch.setenv("INTERLOCK_HOME", str(system.home))
    settings.load.cache_clear()
    for line in commands(PAGE):
        python, module, app, *arguments = shlex.split(line)
        assert (python, module, app) == ("python", "-m", "app")
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            command_line.main([named.get(word, word) for word in arguments])
        said = capsys.readouterr()
        assert not ended.value.code, f"{line}\n{said.out}{said.err}"
        if "--digest " in said.out:
            named["DIGEST"] = said.out.partition("--digest ")[2].split()[0]
    settings.load.cache_clear()
    system.wait_until_all_ended(within=30.0)
    assert system.count_by("orchestrations", "status") == {"completed": 2}
    assert system.count_by("actions", "state") == {"confirmed": 1, "denied": 1}
    assert system.sink_counts().applied == 1
    assert system.verify_all() == {}
