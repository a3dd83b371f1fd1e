"""A running system that a real Prometheus scrapes, its traffic, and a way to break each thing that alerts watch.

Workflows: ``steady`` calls a tool and delivers, ``asking`` needs a person's consent, ``modelled`` asks
two providers and then its fallback, ``costly`` spends a budget, ``late`` takes its time, ``refused`` and ``doubtful``
deliver to bad targets, and no worker can load ``newer``.
"""

from __future__ import annotations

import itertools
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import psycopg

from app.adapters.postgresql.fact_counts import COUNTING
from app.data_plane.ingestion.accept import Submission
from app.data_plane.ports import Queue
from app.kernel.release import BreakerPolicy, Release, ScriptedProvider, ScriptedRule, Target
from config import topology
from config.settings import CHECKOUT, Settings
from config.topology import WorkerGroup
from interlock.enqueue import Client
from interlock.envelope import Envelope
from tests.acceptance.repairs import Sink, sink
from tests.calling_workflow import LOOKUP, calling_release
from tests.doubtful_workflow import doubtful_release
from tests.eventually import assert_eventually
from tests.model_faults import Asked, Behaviour, FaultyModels, faulty_models
from tests.modelled_workflow import KEY, modelled_release, openai
from tests.prometheus import RULES, Prometheus, in_seconds
from tests.system import RunningSystem

DISPATCH = WorkerGroup("dispatch", (Queue.DISPATCH,), "threads", 4)
CORE = WorkerGroup("core", tuple(queue for queue in Queue if queue is not Queue.DISPATCH), "threads", 8)
SCRAPED = ("api", "core", "dispatch", "metrics")
"""Who measures, by the names that they write into their targets."""
API_KEY = "sk_live_" + "w4Tc" * 6
CALLS = 20
"""What the spender's budget allows."""
LATE_SECONDS = 11.0
"""How long the agent of ``late`` takes: longer than alerts allow an orchestration, when a minute is a second."""
SECRETS = {
    "INTERLOCK_SECRET_DEMO_API_KEY": API_KEY,
    "INTERLOCK_SECRET_DEMO_SIGNING_KEY": "signing-key-of-the-watched-system",
}
METERED = "metered-model"
SPENDER = "frugal"
"""The tenant with a budget; all else is the demo's."""
_TENANT = """\
name: {name}
version: 1
description: The watched system's.
api_keys: [secret:{name}-api-key]
signing_key: secret:{name}-signing-key
"""
_TARGETS = """\
targets:
  tracker: {{url: '{tracker}', allow: [127.0.0.0/8]}}
  pager: {{url: '{pager}', allow: [127.0.0.0/8]}}
  forgetful: {{url: '{forgetful}', allow: [127.0.0.0/8]}}
"""


def _named(release: Release, name: str, event_type: str) -> Release:
    changes = {"name": name, "subscribes": (event_type,)}
    return release.model_copy(update={"template": release.template.model_copy(update=changes)})


def releases(models: FaultyModels) -> list[Release]:
    """The workflows; only ``steady`` takes what comes over the API, the others are named."""
    breaker = BreakerPolicy(failures=3, open_seconds=30)
    first, second = (openai(name, models.url("openai"), breaker) for name in ("first", "second"))
    second = second.model_copy(update={"model": "other-model-1"})
    meter = openai("meter", models.url("openai")).model_copy(update={"model": METERED})
    refusing = Target(name="pager", honours_keys=True, max_attempts=2)
    return [
        _named(calling_release([LOOKUP], action="routine"), "steady", "dev.interlock.issue"),
        _named(calling_release(action="risky", expires_seconds=3600), "asking", "none.asking"),
        _named(modelled_release([first, second]), "modelled", "none.modelled"),
        _named(modelled_release([meter]), "costly", "none.costly"),
        _late_release(),
        _named(doubtful_release(refusing), "refused", "none.refused"),
        _named(doubtful_release(Target(name="forgetful", timeout_seconds=0.5)), "doubtful", "none.doubtful"),
    ]


def _late_release() -> Release:
    slow = ScriptedRule(agent="alpha", answer={"level": "low"}, delay_seconds=LATE_SECONDS)
    script = ScriptedProvider(kind="scripted", name="script", version=1, rules=(slow,))
    patient = {"agent": {"timeout_seconds": 60}, "stage_fields": {"timeout_seconds": 120}}
    return _named(modelled_release([script], **patient), "late", "none.late")


def newer_release() -> Release:
    """One that wants a version of a tool which no worker here carries."""
    release = _named(calling_release(action="routine"), "newer", "none.newer")
    tools = {name: tool.model_copy(update={"version": 99}) for name, tool in release.tools.items()}
    return release.model_copy(update={"tools": tools})


