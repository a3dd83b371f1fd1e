"""A workflow that acts at two targets, one that honours idempotency keys and one that forgets them, each a real sink.

What happened is read from the sinks' own history files: it holds whatever the system under test believes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from app.data_plane.ingestion.accept import Submission
from app.data_plane.tools import shipped_tools
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
from config.settings import CHECKOUT
from interlock.envelope import Envelope
from tests.branching_workflow import AGENTS, stage
from tests.eventually import assert_eventually
from tests.system import RunningSystem

HONOURING, FORGETFUL = "tracker", "pager"
"""The targets' names in the workflow and in the tenant's document."""
PATIENCE_SECONDS = 180.0
"""How long a test waits for what includes the start of worker processes, on a machine that is busy with others."""


@dataclass(frozen=True)
class Sink:
    """A sink's address, and what it wrote down of every request."""

    url: str
    history: Path

    def received(self) -> Counter[str]:
        """How many requests there were, by idempotency key."""
        return self._count({"applied", "repeated"})

    def applied(self) -> Counter[str]:
        """How many times each key was applied."""
        return self._count({"applied"})

    def _count(self, outcomes: set[str]) -> Counter[str]:
        if not self.history.exists():
            return Counter()
        whole = [line for line in self.history.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
        entries = [json.loads(line) for line in whole]
        return Counter(entry["key"] for entry in entries if entry["outcome"] in outcomes)


@dataclass(frozen=True)
class TwoSinks:
    """Both sinks, and the folder of documents whose tenant has them as its targets."""

    honouring: Sink
    forgetful: Sink
    folder: Path

    @cached_property
    def documents(self) -> Path:
        """The demo's tenant with these sinks as its targets, and nothing else."""
        document = self.folder / "documents" / "tenants" / "demo" / "1" / "tenant.yaml"
        document.parent.mkdir(parents=True)
        shipped = (CHECKOUT / "config" / "tenants" / "demo" / "1" / "tenant.yaml").read_text()
        targets = "".join(
            f"  {name}: {{url: '{sink.url}', allow: [127.0.0.0/8]}}\n"
            for name, sink in ((HONOURING, self.honouring), (FORGETFUL, self.forgetful))
        )
        document.write_text(shipped.partition("targets:")[0] + "targets:\n" + targets)
        return self.folder / "documents"

    def assert_each_effect_happened_once(self, system: RunningSystem, expected: int) -> None:
        """Every orchestration came to its good end, each with one effect at each sink and nothing in doubt."""
        assert system.count_by("orchestrations", "status") == {"completed": expected}
        assert system.count_by("actions", "state") == {"confirmed": 2 * expected}
        for target, sink in ((HONOURING, self.honouring), (FORGETFUL, self.forgetful)):
            intended = system.rows("SELECT idempotency_key FROM actions WHERE target = %s", [target])
            assert sink.applied() == Counter({key: 1 for (key,) in intended}), target
            assert len(intended) == expected


@contextmanager
def two_sinks(folder: Path, *, delay_seconds: float = 0.0) -> Iterator[TwoSinks]:
    """Both sinks, each effect taking so long, until the block ends."""
    with (
        _sink(folder / "honouring.jsonl", delay_seconds) as honouring,
        _sink(folder / "forgetful.jsonl", delay_seconds, "--no-honours-keys") as forgetful,
    ):
        yield TwoSinks(honouring, forgetful, folder)


@contextmanager
def _sink(history: Path, delay_seconds: float, *options: str) -> Iterator[Sink]:
    history.parent.mkdir(parents=True, exist_ok=True)
    output = history.with_suffix(".log")
    arguments = ["sink", "--history", str(history), "--delay-ms", str(int(delay_seconds * 1000)), *options]
    with output.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "app", *arguments], cwd=CHECKOUT, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        assert_eventually(lambda: b"\n" in output.read_bytes(), what=f"the sink of {history.name}")
        yield Sink(output.read_text().splitlines()[0], history)
    finally:
        process.terminate()
        process.wait(10)


def two_sinks_release(*, agent_seconds: float = 0.0, name: str = "two-sinks") -> Release:
    """Three scripted agents that take their time, a majority, and an action at each of the two targets."""
    rules = tuple(
        ScriptedRule(agent=agent, answer={"level": "high"}, delay_seconds=agent_seconds) for agent in AGENTS
    )
    template = WorkflowTemplate(
        name=name,
        version=1,
        subscribes=("dev.interlock.issue",),
        stages=(stage("classify", AGENTS, fallback={"level": "low"}),),
        decision={"level": "stages.classify.level"},
        reason='"it is " + decision.level',
        targets=(Target(name=HONOURING, honours_keys=True), Target(name=FORGETFUL)),
        actions=(_action("record", HONOURING), _action("notify", FORGETFUL)),
        policy="two-sinks",
        policy_version=1,
        agent_versions=dict.fromkeys(AGENTS, 1),
    )
    return Release(
        template=template,
        agents={agent: _agent(agent) for agent in AGENTS},
        providers={"script": ScriptedProvider(kind="scripted", name="script", version=1, rules=rules)},
        policy=Policy(name="two-sinks", version=1, cedar="permit (principal, action, resource);"),
        tools={"reference.record": shipped_tools()["reference.record"]},
    )


def _action(name: str, target: str) -> ActionTemplate:
    arguments = {"subject": "event.issue.title", "verdict": "decision.level"}
    return ActionTemplate(name=name, tool="reference.record", target=target, arguments=arguments)


def _agent(name: str) -> AgentBundle:
    return AgentBundle(
        name=name,
        version=1,
        instructions=f"You are {name}: say how high the level is.",
        inputs={"title": "event.issue.title"},
        providers=("script",),
        provider_versions={"script": 1},
    )


def issues(names: Sequence[str]) -> list[Submission]:
    """One event for each name."""
    return [
        Submission(
            Envelope(
                id=name,
                source="/tests",
                type="dev.interlock.issue",
                tenantid="demo",
                dataschema="urn:interlock:schema:issue:2",
                data={"title": name},
            )
        )
        for name in names
    ]
