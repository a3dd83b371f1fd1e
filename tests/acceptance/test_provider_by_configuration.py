"""``--provider openai``: the shipped workflow asks a model's server instead, and holds out when it answers nonsense."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from app.adapters.postgresql.reading import Reading
from app.data_plane.ingestion.accept import Submission
from app.data_plane.replay.explain import Explanation, StageTold, explain
from config.settings import CHECKOUT
from interlock.canonical import JsonObject
from interlock.envelope import Envelope
from tests.acceptance.model_server import ANSWERS, ModelServer, model_server
from tests.system import RunningSystem

ADVOCATE = (CHECKOUT / "config/agents/newcomer-advocate/1/instructions.md").read_text().strip()


@contextmanager
def _asking_a_model(database: str, home: Path) -> Iterator[tuple[RunningSystem, ModelServer]]:
    with model_server() as model:
        environment = {
            "INTERLOCK_OPENAI_BASE_URL": model.url,
            "OPENAI_API_KEY": "k3y",
            "NO_PROXY": "127.0.0.1",
        }
        with RunningSystem(database, home, environment=environment) as system:
            system.publish_shipped(provider="openai")
            system.start_workers()
            yield system, model


def _decide(system: RunningSystem, event_id: str) -> Explanation:
    """Send one issue, wait for its end, and read what is recorded of it."""
    data: JsonObject = {
        "kind": "issue",
        "number": 7,
        "title": "It broke",
        "body": "",
        "author": "ada",
        "state": "open",
    }
    event = Envelope(
        id=event_id,
        source="/tests",
        type="dev.interlock.issue",
        tenantid="demo",
        dataschema="urn:interlock:schema:issue:2",
        data=data,
    )
    (key,) = system.accept([Submission(event)])[0].orchestration_ids
    system.wait_until_all_ended()
    view = Reading(system.services.database).views([key])[key]
    return explain(view.record, system.services.releases.get(view.row.release))


def _stage(told: Explanation, name: str) -> StageTold:
    return next(stage for stage in told.stages if stage.name == name)


def test_another_provider_answers_for_every_agent_and_its_nonsense_loses_nothing(
    make_database: Callable[[], str], home: Path
) -> None:
    """Proposals come from the model's answers; one that is no JSON is a failed run; all of them: the fallback."""
    with _asking_a_model(make_database(), home) as (system, model):
        answered = _decide(system, "answered")
        classify = _stage(answered, "classify")
        assert [voice.proposal for voice in classify.voices] == [ANSWERS["needs_answer"]] * 3
        assert {(voice.provider, voice.model) for voice in classify.voices} == {("openai", "local-1")}
        assert (answered.decision.fields["label"], answered.decision.degraded) == ("feature", False)
        assert answered.decision.fields["comment"] == "The model thanks you."
        assert model.asked == 3 + 2 + 2

        model.broken = lambda system: ADVOCATE in system
        one_broken = _decide(system, "one broken")
        failed = {voice.agent: voice.failure for voice in _stage(one_broken, "classify").voices}
        assert failed["newcomer-advocate"].startswith("invalid_answer")
        assert failed["classifier"] == failed["maintainer"] == ""
        assert (one_broken.decision.fields["label"], one_broken.decision.degraded) == ("feature", False)

        model.broken = lambda _system: True
        all_broken = _decide(system, "all broken")
        assert _stage(all_broken, "classify").degraded
        assert all_broken.status == "completed"
        assert (all_broken.decision.fields["label"], all_broken.decision.degraded) == ("question", True)

        assert system.verify_all() == {}
