"""Promise: what docs/repairing.md says works. Its commands are run as they stand there, over real workers and sinks."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.adapters.postgresql.database import Database
from app.adapters.postgresql.reading import Reading
from app.adapters.postgresql.store import PostgresqlStore
from app.cli import main as command_line
from app.data_plane.orchestration.recorder import Loaded, Plan, Recorder, Work
from app.data_plane.replay.record import read_chain
from app.data_plane.replay.request import Subject
from app.kernel.clock import SystemClock
from app.kernel.facts import DeliveryInDoubt, DeliveryStarted, OrchestrationResumed, ReviewRequested
from config import settings
from tests.acceptance.repairs import Repairs, events, give_up, repairable_release, repairs
from tests.breakers import remote
from tests.eventually import assert_eventually
from tests.reviewing_workflow import silent_release
from tests.system import RunningSystem

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "repairing.md"
COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]
PROVIDER = remote()


@pytest.fixture
def sinks(home: Path) -> Iterator[Repairs]:
    """The broken one refuses each key's first request, and takes the second."""
    with repairs(home / "sinks") as both:
        yield both


@pytest.fixture
def system(fresh_database: str, home: Path, sinks: Repairs) -> Iterator[RunningSystem]:
    with RunningSystem(fresh_database, home) as running:
        # Beside the scripted provider that answers in it, it names one that has a breaker.
        release = repairable_release()
        running.publish(
            release.model_copy(update={"providers": {**release.providers, PROVIDER.name: PROVIDER}}),
            sinks.documents,
        )
        running.start_workers()
        yield running


def put_in_doubt(system: RunningSystem, subject: Subject) -> str:
    """As a worker leaves an action that dies between sending and recording; returns the action's id."""
    database = Database(system.database_url, "interlock_worker")
    recorder = Recorder(
        PostgresqlStore(database, SystemClock()), system.services.releases, system.services.carrier
    )
    (action,) = [
        row[0]
        for row in system.rows(
            "SELECT action_id FROM actions WHERE state = 'failed' AND orchestration_id = %s",
            [subject.orchestration_id],
        )
    ]

    def plan(loaded: Loaded) -> Plan:
        attempt = loaded.state.actions_by_id[action].attempts + 1
        return Plan(
            (
                OrchestrationResumed(replay_id="rpl_tests", actor="tests", reason_digest="0" * 64),
                DeliveryStarted(action_id=action, attempt=attempt),
                DeliveryInDoubt(action_id=action, attempt=attempt, reason="its worker died"),
            )
        )

    recorder.record([Work(subject.tenant_id, subject.orchestration_id, None, plan)])
    database.close()
    return str(action)


def ask_a_person(system: RunningSystem, documents: Path) -> str:
    """An orchestration whose providers have no answer, once a person is asked; its id."""
    system.publish(silent_release(), documents)
    (answer,) = system.accept(events("in-review"))
    (key,) = answer.orchestration_ids
    assert_eventually(lambda: asked_about(system, key) == ["classify"], what="a person is asked")
    return key


def asked_about(system: RunningSystem, orchestration_id: str) -> list[str]:
    """The stages that a person was asked to complete, in order."""
    view = Reading(system.services.database).views([orchestration_id])[orchestration_id]
    facts = (recorded.fact for recorded in read_chain(view.record.chain))
    return [fact.stage for fact in facts if isinstance(fact, ReviewRequested)]


def test_every_command_of_the_guide_does_what_it_says(
    system: RunningSystem, sinks: Repairs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Promise: the on-call repairs what gave up, safely, in minutes."""
    first, _by_filter, third = give_up(system, "1", "2", "3")
    in_review = ask_a_person(system, sinks.documents)
    named = {
        "RUN": in_review,
        "ORCHESTRATION": first.orchestration_id,
        "DEAD_LETTER": system.rows(
            "SELECT dead_letter_id FROM dead_letters WHERE orchestration_id = %s", [first.orchestration_id]
        )[0][0],
        "ACTION": put_in_doubt(system, third),
        "PROVIDER": PROVIDER.name,
    }
    monkeypatch.setenv("INTERLOCK_DATABASE_URL", system.database_url)
    monkeypatch.setenv("INTERLOCK_REDIS_URL", system.services.settings.effective_redis_url)
    monkeypatch.setenv("INTERLOCK_HOME", str(system.home))
    settings.load.cache_clear()
    told: dict[str, str] = {}
    for line in COMMANDS:
        python, module, app, *arguments = shlex.split(line)
        assert (python, module, app) == ("python", "-m", "app")
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            command_line.main([named.get(word, word) for word in arguments])
        said = capsys.readouterr()
        assert not ended.value.code, f"{line}\n{said.out}{said.err}"
        told[line] = said.out
    settings.load.cache_clear()
    # Nothing but the doorbell carries it on: the clock that finds what is overdue does not run here.
    assert_eventually(
        lambda: asked_about(system, in_review) == ["classify", "settle"], what="it goes on with what was said"
    )
    assert system.count_by("orchestrations", "status") == {
        "completed": 3,
        "in_review": 1,
    }
    assert sinks.broken.applied().total() == 2, "each of the two that were replayed was applied once"
    assert system.rows("SELECT state FROM breaker_orders ORDER BY order_id") == [
        ("forced_open",),
        ("released",),
    ]
    assert len(COMMANDS) == len(told) == 27
