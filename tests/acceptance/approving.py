"""Actions that wait for people, of decisions and of runs' calls, in a running system; and what became of each.

What happened is judged by the sinks' own histories and by the record, whatever the system under test believes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Any

from app.data_plane.ports import Queue
from app.data_plane.tools import shipped_tools
from app.kernel.facts import (
    ActionAuthorised,
    ActionDenied,
    AnyFact,
    ApprovalGranted,
    ApprovalRequested,
    DeliveryInDoubt,
    OrchestrationClosed,
    RunFolded,
)
from app.kernel.fault_points import FaultPoint
from app.kernel.release import (
    ActionTemplate,
    AgentBundle,
    Policy,
    Release,
    ScriptedCall,
    ScriptedProvider,
    ScriptedRule,
    Target,
    WorkflowTemplate,
)
from app.kernel.tool_spec import AgentTool, Approval
from config.settings import CHECKOUT
from config.topology import WorkerGroup
from tests.acceptance.approver import Order, line_of
from tests.acceptance.two_sinks import FORGETFUL, HONOURING, PATIENCE_SECONDS, TwoSinks, issues, two_sinks
from tests.branching_workflow import stage
from tests.eventually import assert_eventually
from tests.faults.arming import Arming, Strike
from tests.system import RunningSystem

DISPATCH = WorkerGroup("dispatch", (Queue.DISPATCH,), "threads", 4)
OTHERS = WorkerGroup("others", tuple(queue for queue in Queue if queue is not Queue.DISPATCH), "threads", 8)
APPROVERS = 3
EFFECT_SECONDS = 0.02
"""How long an effect takes, so that whoever is killed may be in the middle of one."""
CEDAR = """
@id("risky") @approval("it is risky") permit (principal, action == Action::"reference.record", resource)
when { context.arguments.subject like "*risky*" };
@id("grave") @approval("it is grave") @four_eyes permit (principal, action == Action::"reference.record", resource)
when { context.arguments.subject like "*grave*" };
"""
ACTION = "decision"
CALL = "call"
"""Who asks for the effect: the first word of an event's title; the second is the target, the third the risk."""


def racing_release(*, policy_version: int = 1, expires_seconds: float = 3600.0) -> Release:
    """Two agents, one for each target, and an action at each; which of these there is, the event's title says."""
    approval = Approval(expires_seconds=expires_seconds)
    agents = {"alpha": HONOURING, "beta": FORGETFUL}
    template = WorkflowTemplate(
        name="racing",
        version=1,
        subscribes=("dev.interlock.issue",),
        stages=(stage("classify", tuple(agents), fallback={"level": "high"}),),
        decision={"level": "stages.classify.level"},
        reason='"it is " + decision.level',
        targets=(
            Target(name=HONOURING, honours_keys=True, timeout_seconds=3.0),
            Target(name=FORGETFUL, timeout_seconds=3.0),
        ),
        actions=tuple(_action(target, approval) for target in agents.values()),
        policy="racing",
        policy_version=policy_version,
        agent_versions=dict.fromkeys(agents, 1),
    )
    rules = tuple(rule for agent, target in agents.items() for rule in _rules(agent, target))
    return Release(
        template=template,
        agents={name: _agent(name, target, approval) for name, target in agents.items()},
        providers={"script": ScriptedProvider(kind="scripted", name="script", version=1, rules=rules)},
        policy=Policy(name="racing", version=policy_version, cedar=f"{CEDAR}// {policy_version}\n"),
        tools={"reference.record": shipped_tools()["reference.record"]},
        gateway="gateway/1",
    )


def _action(target: str, approval: Approval) -> ActionTemplate:
    return ActionTemplate(
        name=f"record-{target}",
        tool="reference.record",
        target=target,
        when=f'event.issue.title.startsWith("{ACTION} {target}")',
        arguments={"subject": "event.issue.title", "verdict": "decision.level"},
        approval=approval,
    )


def _agent(name: str, target: str, approval: Approval) -> AgentBundle:
    return AgentBundle(
        name=name,
        version=1,
        instructions="Say how high the level is.",
        inputs={"title": "event.issue.title"},
        providers=("script",),
        provider_versions={"script": 1},
        tools=(AgentTool(tool="reference.record", target=target, approval=approval),),
    )


def _rules(agent: str, target: str) -> tuple[ScriptedRule, ScriptedRule]:
    call = ScriptedCall(tool="reference.record", arguments={"subject": "inputs.title", "verdict": '"fine"'})
    when = f'inputs.title.startsWith("{CALL} {target}")'
    return (
        ScriptedRule(agent=agent, when=when, turn=0, calls=(call,)),
        ScriptedRule(agent=agent, answer={"level": "low"}),
    )


