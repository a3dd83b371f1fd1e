"""A workflow with every shape that a template can have: stages in a row, a branch with a condition, a join, and actions
at a target that honours keys, at one that does not, and one that the policy denies.

::

    classify --high--> deep ---+--> settle --> record (tracker), notify (pager, when deep ran), forbidden (denied)
             --else--> quick --+
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache

from app.data_plane.contents import Contents
from app.data_plane.orchestration.progress import Progress, progress
from app.data_plane.orchestration.state import OrchestrationState, initial
from app.data_plane.tools import shipped_tools
from app.kernel.clock import to_text
from app.kernel.facts import AnyFact, OrchestrationStarted, Recorded, RunFolded, SnapshotTaken
from app.kernel.release import (
    ActionTemplate,
    AgentBundle,
    Aggregation,
    Policy,
    Release,
    ScriptedProvider,
    ScriptedRule,
    Stage,
    Target,
    WorkflowTemplate,
)
from interlock.canonical import JsonValue
from interlock.identity import run_id

AGENTS = ("alpha", "beta", "gamma")
LEVEL: Mapping[str, JsonValue] = {
    "type": "object",
    "properties": {"level": {"type": "string", "enum": ["high", "low"]}},
    "required": ["level"],
    "additionalProperties": False,
}
CEDAR = """
@id("record-only") permit (principal, action == Action::"reference.record", resource)
unless { context.arguments.subject == "forbidden" };
"""
ORCHESTRATION = "orc_example"


def stage(name: str, agents: tuple[str, ...], **more: object) -> Stage:
    """A stage whose agents say how high a level is."""
    return Stage.model_validate(
        {
            "name": name,
            "agents": agents,
            "proposal": LEVEL,
            "aggregation": Aggregation(rule="majority", over=("level",)),
            **more,
        }
    )


def _action(name: str, target: str, when: str | None = None) -> ActionTemplate:
    arguments = {"subject": f'"{name}"', "verdict": "decision.level"}
    return ActionTemplate(name=name, when=when, tool="reference.record", target=target, arguments=arguments)


def _agent(name: str) -> AgentBundle:
    return AgentBundle(
        name=name,
        version=1,
        instructions=f"You are {name}: say how high the level is.",
        inputs={"title": "event.issue.title"},
        providers=("script",),
        provider_versions={"script": 1},
    )


@lru_cache(maxsize=1)
def branching_release() -> Release:
    """The release of the workflow above; its scripted agents call a level high when the title says ``high``."""
    low, high = {"level": "low"}, {"level": "high"}
    rules = [
        rule
        for agent in AGENTS
        for rule in (
            ScriptedRule(agent=agent, when="inputs.title.contains('high')", answer=high),
            ScriptedRule(agent=agent, answer=low),
        )
    ]
    template = WorkflowTemplate(
        name="branching",
        version=1,
        subscribes=("dev.interlock.issue",),
        stages=(
            stage("classify", AGENTS, fallback={"level": "low"}),
            stage("deep", ("alpha", "beta"), after=("classify",), when='stages.classify.level == "high"'),
            stage(
                "quick",
                ("gamma",),
                after=("classify",),
                when='stages.classify.level == "low"',
                fallback={"level": "low"},
            ),
            stage("settle", ("gamma", "beta"), after=("deep", "quick"), fallback={"level": "low"}),
        ),
        decision={"level": "stages.settle.level"},
        reason='"it is " + decision.level',
        targets=(Target(name="tracker", honours_keys=True), Target(name="pager", max_attempts=2)),
        actions=(
            _action("record", "tracker"),
            _action("notify", "pager", "stages.deep != null"),
            _action("forbidden", "tracker"),
        ),
        policy="branching",
        policy_version=1,
        agent_versions=dict.fromkeys(AGENTS, 1),
    )
    return Release(
        template=template,
        agents={name: _agent(name) for name in AGENTS},
        providers={"script": ScriptedProvider(kind="scripted", name="script", version=1, rules=tuple(rules))},
        policy=Policy(name="branching", version=1, cedar=CEDAR),
        tools={"reference.record": shipped_tools()["reference.record"]},
    )


class Example:
    """One orchestration of the workflow, carried on by pure code; ``facts`` is what its journal would hold."""

    def __init__(self, release: Release | None = None) -> None:
        self.contents = Contents({})
        self.state: OrchestrationState = initial(ORCHESTRATION, "demo", release or branching_release())
        self.facts: list[AnyFact] = []

    def happen(self, fact: AnyFact) -> Progress:
        """Let a fact from outside happen."""
        step = progress(self.state, fact, self.contents)
        self.state = step.state
        self.facts += step.facts
        return step

    def recorded(self, at: datetime) -> tuple[Recorded, ...]:
        """The journal, all of it written at one moment."""
        text = to_text(at)
        return tuple(Recorded(ORCHESTRATION, place, text, fact) for place, fact in enumerate(self.facts))

    def begin(self) -> None:
        """The event is accepted and its snapshot taken."""
        self.happen(self.started())
        self.happen(SnapshotTaken(snapshot_digest=self.contents.add({})))

    def started(self) -> OrchestrationStarted:
        """The first fact."""
        event = self.contents.add({"issue": {"title": "an example"}})
        return OrchestrationStarted(
            workflow="branching",
            release=self.state.release.digest,
            channel="stable",
            lane="live",
            ordinal=0,
            source="/tests",
            event_id="1",
            event_type="dev.interlock.issue",
            raw_digest=event,
            event_digest=event,
            normaliser="interlock/1",
        )

    def fold(self, stage: str, agent: str, level: str | None) -> Progress:
        """A run is final: with a proposal, or without one."""
        return self.happen(self.folded(stage, agent, level))

    def folded(self, stage: str, agent: str, level: str | None) -> RunFolded:
        """The fact that a run is final."""
        return RunFolded(
            stage=stage,
            agent=agent,
            run_id=run_id(ORCHESTRATION, stage, agent),
            proposal_digest=None if level is None else self.contents.add({"level": level}),
            failure="provider_unavailable" if level is None else None,
            chain_length=3,
            chain_hash="0" * 64,
        )

    def decide_with(self, level: str) -> None:
        """Every agent that is asked says the same, until there is a decision."""
        self.begin()
        while running := [name for name, one in self.state.stages.items() if one.status == "running"]:
            for name in running:
                for agent in self.state.release.template.stage(name).agents:
                    self.fold(name, agent, level)
