"""The whole service over a handful of events, and what it left behind: spans, lines, and what its target received."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx2
import psycopg
import pytest

from app.cli.plan import whole_service
from app.supervisor.children import Program
from app.supervisor.embedded import EmbeddedServers
from app.supervisor.service import Service
from app.telemetry import naming
from app.telemetry.stored_spans import StoredSpan
from config import settings
from tests.eventually import assert_eventually
from tests.recorded_spans import recorded_spans

PLANTED = "ghp_" + "p1A9" * 9
"""A secret in the shape of GitHub's tokens, in an issue's body and in an event's type."""
API_KEY = "sk_live_" + "k3Y7" * 6
"""The tenant's API key."""
SENDER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
"""The trace of a host's request that sent an event."""


@dataclass(frozen=True)
class Span:
    """One span of the store, with its keys among its attributes."""

    name: str
    service: str
    trace_id: str
    span_id: str
    parent: str
    keys: Mapping[str, str]
    attributes: Mapping[str, object]
    links: int


@dataclass(frozen=True)
class Observed:
    """What there was to see, after the service had ended."""

    home: Path
    spans: list[Span]
    lines: list[Mapping[str, object]]
    requests: list[Mapping[str, str]]
    """What the target received, as it kept it."""
    orchestrations: Mapping[str, str]
    """Each orchestration's traceparent, as on its row."""
    runs: Mapping[str, int]
    """How many runs each orchestration had."""
    duplicate_of: str
    sent_with_a_trace: str

    def of(self, orchestration: str) -> list[Span]:
        """One orchestration's spans."""
        return [span for span in self.spans if span.attributes.get("orchestration_id") == orchestration]


def observe(home: Path) -> Observed:
    """Run the service in ``home``, send it the events, wait for their ends, end it, and read what it left."""
    with pytest.MonkeyPatch.context() as environment, _running(home, environment) as (url, database):
        traced = _send(url, _event("1", "issue", _ISSUE), traceparent=SENDER)
        first = _send(url, _event("2", "issue", {**_ISSUE, "title": "Crash at startup"}))
        assert _send(url, _event("2", "issue", {**_ISSUE, "title": "Crash at startup"})) == first
        _send(url, _event("3", "check", _CHECK))
        _send(url, _event("4", "alert", _ALERT))
        refused = _post(url, _event("5", f"issue.{PLANTED}", {}))
        assert refused.json()["code"] == "unknown_type"
        with psycopg.connect(database, autocommit=True) as connection:

            def ended() -> bool:
                query = "SELECT count(*) FILTER (WHERE status = 'completed'), count(*) FROM orchestrations"
                done, total = connection.execute(query).fetchone() or (0, 0)
                return bool(done == total == 4)

            assert_eventually(ended, within=60, what="every orchestration is completed")
            rows: dict[str, str] = dict(
                connection.execute("SELECT orchestration_id, traceparent FROM orchestrations").fetchall()
            )
            runs = connection.execute(
                "SELECT orchestration_id, count(*) FROM work_index WHERE queue = 'agent_runs' GROUP BY 1"
            ).fetchall()
    return Observed(
        home=home,
        spans=[_span(span) for span in _spans_of(home)],
        lines=_lines(home),
        requests=[json.loads(line) for line in (home / "sink.jsonl").read_text().splitlines()],
        orchestrations=rows,
        runs=dict(runs),
        duplicate_of=first,
        sent_with_a_trace=traced,
    )


def scan(folders: list[Path], *secrets: str) -> list[str]:
    """The files below ``folders`` that hold one of the secrets."""
    files = sorted(file for folder in folders for file in folder.rglob("*") if file.is_file())
    return [file.name for file in files if any(secret.encode() in file.read_bytes() for secret in secrets)]


@contextmanager
def _running(home: Path, environment: pytest.MonkeyPatch) -> Iterator[tuple[str, str]]:
    ports = [_free_port(), _free_port(), _free_port()]
    for name, value in {
        "INTERLOCK_HOME": str(home),
        "INTERLOCK_API_PORT": str(ports[0]),
        "INTERLOCK_METRICS_PORT": str(ports[2]),
        "INTERLOCK_DEMO_SINK_URL": f"http://127.0.0.1:{ports[1]}",
        "INTERLOCK_SECRET_DEMO_API_KEY": API_KEY,
        "INTERLOCK_TRACE_SAMPLE_RATIO": "1",
        "INTERLOCK_LOG_LEVEL": "DEBUG",
    }.items():
        environment.setenv(name, value)
    settings.load.cache_clear()
    plan = whole_service(settings.load(), with_flower=False, durable=False)
    sink = ("python", "-m", "app", "sink", "--port", str(ports[1]), "--history", str(home / "sink.jsonl"))
    try:
        with Service(replace(plan, programs=(Program("sink", sink), *plan.programs))) as service:
            yield f"http://127.0.0.1:{ports[0]}", service.listens["postgresql"]
    finally:
        settings.load.cache_clear()


_KEY = {"Authorization": f"Bearer {API_KEY}"}
_ISSUE = {"title": "It broke", "body": f"My token is {PLANTED} and it does not work", "author": "ada"}
_CHECK = {"kind": "check_run", "name": "tests", "status": "completed", "conclusion": "failure"}
_ALERT = {"kind": "dependabot_alert", "number": 7, "state": "open", "severity": "critical"}


def _event(event_id: str, kind: str, data: Mapping[str, object]) -> dict[str, object]:
    schema = {"issue": "issue:2", "check": "check:1", "alert": "alert:1"}.get(kind, "issue:2")
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": "/host",
        "type": f"dev.interlock.{kind}",
        "tenantid": "demo",
        "datacontenttype": "application/json",
        "dataschema": f"urn:interlock:schema:{schema}",
        "data": data,
    }


def _send(url: str, event: Mapping[str, object], **headers: str) -> str:
    """Send it; the id of the one orchestration that it started."""
    answer = _post(url, event, **headers)
    assert answer.status_code == 202, answer.text
    (orchestration,) = answer.json()["orchestrations"]
    return str(orchestration)


def _post(url: str, event: Mapping[str, object], **headers: str) -> httpx2.Response:
    content_type = {"content-type": "application/cloudevents+json"}
    return httpx2.post(
        f"{url}/v1/events", content=json.dumps(event), headers={**_KEY, **content_type, **headers}
    )


def _spans_of(home: Path) -> list[StoredSpan]:
    """What the service's processes had written when they had ended."""
    with EmbeddedServers(home, durable=False, redis=False) as servers:
        return recorded_spans(servers.database_url)


def _span(span: StoredSpan) -> Span:
    values = (span.tenant_id, span.event_id, span.orchestration_id, span.run_id)
    keys = {name: value for name, value in zip(naming.CORRELATION_KEYS, values, strict=True) if value}
    return Span(
        name=span.name,
        service=span.service,
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent=span.parent_span_id,
        keys=keys,
        attributes={**span.attributes, **keys},
        links=len(span.links),
    )


def _lines(home: Path) -> list[Mapping[str, object]]:
    """The processes' JSON lines; what Celery prints at its start is none."""
    texts = [line for file in sorted((home / "logs").glob("*.log")) for line in file.read_text().splitlines()]
    return [json.loads(text) for text in texts if text.startswith("{")]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