@dataclass(frozen=True, slots=True)
class Waiting:
    """An action that waits for people."""

    orchestration_id: str
    asked: ApprovalRequested
    title: str

    def order(self, verb: str, actor: str, at: float = 0.0) -> Order:
        """Somebody's answer to it."""
        shown = self.asked.action_digest
        return Order(verb, self.orchestration_id, self.asked.action_id, actor, at, shown)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Became:
    """What became of it: by the record, and by its target."""

    waiting: Waiting
    facts: tuple[AnyFact, ...]
    requests: tuple[Mapping[str, Any], ...]
    """What the sinks received of the orchestration, in order."""

    def of(self, *kinds: type[AnyFact]) -> list[Any]:
        """The facts of these kinds about the action, or about none."""
        key = self.waiting.asked.action_id
        return [one for one in self.facts if isinstance(one, kinds) and getattr(one, "action_id", key) == key]

    @property
    def granted_by(self) -> tuple[str, ...]:
        """Whose consent counted."""
        return tuple(one.actor for one in self.of(ApprovalGranted))

    @property
    def status(self) -> str:
        """How the orchestration ended."""
        return str(self.of(OrchestrationClosed)[-1].status)

    @property
    def in_doubt(self) -> bool:
        """Whether nobody knows what became of an attempt."""
        return bool(self.of(DeliveryInDoubt))

    @property
    def applied(self) -> int:
        """How many times the effect happened."""
        return sum(request["outcome"] == "applied" for request in self.requests)

    def assert_only_what_was_approved(self) -> None:
        """Whatever was sent is exactly what was shown and permitted, and nothing is sent without enough consent."""
        asked, told = self.waiting.asked, self.waiting.title
        for request in self.requests:
            sent = (request["key"], request["body_digest"], request["tool"])
            assert sent == (asked.idempotency_key, asked.arguments_digest, asked.tool), told
        granted = self.granted_by
        assert len(granted) <= asked.persons, told
        assert len(set(granted)) == len(granted), told
        verdicts = self.of(ActionAuthorised, ActionDenied)
        authorised = [one for one in verdicts if isinstance(one, ActionAuthorised)]
        assert len(verdicts) <= 1, told
        if authorised:
            (one,) = authorised
            assert (one.approved_by, len(granted)) == (granted, asked.persons), told
            assert (one.arguments_digest, one.idempotency_key) == (
                asked.arguments_digest,
                asked.idempotency_key,
            )
        else:
            assert not self.requests, f"{told}: sent without consent"
        assert self.applied <= 1, f"{told}: applied {self.applied} times"

    def assert_the_run_went_on(self) -> None:
        """Every agent has said its proposal."""
        folded = [one for one in self.facts if isinstance(one, RunFolded)]
        assert [one.failure for one in folded] == [None, None], self.waiting.title