@dataclass
class Watched:
    """The system, who watches it, and what can be done to it."""

    system: RunningSystem
    prometheus: Prometheus
    refusing: Sink
    core: subprocess.Popen[bytes]
    dispatch: subprocess.Popen[bytes]
    beat: subprocess.Popen[bytes]
    exporter: subprocess.Popen[bytes]
    api: str
    are_down: bool = False
    """Whether the models of ``modelled`` answer 503."""
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def send(self, workflow: str, times: int = 1, *, tenant: str = "demo") -> None:
        """Accept so many events for one workflow."""
        self.system.accept([Submission(self._event(tenant), workflow) for _ in range(times)])

    def post(self, event_type: str = "dev.interlock.issue") -> int:
        """Send an event over the API; the answer's status."""
        body = self._event().to_json() | {"type": event_type}
        headers = {"authorization": f"Bearer {API_KEY}", "content-type": "application/cloudevents+json"}
        url = f"{self.api}/v1/events"
        return httpx2.post(url, content=json.dumps(body), headers=headers, trust_env=False).status_code

    def choose(self, asked: Asked) -> Behaviour:
        """What a model does with a question."""
        return "down" if self.are_down and asked.model != METERED else "answers"

    def command(self, *words: str) -> None:
        """``python -m app`` with these words; it must do what it is told."""
        done = subprocess.run(
            [sys.executable, "-m", "app", *words],
            cwd=CHECKOUT,
            env=dict(self.system.environment),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def enqueue(self) -> None:
        """Send an event as a host does, over the broker."""
        client = Client(
            self.system.services.settings.effective_redis_url,
            "demo",
            SECRETS["INTERLOCK_SECRET_DEMO_SIGNING_KEY"].encode(),
        )
        client.publish(self._event())
        client.close()

    @contextmanager
    def nobody_counts(self) -> Iterator[None]:
        """Hold the lock of the one who counts facts, as a process that hangs over it would."""
        with psycopg.connect(self.system.database_url) as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [COUNTING])
            yield

    def restart_dispatch(self) -> None:
        """A new process of the same name."""
        self.dispatch = self.system.start_worker(DISPATCH, DISPATCH.name)

    def lose_the_span_store(self) -> None:
        """Spans are written to a table that is not there any more."""
        with psycopg.connect(self.system.database_url) as connection:
            connection.execute("ALTER TABLE spans RENAME TO spans_of_before")

    def _event(self, tenant: str = "demo") -> Envelope:
        return Envelope(
            id=f"event-{next(self._numbers)}",
            source="/watched",
            type="dev.interlock.issue",
            tenantid=tenant,
            dataschema="urn:interlock:schema:issue:2",
            data={"title": "It broke", "author": "ada"},
        )


@contextmanager
def watched_system(database_url: str, home: Path) -> Iterator[Watched]:
    """Everything that there is to scrape, and a Prometheus with the rules in seconds, until the block ends."""
    with ExitStack() as stack:
        watched: list[Watched] = []

        def choose(asked: Asked) -> Behaviour:
            return watched[0].choose(asked)

        models = stack.enter_context(faulty_models(choose, '{"level": "high"}'))
        tracker = stack.enter_context(sink(home / "sinks" / "tracker.jsonl"))
        pager = stack.enter_context(sink(home / "sinks" / "pager.jsonl", "--fail-first", "2"))
        hanging = ("--no-honours-keys", "--act-then-hang-every", "1")
        forgetful = stack.enter_context(sink(home / "sinks" / "forgetful.jsonl", *hanging))
        ports = _free_ports(2)
        environment = {
            **KEY,
            **SECRETS,
            "INTERLOCK_API_PORT": str(ports[0]),
            "INTERLOCK_METRICS_PORT": str(ports[1]),
            "INTERLOCK_ANCHOR_SECONDS": "1",
        }
        system = stack.enter_context(RunningSystem(database_url, home, groups=(), environment=environment))
        targets = _TARGETS.format(tracker=tracker.url, pager=pager.url, forgetful=forgetful.url)
        budget = f"budget: {{calls: {CALLS}, per: month}}\n"
        for name, more in (("demo", targets), (SPENDER, budget)):
            document = home / "documents" / "tenants" / name / "1" / "tenant.yaml"
            document.parent.mkdir(parents=True)
            document.write_text(_TENANT.format(name=name) + more)
        system.publish_shipped(home / "documents", route=False)
        for release in (*releases(models), newer_release()):
            system.publish_one(release)
        settings = Settings(home=home)
        core = system.start_worker(CORE, CORE.name)
        dispatch = system.start_worker(DISPATCH, DISPATCH.name)
        beat = system.start("beat", topology.beat(settings))
        exporter = system.start("metrics", topology.metrics())
        system.start("api", ("python", "-m", "app", "api"))
        told = home / "metrics" / "targets"
        assert_eventually(
            lambda: len(list(told.glob("*.json"))) == len(SCRAPED),
            within=60,
            what="everything is measured",
        )
        prometheus = stack.enter_context(Prometheus.of(configuration(home), home))
        api = f"http://127.0.0.1:{ports[0]}"
        watched.append(Watched(system, prometheus, pager, core, dispatch, beat, exporter, api))
        yield watched[0]


def configuration(home: Path) -> Path:
    """The example's configuration and rules for this run folder; every minute is a second."""
    for name in ("recording.yml", "alerts.yml"):
        (home / name).write_text(in_seconds((RULES / name).read_text()))
    example = (RULES / "prometheus.yml").read_text()
    assert "15s" in example
    assert "../../.interlock/" in example
    config = home / "prometheus.yml"
    config.write_text(example.replace("15s", "1s").replace("../../.interlock/", f"{home}/"))
    return config


def answers(url: str) -> bool:
    """Whether somebody listens there."""
    try:
        return httpx2.get(url, trust_env=False).status_code < 500
    except httpx2.TransportError:
        return False


def wait_until_scraped(watched: Watched) -> None:
    """Until the API answers, and Prometheus sees what it is to see."""
    assert_eventually(lambda: answers(f"{watched.api}/healthz"), what="the API answers")
    assert_eventually(
        lambda: watched.prometheus.targets() == dict.fromkeys(SCRAPED, "up"), what="everything is scraped"
    )


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports
