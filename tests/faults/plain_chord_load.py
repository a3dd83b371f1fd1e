"""The load and the faults that a plain chord and Interlock are held against each other with, and what came of them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import ClassVar, Literal, Protocol

from celery import signals
from celery.worker.request import Request

from tests.acceptance.two_sinks import FORGETFUL, HONOURING, TwoSinks
from tests.eventually import assert_eventually

STEP_SECONDS = 3.0
"""How long a model's answer takes, and how long each effect."""
SECONDS_BETWEEN = 0.5
"""Workflows are begun one after the other, so that each fault finds every kind of step under way."""
RESTART_SECONDS = 2.0
"""When whoever runs the processes starts a new worker for one that was killed."""
CHILDREN_KILLED = 4

SystemName = Literal["chord", "interlock"]


class Fault(StrEnum):
    """What happens in the middle of the load."""

    NONE = "none"
    WORKER_KILLED = "worker-killed"
    FLUSHED = "flushed"
    CHILD_KILLED = "child-killed"


class Environment:
    """The variables that the processes under test are told things by."""

    BROKER = "PLAIN_CHORD_BROKER_URL"
    VISIBILITY = "PLAIN_CHORD_VISIBILITY_SECONDS"
    MODEL_CALLS = "PLAIN_CHORD_MODEL_CALLS"
    REDELIVERED = "PLAIN_CHORD_REDELIVERED"
    SINKS: ClassVar[Mapping[str, str]] = {
        HONOURING: "PLAIN_CHORD_HONOURING_URL",
        FORGETFUL: "PLAIN_CHORD_FORGETFUL_URL",
    }


@dataclass(frozen=True)
class Scenario:
    """One run: a system, how it is set up, and what happens to it."""

    system: SystemName
    fault: Fault
    visibility_seconds: float | None
    """None: what the system ships with, or for the chord what Celery's documentation names (an hour)."""
    workflows: int
    deadline_seconds: float
    """How long after the last workflow was begun it may take to its end."""
    seed: int

    @property
    def pool(self) -> Literal["prefork", "threads"]:
        """The pool that the system is run on by default, and prefork where a child is to be killed."""
        return "prefork" if self.system == "chord" or self.fault is Fault.CHILD_KILLED else "threads"


@dataclass(frozen=True)
class Outcome:
    """What came of a run, as the sinks, the broker and the database tell at its end."""

    finished: int
    """Workflows with both effects, none of them twice and none in doubt."""
    lost: int
    """Workflows that lack an effect, and nothing is left anywhere that would ever make it."""
    stuck: int
    """Workflows that lack an effect at the deadline, and something is left that may still make it."""
    in_doubt: int
    """Effects of which nobody can know whether they were applied, and a person is told so."""
    doubled: int
    """Effects that were applied more than once, at the sink that forgets keys."""
    absorbed: int
    """Further requests with the same key at the sink that honours keys: harmless."""
    model_calls: int
    redelivered: int
    """Messages that came again."""
    seconds: float
    """From the first workflow begun until all had ended, or until the deadline."""
    evidence: str
    """What shows that the fault hit."""


class Workers(Protocol):
    """The two worker processes of a system under test."""

    def pids(self) -> Sequence[int]:
        """Those that are up."""
        ...

    def start_another(self) -> None:
        """One more, for one that was killed."""
        ...


def note(kept: Path) -> None:
    """One more of what is noted there, by whichever process."""
    with kept.open("a") as notes:
        notes.write(f"{os.getpid()}\n")


def noted(kept: Path) -> int:
    """How often it was noted."""
    return len(kept.read_text().splitlines()) if kept.exists() else 0


def note_redeliveries() -> None:
    """Have this worker note each message that comes again."""
    signals.task_received.connect(_note_redelivery, weak=False)


def _note_redelivery(request: Request, **_: object) -> None:
    if request.delivery_info.get("redelivered"):
        note(Path(os.environ[Environment.REDELIVERED]))


def begin_all(
    scenario: Scenario, begin: Callable[[str], object], sinks: TwoSinks, fault: Callable[[], str]
) -> str:
    """Begin the workflows one after the other; once a quarter of them has acted, the fault happens. Its evidence."""
    evidence = ""
    for number in range(scenario.workflows):
        begin(f"workflow-{number:04d}")
        time.sleep(SECONDS_BETWEEN)
        if not evidence and has_acted(sinks, scenario.workflows // 4):
            evidence = fault()
    if not evidence:
        assert_eventually(
            lambda: has_acted(sinks, scenario.workflows // 4), within=120, what="the load begins"
        )
        evidence = fault()
    return evidence


def has_acted(sinks: TwoSinks, wanted: int) -> bool:
    """Whether so many effects were applied at the sink that forgets keys."""
    return sinks.forgetful.applied().total() >= wanted


def kill_worker(workers: Workers) -> str:
    """SIGKILL to a worker and its children, as when its container runs out of memory; then another starts."""
    victim = workers.pids()[0]
    everybody = [victim, *children(victim)]
    for pid in everybody:
        os.kill(pid, signal.SIGKILL)
    time.sleep(RESTART_SECONDS)
    workers.start_another()
    return f"SIGKILL to a worker and its {len(everybody) - 1} children"


def kill_children(workers: Workers, seed: int) -> str:
    """SIGKILL to pool children, one after the other."""
    random = Random(seed)
    killed = 0
    for _ in range(CHILDREN_KILLED):
        pool = [child for pid in workers.pids() for child in children(pid)]
        os.kill(random.choice(pool), signal.SIGKILL)
        killed += 1
        time.sleep(1.0)
    return f"SIGKILL to {killed} pool children"


def children(pid: int) -> list[int]:
    """The child processes, as Linux tells them."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in listed.read_text().split()] if listed.exists() else []


def end(process: subprocess.Popen[bytes], seconds: float = 15.0) -> None:
    """SIGTERM, and SIGKILL to what does not heed it."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        for pid in (*children(process.pid), process.pid):
            os.kill(pid, signal.SIGKILL)
        process.wait()