@dataclass
class Place:
    """The running system, its approvers, and what can be done to both."""

    system: RunningSystem
    sinks: TwoSinks
    arming: Arming
    dispatchers: list[Popen[bytes]] = field(default_factory=list)
    others: list[Popen[bytes]] = field(default_factory=list)
    approvers: list[Popen[bytes]] = field(default_factory=list)
    kills: int = 0
    _started: int = 0

    def add(self, group: WorkerGroup) -> None:
        """One more worker process of that group."""
        self._started += 1
        process = self.system.start_worker(group, f"{group.name}{self._started}")
        (self.dispatchers if group is DISPATCH else self.others).append(process)

    def add_approver(self) -> None:
        """One more person."""
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.acceptance.approver"],
            cwd=CHECKOUT,
            env={**self.system.environment, "PYTHONPATH": str(CHECKOUT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.approvers.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"

    def replace_the_dead(self) -> None:
        """Another process for each that ended."""
        for group, processes in ((DISPATCH, self.dispatchers), (OTHERS, self.others)):
            for process in [one for one in processes if one.poll() is not None]:
                processes.remove(process)
                self.kills += 1
                self.add(group)

    def waiting_for(self, titles: Sequence[str]) -> list[Waiting]:
        """Events with these titles, each accepted and decided up to the action that waits."""
        accepted = self.system.accept(issues(titles))
        keys = [one.orchestration_ids[0] for one in accepted]
        query = "SELECT count(*) FROM actions WHERE orchestration_id = ANY(%s)"
        assert_eventually(
            lambda: self.system.rows(query, [keys]) == [(len(keys),)],
            within=PATIENCE_SECONDS,
            what=f"{len(keys)} actions wait",
        )
        return [Waiting(key, _asked(self.facts(key)), title) for key, title in zip(keys, titles, strict=True)]

    def answer(self, *orders: Order) -> list[str]:
        """Let so many people answer at once; what came of each, in order."""
        for number, order in enumerate(orders):
            self.begin(order, number)
        return [self.answer_of(number) for number, _ in enumerate(orders)]

    def begin(self, order: Order, number: int = 0) -> None:
        """Tell one of the people to answer, without waiting for it."""
        approver = self.approvers[number]
        assert approver.stdin is not None
        approver.stdin.write(line_of(order))
        approver.stdin.flush()

    def answer_of(self, number: int) -> str:
        """What came of an approver's newest answer; empty when its process died over it."""
        output = self.approvers[number].stdout
        assert output is not None
        return output.readline().decode().strip()

    def facts(self, orchestration_id: str) -> tuple[AnyFact, ...]:
        """The orchestration's facts so far."""
        history = self.system.services.store.histories(["demo"], [orchestration_id])[orchestration_id]
        return tuple(recorded.fact for recorded in history.facts)

    def ends_of(self, waiting: Sequence[Waiting], *, verifies: bool = True) -> list[Became]:
        """What became of them when all has ended; each record verifies."""
        self.system.wait_until_all_ended(within=PATIENCE_SECONDS)
        became = self.became_of(waiting)
        if verifies:
            assert self.system.verify_all() == {}
        open_steps = (
            "SELECT count(*) FROM work_index WHERE finished_at IS NULL AND orchestration_id = ANY(%s)"
        )
        keys = [one.orchestration_id for one in waiting]
        assert_eventually(
            lambda: self.system.rows(open_steps, [keys]) == [(0,)], what="no step is left of what has ended"
        )
        return became

    def became_of(self, waiting: Sequence[Waiting]) -> list[Became]:
        """What has become of them so far."""
        received = self._received()
        became = [
            Became(one, self.facts(one.orchestration_id), tuple(received.get(one.orchestration_id, ())))
            for one in waiting
        ]
        for one in became:
            one.assert_only_what_was_approved()
        return became

    def crash_at(self, point: FaultPoint, queue: str, trigger: Callable[[], object]) -> Strike:
        """One worker ends itself at that point of what ``trigger`` sets off; another takes its place."""
        seen = len(self.arming.strikes())
        self.arming.arm(point, queue)
        trigger()
        assert_eventually(
            lambda: len(self.arming.strikes()) > seen,
            within=PATIENCE_SECONDS,
            what=f"{queue}.{point.value} is reached",
        )
        strike = self.arming.strikes()[seen]
        # It writes that it dies before it does.
        (struck,) = [one for one in (*self.dispatchers, *self.others) if one.pid == strike.pid]
        struck.wait()
        self.replace_the_dead()
        return strike

    def _received(self) -> dict[str, list[Mapping[str, Any]]]:
        found: dict[str, list[Mapping[str, Any]]] = {}
        for sink in (self.sinks.honouring, self.sinks.forgetful):
            lines = sink.history.read_bytes().splitlines() if sink.history.exists() else []
            for line in lines:
                entry = json.loads(line)
                found.setdefault(entry["orchestration"], []).append(entry)
        return found


def _asked(facts: Sequence[AnyFact]) -> ApprovalRequested:
    (asked,) = [fact for fact in facts if isinstance(fact, ApprovalRequested)]
    return asked


@contextmanager
def place_for_races(database_url: str, home: Path) -> Iterator[Place]:
    """Workers, two sinks and three people, until the block ends."""
    arming = Arming(home / "arming")
    environment = {
        "FAULTS_ARMING": str(arming.folder),
        "PYTHONPATH": f"{CHECKOUT / 'tests' / 'faults' / 'site'}:{CHECKOUT}",
    }
    with (
        two_sinks(home / "sinks", delay_seconds=EFFECT_SECONDS) as sinks,
        RunningSystem(database_url, home, groups=(), beat=True, environment=environment) as system,
    ):
        system.publish(racing_release(), sinks.documents)
        system.start_workers()
        place = Place(system, sinks, arming)
        try:
            for group in (OTHERS, DISPATCH, DISPATCH):
                place.add(group)
            for _ in range(APPROVERS):
                place.add_approver()
            yield place
        finally:
            for approver in place.approvers:
                approver.kill()
                approver.wait()
