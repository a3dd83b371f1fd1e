"""At a step's limit the call in flight is cancelled: nothing is waited for, paid for or asked any further.

Seen from the other side: by model servers that hang, over real connections, with clocks of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.adapters.postgresql.reading import Reading
from app.data_plane.replay.explain import Explanation, explain
from app.kernel.release import AgentBundle, OpenAICompatibleProvider, Release
from tests.acceptance.hanging_model import ANSWER, HangingModel, hanging_model
from tests.acceptance.two_sinks import PATIENCE_SECONDS, issues, two_sinks_release
from tests.eventually import assert_eventually
from tests.system import RunningSystem

LIMIT_SECONDS = 2.0
PROMISED_SECONDS = 1.0
"""Within this of the limit the provider sees the connection close: the promise itself."""
FALLBACK = {"level": "low"}


def provider(name: str, model: HangingModel) -> OpenAICompatibleProvider:
    """The provider at that server."""
    return OpenAICompatibleProvider(
        kind="openai_compatible",
        name=name,
        version=1,
        model="local-1",
        base_url=model.url,
        api_key="env:TEST_MODEL_KEY",
    )


def limited_release(first: HangingModel, second: HangingModel) -> Release:
    """One agent that may ask two providers, in a stage with a limit below the agent's own."""
    release = two_sinks_release()
    (stage,) = release.template.stages
    agents = ("alpha",)
    limited = stage.model_copy(
        update={"agents": agents, "timeout_seconds": LIMIT_SECONDS, "fallback": FALLBACK}
    )
    template = release.template.model_copy(
        update={
            "stages": (limited,),
            "agent_versions": dict.fromkeys(agents, 1),
            "actions": (),
            "targets": (),
        }
    )
    agent = AgentBundle(
        **{
            **dict(release.agents["alpha"]),
            "providers": ("first", "second"),
            "provider_versions": {"first": 1, "second": 1},
            "timeout_seconds": 10 * LIMIT_SECONDS,
        }
    )
    return Release(
        template=template,
        agents={"alpha": agent},
        providers={"first": provider("first", first), "second": provider("second", second)},
        policy=release.policy,
        tools={},
    )


@contextmanager
def asking(database_url: str, home: Path) -> Iterator[tuple[RunningSystem, HangingModel, HangingModel]]:
    """A system whose agent asks the first server, and would ask the second."""
    environment = {"TEST_MODEL_KEY": "k3y", "NO_PROXY": "127.0.0.1"}
    with (
        hanging_model() as first,
        hanging_model() as second,
        RunningSystem(database_url, home, beat=True, environment=environment) as system,
    ):
        system.publish(limited_release(first, second))
        system.start_workers()
        yield system, first, second


def told(system: RunningSystem, name: str) -> Explanation:
    """What is recorded of the orchestration of that event."""
    ((key,),) = system.rows("SELECT orchestration_id FROM orchestrations WHERE event_id = %s", [name])
    view = Reading(system.services.database).views([key])[key]
    return explain(view.record, system.services.releases.get(view.row.release))


def test_at_its_limit_a_run_hangs_up_asks_nobody_else_and_the_fallback_decides(
    fresh_database: str, home: Path
) -> None:
    """Whether the model says nothing or drips: its connection closes at the stage's limit, and that is all."""
    with asking(fresh_database, home) as (system, first, second):
        # The first question of a process pays for loading the client, inside the same limit.
        system.accept(issues(["answers once"]))
        system.wait_until_all_ended(within=PATIENCE_SECONDS)

        system.accept(issues(["silent", "drips", "answers too"]))
        system.wait_until_all_ended(within=PATIENCE_SECONDS)
        assert_eventually(
            lambda: all(call.closed_at for call in first.calls if call.how != "answers"),
            what="the server sees its connections closed",
        )

        hung = {call.how: call for call in first.calls if call.how != "answers"}
        assert hung.keys() == {"silent", "drips"}
        for how, call in hung.items():
            assert call.closed_at is not None
            # The limit counts from the claim, which is before the question arrives here.
            after_the_limit = call.closed_at - (call.asked_at + LIMIT_SECONDS)
            assert after_the_limit < PROMISED_SECONDS, f"{how}: {after_the_limit:.2f} s after the limit"
            print(f"{how}: closed {1000 * after_the_limit:.0f} ms after the limit")
            assert after_the_limit > -LIMIT_SECONDS / 2, f"{how}: cut off long before its limit"

            stage = told(system, how).stages[0]
            assert [voice.failure.partition(":")[0] for voice in stage.voices] == ["timed_out"]
            assert stage.degraded
            assert told(system, how).decision.fields == FALLBACK

        assert told(system, "answers too").decision.fields == ANSWER, (
            "its neighbour in the batch was answered"
        )
        assert system.count_by("orchestrations", "status") == {"completed": 4}
        assert system.rows("SELECT count(*) FROM work_index WHERE finished_at IS NULL") == [(0,)]
        assert len([call for call in first.calls if call.how != "answers"]) == 2
        assert second.calls == []
        assert system.verify_all() == {}
