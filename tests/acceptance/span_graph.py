"""A running system that everything happens to that spans tell of: retries, a killed worker, waits for people, replays.

What it left behind is read once, when all has ended.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from app.adapters.celery import message_spans
from app.adapters.opentelemetry.exporters import TracingOptions, configure
from app.adapters.postgresql.database import Database
from app.adapters.postgresql.store import PostgresqlStore
from app.data_plane.ingestion.accept import Submission
from app.data_plane.orchestration.recorder import Recorder
from app.data_plane.orchestration.reviews import Resolution, resolve
from app.data_plane.ports import Queue
from app.data_plane.replay.request import Person, Requested, Subject, Way
from app.data_plane.tools import load_tools
from app.kernel.fault_points import FaultPoint
from app.kernel.release import Release, Review, ScriptedCall, ScriptedProvider, ScriptedRule
from app.kernel.tool_spec import AgentTool
from app.telemetry import naming
from app.telemetry.stored_spans import StoredSpan
from config.settings import CHECKOUT
from config.topology import WorkerGroup
from interlock.canonical import JsonValue
from interlock.envelope import Envelope
from tests.acceptance import instrumented_tools
from tests.acceptance.repairs import Repairs, repairable_release, repairs
from tests.calling_workflow import calling_release, record
from tests.eventually import assert_eventually
from tests.faults.arming import Arming
from tests.recorded_spans import recorded_spans
from tests.system import RunningSystem

SENDER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
"""The trace of a host's request that sent an event."""
PATIENCE_SECONDS = 90.0
SLOW_SECONDS = 1.5
"""How long a slow page takes: longer than a process keeps spans for others to join them."""
EVERYTHING = WorkerGroup("everything", tuple(Queue), "threads", 8)
PERSON = Person("ines", "it was repaired")


@dataclass(frozen=True, slots=True)
class Link:
    """Another span that has to do with one."""

    kind: str
    trace_id: str
    span_id: str


@dataclass(frozen=True, slots=True)
class Span:
    """A span as it was kept. Times are nanoseconds since the epoch."""

    name: str
    service: str
    trace_id: str
    span_id: str
    parent: str
    start: int
    end: int
    attributes: Mapping[str, object]
    links: tuple[Link, ...]

    @property
    def orchestration(self) -> str:
        """Whose it is; empty for infrastructure's."""
        return str(self.attributes.get("orchestration_id", ""))

    @property
    def what(self) -> str:
        """The first word of its name."""
        return self.name.partition(" ")[0].partition("/")[0]

    def linked(self, kind: str) -> list[str]:
        """The ids of the spans that it links to for that reason."""
        return [link.span_id for link in self.links if link.kind == kind]


def spans_of(system: RunningSystem) -> list[Span]:
    """Every span that the processes of a system have kept."""
    return [_span(one) for one in recorded_spans(system.database_url)]


def _span(one: StoredSpan) -> Span:
    values = (one.tenant_id, one.event_id, one.orchestration_id, one.run_id)
    keys = {name: value for name, value in zip(naming.CORRELATION_KEYS, values, strict=True) if value}
    return Span(
        name=one.name,
        service=one.service,
        trace_id=one.trace_id,
        span_id=one.span_id,
        parent=one.parent_span_id,
        start=one.start_ns,
        end=one.end_ns,
        attributes={**one.attributes, **keys},
        links=tuple(
            Link(str(link.attributes.get(naming.LINK, "")), link.trace_id, link.span_id) for link in one.links
        ),
    )


@dataclass(frozen=True)
class Graph:
    """What there was to see."""

    spans: list[Span]
    orchestrations: Mapping[str, str]
    """Each orchestration's traceparent, as on its row."""
    named: Mapping[str, str]
    """The orchestrations by what happens to them."""
    asked: list[Mapping[str, str]]
    """The headers that the page's server received."""
    killed: int
    """The process that was killed in the middle of a run."""

    @cached_property
    def by_id(self) -> Mapping[str, Span]:
        """Spans by their ids."""
        return {span.span_id: span for span in self.spans}

    def of(self, name: str, what: str = "") -> list[Span]:
        """The spans of the orchestration to which that happens, in their order; those of one kind."""
        key = self.named[name]
        found = [span for span in self.spans if span.orchestration == key and what in ("", span.what)]
        return sorted(found, key=lambda span: span.start)


