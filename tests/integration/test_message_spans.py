"""Celery's instrumentation over a real Redis, that is there and that is stopped: what it leaves behind in a process."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from celery import current_app
from opentelemetry import trace

from app.adapters.celery import message_spans
from app.adapters.celery.carrier import TASKS, CeleryCarrier
from app.adapters.celery.reporting import Reporter
from app.adapters.redis.connection import connect
from app.bootstrap import celery_application
from app.data_plane.dead_letters.letters import Cause
from app.data_plane.dead_letters.reports import Report
from app.data_plane.ports import Queue
from app.kernel.errors import Fate
from app.supervisor.embedded import EmbeddedServers
from app.telemetry import messages, tracing
from app.telemetry.tracing import Keys
from config.settings import Settings
from tests.traced import Traced, traced

RUNG = (Queue.ORCHESTRATION, Queue.AGENT_RUNS, Queue.DISPATCH)
KEYS = Keys("demo", "1", "orc_1")
REPORT = Report(
    cause=Cause.UNDECODABLE_MESSAGE,
    code="undecodable_body",
    fate=Fate.PERMANENT,
    queue="dispatch",
    digest="0" * 64,
    size=1,
    at="2026-01-01T00:00:00.000000Z",
)


@dataclass
class Publisher:
    """A process that publishes."""

    servers: EmbeddedServers
    carrier: CeleryCarrier
    reporter: Reporter
    traced: Traced


@pytest.fixture(params=["worker", "api"])
def publisher(home: Path, request: pytest.FixtureRequest) -> Iterator[Publisher]:
    """This process, instrumented: with the tasks registered as in a worker, or with none as in the API."""
    before = current_app._get_current_object()
    with EmbeddedServers(home, postgresql=False, durable=False) as servers:
        application = celery_application(Settings(home=home, redis_url=servers.redis_url))
        # Nothing is read from it here, and a result asks it once more when it is collected, when Redis is gone.
        application.conf.result_backend = "disabled://"
        if request.param == "worker":
            application.set_current()
            for name in TASKS.values():
                application.task(_nothing, name=name)
        with traced() as made, closing(connect(servers.redis_url)) as client:
            message_spans.begin(made.messages)
            carrier = CeleryCarrier(application, client, runs_per_message=1)
            yield Publisher(servers, carrier, Reporter(application), made)
            message_spans.end()
        application.close()
        before.set_current()
    gc.collect()
    assert not trace.get_current_span().get_span_context().is_valid, (
        "something became current when it was dropped"
    )


def _nothing(*_arguments: object) -> None:
    """What no worker is here to do."""


def _parent() -> str:
    made = tracing.begin("ingestion", KEYS).traceparent
    assert made is not None
    return made


def test_a_publish_leaves_nothing_current_and_its_spans_are_in_the_messages_trace(
    publisher: Publisher,
) -> None:
    """No span is without the one above it."""
    with messages.batch("ingestion", 1, [_parent()]):
        batch = trace.get_current_span()
        for queue in RUNG:
            publisher.carrier.ring(queue)
        assert publisher.reporter.publish(REPORT)
        assert trace.get_current_span() is batch
    assert not trace.get_current_span().get_span_context().is_valid
    found = publisher.traced.all_spans()
    (root,) = [span for span in found if span["name"] == "batch ingestion"]
    published = [span for span in found if str(span["name"]).startswith("apply_async/")]
    assert len(published) == len(RUNG) + 1
    ids = {span["span_id"] for span in found}
    assert {span["trace_id"] for span in published} == {root["trace_id"]}
    assert all(span["parent_span_id"] in ids for span in published)


def test_messages_carry_the_trace_context_and_no_baggage(publisher: Publisher) -> None:
    """The keys of whatever is current stay in this process."""
    with tracing.span("of an orchestration", KEYS) as span:
        for queue in RUNG:
            publisher.carrier.ring(queue)
    assert publisher.servers.redis is not None
    with closing(connect(publisher.servers.redis_url)) as client:
        bodies = [body for queue in RUNG for body in client.lrange(queue, 0, -1)]
    assert len(bodies) == len(RUNG)
    for body in bodies:
        headers = json.loads(body)["headers"]
        assert "baggage" not in headers
        assert f"{span.get_span_context().trace_id:032x}" not in json.dumps(headers)


def test_a_publish_that_fails_leaves_nothing_current_and_the_next_trace_is_its_own(
    publisher: Publisher,
) -> None:
    """With the broker stopped: the message's span tells of it, and no trace after it is polluted."""
    assert publisher.servers.redis is not None
    # A process that has published before fails where it publishes, and not where it connects.
    assert publisher.reporter.publish(REPORT)
    publisher.servers.redis.stop()
    assert not publisher.reporter.publish(REPORT)
    assert not trace.get_current_span().get_span_context().is_valid
    with tracing.span("the next one", KEYS):
        pass
    with messages.batch("ingestion", 1, [_parent()]):
        assert not publisher.reporter.publish(REPORT)
    assert not trace.get_current_span().get_span_context().is_valid
    found = publisher.traced.spans()
    assert found["the next one"]["parent_span_id"] == ""
    assert found["batch ingestion"]["status"] == "error"
    (event,) = found["batch ingestion"]["events"]
    assert event["attributes"]["interlock.queue"] == "dead_letter"
    published = found["apply_async/interlock.dead_letter.record"]
    assert published["parent_span_id"] == found["batch ingestion"]["span_id"]
    assert "redis" not in repr(published)
