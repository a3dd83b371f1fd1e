"""A workflow whose one decision asks for an action at each of the targets that a test names, decided and not delivered.

What happens next is a dispatcher's: the targets may hang, break, and be asked.
"""

from __future__ import annotations

from typing import cast

from app.data_plane.orchestration.action_state import ActionState
from app.data_plane.orchestration.recorder import Plan, Recorder, Work
from app.data_plane.orchestration.state import OrchestrationState
from app.data_plane.ports import Carrier, Queue, Releases, StageCanvas, Store
from app.data_plane.tools import shipped_tools
from app.kernel.facts import AnyFact, RunFolded, SnapshotTaken
from app.kernel.release import (
    ActionTemplate,
    AgentBundle,
    Policy,
    Release,
    ScriptedProvider,
    ScriptedRule,
    Target,
    WorkflowTemplate,
)
from interlock.canonical import digest_bytes
from interlock.identity import run_id
from tests.accepted_events import accepted_event, orchestration_of
from tests.branching_workflow import stage

EMPTY = b"{}"


def doubtful_release(*targets: Target) -> Release:
    """One stage, and an action at each target, which is named after it."""
    template = WorkflowTemplate(
        name="branching",
        version=1,
        subscribes=("dev.interlock.issue",),
        stages=(stage("classify", ("alpha",), fallback={"level": "low"}),),
        decision={"level": "stages.classify.level"},
        reason='"it is " + decision.level',
        targets=targets,
        actions=tuple(
            ActionTemplate(
                name=target.name,
                tool="reference.record",
                target=target.name,
                arguments={"subject": f'"{target.name}"', "verdict": "decision.level"},
            )
            for target in targets
        ),
        policy="doubtful",
        policy_version=1,
        agent_versions={"alpha": 1},
    )
    agent = AgentBundle(
        name="alpha",
        version=1,
        instructions="Say how high the level is.",
        inputs={"title": "event.issue.title"},
        providers=("script",),
        provider_versions={"script": 1},
    )
    rules = (ScriptedRule(agent="alpha", answer={"level": "low"}),)
    return Release(
        template=template,
        agents={"alpha": agent},
        providers={"script": ScriptedProvider(kind="scripted", name="script", version=1, rules=rules)},
        policy=Policy(name="doubtful", version=1, cedar="permit (principal, action, resource);"),
        tools={"reference.record": shipped_tools()["reference.record"]},
    )


class OneRelease:
    """``Releases`` with one in it."""

    def __init__(self, release: Release) -> None:
        self.release = release

    def get(self, digest: str) -> Release:
        """See ``Releases.get``."""
        return self.release


class Rung:
    """``Carrier`` that counts how often it was rung."""

    def __init__(self) -> None:
        self.times = 0

    def ring(self, queue: Queue) -> None:
        """See ``Carrier.ring``."""
        self.times += 1

    def publish(self, canvas: StageCanvas) -> None:
        """See ``Carrier.publish``."""


class Decided:
    """Orchestrations of the workflow in a store, decided, their deliveries due.

    Args:
        events: how many.
    """

    def __init__(self, store: Store, release: Release, events: int = 1) -> None:
        self.carrier = Rung()
        releases = cast(Releases, OneRelease(release))
        self.recorder = Recorder(store, releases, cast(Carrier, self.carrier), shortcut=False)
        accepted = [accepted_event(str(number), release=release.digest) for number in range(events)]
        store.accept(accepted)
        self.ids = [orchestration_of(event) for event in accepted]
        for key in self.ids:
            snapshot = SnapshotTaken(snapshot_digest=digest_bytes(EMPTY))
            self.happen(key, snapshot, {digest_bytes(EMPTY): EMPTY})
            self.happen(key, _folded(key))

    def happen(self, orchestration: str, fact: AnyFact, contents: dict[str, bytes] | None = None) -> None:
        """Let a fact from outside be recorded."""
        work = Work("demo", orchestration, None, lambda _: Plan((fact,), contents or {}))
        self.recorder.record([work])

    def state(self, orchestration: str = "") -> OrchestrationState:
        """What is known of it (of the first one, if none is named)."""
        key = orchestration or self.ids[0]
        return self.recorder.load(["demo"], [key])[key].state

    def action(self, target: str, orchestration: str = "") -> ActionState:
        """Its action at a target."""
        actions = self.state(orchestration).actions_by_id.values()
        return next(one for one in actions if one.proposed.target == target)

    def action_id(self, target: str) -> str:
        """The id of the first one's action at a target."""
        return self.action(target).proposed.action_id

    def kinds(self, target: str) -> list[str]:
        """The kinds of facts about the first one's action at a target, in order."""
        key = self.action_id(target)
        facts = self.recorder.load(["demo"], self.ids[:1])[self.ids[0]].history.facts
        return [one.fact.kind for one in facts if getattr(one.fact, "action_id", None) == key]


def _folded(orchestration: str) -> RunFolded:
    return RunFolded(
        stage="classify",
        agent="alpha",
        run_id=run_id(orchestration, "classify", "alpha"),
        proposal_digest=None,
        failure="provider_unavailable",
        chain_length=1,
        chain_hash="0" * 64,
    )