def calling() -> Release:
    """An agent that reads a page, and then calls for what a person must consent to."""
    spec = load_tools((instrumented_tools.MODULE,))["pages.fetch"]
    fetch = ScriptedCall(tool="pages.fetch", arguments={"name": '"index"'})
    base = calling_release([fetch], [record("risky")])
    alpha = base.agents["alpha"]
    cedar = (
        base.policy.cedar + '@id("pages") permit (principal, action == Action::"pages.fetch", resource);\n'
    )
    return base.model_copy(
        update={
            "agents": {
                "alpha": alpha.model_copy(update={"tools": (*alpha.tools, AgentTool(tool="pages.fetch"))})
            },
            "policy": base.policy.model_copy(update={"cedar": cedar}),
            "tools": {**base.tools, spec.name: spec},
        }
    )


def reviewing() -> Release:
    """An agent whose answer is no proposal, so that a person completes the stage."""
    base = calling_release()
    (stage,) = base.template.stages
    asked = stage.model_copy(update={"fallback": None, "fallback_review": Review(expires_seconds=3600.0)})
    rules = (ScriptedRule(agent="alpha", answer={"level": "unheard of"}),)
    return base.model_copy(
        update={
            "template": base.template.model_copy(update={"name": "reviewing", "stages": (asked,)}),
            "providers": {"script": ScriptedProvider(kind="scripted", name="script", version=1, rules=rules)},
        }
    )


@dataclass
class Life:
    """The system while it happens."""

    system: RunningSystem
    arming: Arming
    named: dict[str, str] = field(default_factory=dict)

    def send(self, name: str, workflow: str, traceparent: str | None = None, **data: JsonValue) -> None:
        """An event for one workflow, whose orchestration has that name here."""
        envelope = Envelope(
            id=name,
            source="/tests",
            type="dev.interlock.issue",
            tenantid="demo",
            dataschema="urn:interlock:schema:issue:2",
            data={"title": "high", "author": "ada", **data},
            traceparent=traceparent,
        )
        (accepted,) = self.system.accept([Submission(envelope, workflow)])
        (self.named[name],) = accepted.orchestration_ids

    def status(self, name: str) -> str:
        """As the orchestration's row says."""
        query = "SELECT status FROM orchestrations WHERE orchestration_id = %s"
        return str(self.system.rows(query, [self.named[name]])[0][0])

    def wait_for(self, status: str, *names: str) -> None:
        """Until all of them are in that state."""
        assert_eventually(
            lambda: {self.status(name) for name in names} == {status},
            within=PATIENCE_SECONDS,
            what=f"{', '.join(names)}: {status}",
        )

    def wait_until_told(self, name: str, what: str, count: int) -> None:
        """Until so many spans of that kind are kept: a process that is killed takes along what waits to be written."""
        key = self.named[name]

        def told() -> bool:
            spans = spans_of(self.system)
            return sum(span.orchestration == key and span.what == what for span in spans) >= count

        assert_eventually(told, what=f"{count} spans {what} of {name}")

    def complete(self, name: str) -> None:
        """Have a person complete the stage that waits for one."""
        resolution = Resolution("demo", self.named[name], {"level": "low"}, "ines", "read it")
        with closing(Database(self.system.database_url, "interlock_worker", size=1)) as database:
            services = self.system.services
            store = PostgresqlStore(database, services.clock)
            resolve(Recorder(store, services.releases, services.carrier), resolution, services.clock.now())

    def replay(self, name: str, way: Way) -> None:
        """Have a person replay it."""
        (asked,) = self.system.services.replay_desk.request([Subject("demo", self.named[name])], way, PERSON)
        assert isinstance(asked, Requested), asked


