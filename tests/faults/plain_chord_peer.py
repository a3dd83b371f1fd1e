"""Runs the plain chord under a fault and reads off the sinks and the broker what came of it."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis

from app.adapters.redis.connection import connect
from app.supervisor.embedded import EmbeddedServers
from config.settings import CHECKOUT, broker_url
from tests.acceptance.two_sinks import FORGETFUL, HONOURING, TwoSinks, two_sinks
from tests.eventually import assert_eventually
from tests.faults import plain_chord_load as load
from tests.faults.plain_chord_load import Environment, Fault, Outcome, Scenario

CHILDREN_EACH = 8
QUEUE = "plain_chord"


@dataclass
class ChordWorkers:
    """Prefork workers of the canvas."""

    logs: Path
    environment: dict[str, str]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def pids(self) -> Sequence[int]:
        """Those that are up."""
        return [process.pid for process in self.processes if process.poll() is None]

    def start_another(self) -> None:
        """One more."""
        name = f"plain{len(self.processes)}"
        command = (
            *(sys.executable, "-m", "celery", "-A", "tests.faults.plain_chord_canvas", "worker"),
            *("-Q", QUEUE, "-n", f"{name}@%h", "--pool", "prefork", "--concurrency", str(CHILDREN_EACH)),
            *("--without-gossip", "--without-mingle", "--loglevel", "WARNING"),
        )
        with (self.logs / f"{name}.log").open("wb") as log:
            self.processes.append(
                subprocess.Popen(
                    command, cwd=CHECKOUT, env=self.environment, stdout=log, stderr=subprocess.STDOUT
                )
            )


@dataclass
class Peer:
    """The plain chord, running."""

    scenario: Scenario
    sinks: TwoSinks
    workers: ChordWorkers
    redis: redis.Redis
    folder: Path

    def run(self) -> Outcome:
        """Begin the load, let the fault happen, and wait for the end or the deadline."""
        # Only now: an application keeps to the broker of its environment.
        from tests.faults.plain_chord_canvas import canvas, celery

        ready = 2
        assert_eventually(
            lambda: len(celery.control.ping(timeout=0.5) or ()) >= ready,
            within=120,
            what="two workers answer",
        )
        started = time.monotonic()
        evidence = load.begin_all(
            self.scenario, lambda name: canvas(name).apply_async(), self.sinks, self._fault
        )
        deadline = time.monotonic() + self.scenario.deadline_seconds
        while time.monotonic() < deadline and not (self._all_acted() and not self._traces()):
            time.sleep(0.2)
        return self._judge(time.monotonic() - started, evidence)

    def _fault(self) -> str:
        match self.scenario.fault:
            case Fault.WORKER_KILLED:
                return load.kill_worker(self.workers)
            case Fault.FLUSHED:
                queued = int(self.redis.llen(QUEUE))
                in_hand = int(self.redis.hlen("unacked"))
                self.redis.flushall()
                return f"{queued} messages queued and {in_hand} in hand when Redis forgot them"
            case Fault.CHILD_KILLED:
                return load.kill_children(self.workers, self.scenario.seed)
        return "no fault"

    def _names(self) -> list[str]:
        return [f"workflow-{number:04d}" for number in range(self.scenario.workflows)]

    def _all_acted(self) -> bool:
        wanted = self.scenario.workflows
        return len(self.sinks.honouring.applied()) == len(self.sinks.forgetful.applied()) == wanted

    def _traces(self) -> str:
        """Everything in the broker that may still make something happen, as text."""
        bodies = [json.loads(message)["body"] for message in self.redis.lrange(QUEUE, 0, -1)]
        held = [json.loads(entry) for entry in self.redis.hvals("unacked")]
        bodies += [message["body"] for message, _, _ in held]
        return "\n".join(base64.b64decode(body).decode() for body in bodies)

    def _judge(self, seconds: float, evidence: str) -> Outcome:
        honouring, forgetful = self.sinks.honouring.applied(), self.sinks.forgetful.applied()
        traces = self._traces()
        complete = {
            name
            for name in self._names()
            if honouring[f"{name}/{HONOURING}"] and forgetful[f"{name}/{FORGETFUL}"]
        }
        missing = set(self._names()) - complete
        stuck = {name for name in missing if name in traces}
        doubled = {key.partition("/")[0] for key, times in forgetful.items() if times > 1}
        return Outcome(
            finished=len(complete - doubled),
            lost=len(missing - stuck),
            stuck=len(stuck),
            in_doubt=0,
            doubled=len(doubled),
            absorbed=(self.sinks.honouring.received() - honouring).total(),
            model_calls=load.noted(self.folder / "model_calls"),
            redelivered=load.noted(self.folder / "redelivered"),
            seconds=seconds,
            evidence=f"{evidence}{self._redelivered()}",
        )

    def _redelivered(self) -> str:
        logs = "".join(log.read_text(errors="replace") for log in self.workers.logs.glob("plain*.log"))
        lost = logs.count("raised error: WorkerLostError")
        return f"; {lost} tasks lost their worker" if lost else ""


def measure(scenario: Scenario) -> Outcome:
    """One run of the plain chord, in a Redis and with sinks of its own."""
    with _running(scenario) as peer:
        return peer.run()


@contextmanager
def _running(scenario: Scenario) -> Iterator[Peer]:
    with (
        tempfile.TemporaryDirectory(prefix="interlock-plain-") as folder,
        EmbeddedServers(Path(folder), postgresql=False) as servers,
        two_sinks(Path(folder) / "sinks", delay_seconds=load.STEP_SECONDS) as sinks,
    ):
        os.environ |= {
            Environment.BROKER: broker_url(servers.redis_url),
            Environment.VISIBILITY: str(scenario.visibility_seconds or 3600),
            Environment.MODEL_CALLS: str(Path(folder) / "model_calls"),
            Environment.REDELIVERED: str(Path(folder) / "redelivered"),
            Environment.SINKS[HONOURING]: sinks.honouring.url,
            Environment.SINKS[FORGETFUL]: sinks.forgetful.url,
        }
        workers = ChordWorkers(Path(folder), dict(os.environ))
        try:
            for _ in range(2):
                workers.start_another()
            yield Peer(scenario, sinks, workers, connect(servers.redis_url), Path(folder))
        finally:
            for process in workers.processes:
                load.end(process)