def _everything_happens(life: Life) -> int:
    """The process that was killed on the way."""
    system = life.system
    life.send("demo", "issue-triage", traceparent=SENDER)
    life.send("retried", "branching")
    life.send("reviewed", "reviewing")
    life.send("called", "calling")
    first = system.start_worker(EVERYTHING, "first")
    system.start_workers()
    life.wait_for("completed", "demo")
    life.wait_for("dead_lettered", "retried")
    life.wait_for("in_review", "reviewed")
    life.wait_for("awaiting_approval", "called")
    for name, what, count in (("demo", "dispatch", 1), ("retried", "dispatch", 3), ("called", "chat", 2)):
        life.wait_until_told(name, what, count)
    life.arming.arm(FaultPoint.AFTER_TOOL_BEFORE_RECORD, Queue.AGENT_RUNS)
    life.send("killed", "calling")
    first.wait(PATIENCE_SECONDS)
    system.start_worker(EVERYTHING, "second")
    life.replay("demo", Way("rerun"))
    life.replay("retried", Way("resume"))
    life.complete("reviewed")
    life.wait_for("awaiting_approval", "killed")
    system.consent_to_all("ines")
    system.wait_until_all_ended(within=PATIENCE_SECONDS)
    # Its work was claimed from the table long before its message comes again.
    assert_eventually(
        lambda: any(span.attributes.get(naming.REDELIVERED) is True for span in spans_of(system)),
        within=PATIENCE_SECONDS,
        what="the killed worker's message came again",
    )
    ((rerun,),) = system.rows("SELECT orchestration_id FROM orchestrations WHERE lane = 'rerun'")
    life.named["rerun"] = rerun
    return first.pid


@contextmanager
def _pages() -> Iterator[tuple[str, list[Mapping[str, str]]]]:
    """A server of pages, and the headers that it received."""
    received: list[Mapping[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == instrumented_tools.SLOW:
                threading.Event().wait(SLOW_SECONDS)
            else:
                received.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _documents(folder: Path, sinks: Repairs) -> Path:
    """What is shipped, with the sinks as the demo tenant's targets."""
    shutil.copytree(
        CHECKOUT / "config", folder, ignore=shutil.ignore_patterns("*.py", "__pycache__", "tenants")
    )
    shutil.copytree(sinks.documents, folder, dirs_exist_ok=True)
    return folder


def watched(database_url: str, home: Path) -> Graph:
    """Let everything happen, and read what it left."""
    arming = Arming(home / "arming")
    with _pages() as (pages, asked), repairs(home / "sinks", attempts=2) as sinks:
        environment = {
            "INTERLOCK_TRACE_SAMPLE_RATIO": "1",
            "INTERLOCK_TRACES_PER_SECOND": "1000",
            "INTERLOCK_UNSAFE_VISIBILITY_TIMEOUT_SECONDS": "1",
            "FAULTS_ARMING": str(arming.folder),
            "PYTHONPATH": f"{CHECKOUT / 'tests' / 'faults' / 'site'}:{CHECKOUT}:{CHECKOUT / 'client'}",
            "TESTS_PAGES_URL": pages,
        }
        system = RunningSystem(
            database_url,
            home,
            groups=(),
            beat=True,
            environment=environment,
            tool_modules=(instrumented_tools.MODULE,),
        )
        tracing = configure(TracingOptions("tests", database_url, "interlock_api"))
        assert tracing.messages is not None
        message_spans.begin(tracing.messages)
        try:
            with system:
                system.publish_shipped(_documents(home / "documents", sinks))
                for release in (repairable_release(attempts=2), calling(), reviewing()):
                    system.publish_one(release)
                life = Life(system, arming)
                killed = _everything_happens(life)
                rows = dict(system.rows("SELECT orchestration_id, traceparent FROM orchestrations"))
        finally:
            message_spans.end()
            tracing.shutdown()
        return Graph(spans_of(system), rows, life.named, asked, killed)


def dump(graph: Graph) -> str:
    """The graph, a span a line: for whoever looks for what went wrong."""
    return "\n".join(
        json.dumps(
            [
                span.orchestration[-6:],
                span.name,
                span.span_id,
                span.parent,
                [(link.kind, link.span_id) for link in span.links],
            ]
        )
        for span in sorted(graph.spans, key=lambda span: (span.orchestration, span.start))
    )
