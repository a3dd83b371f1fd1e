"""Everything is explained: each orchestration's trace begins at ingestion, or continues the sender's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracer
from structlog.testing import capture_logs

from app.data_plane.ingestion.accept import Submission
from app.telemetry import tracing
from app.telemetry.tracing import Keys
from tests.unit.ingestion.fakes import Ingestion, issue

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """The spans of this test."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.install(provider.get_tracer("test"))
    yield exporter
    tracing.install(NoOpTracer())


def _traces(given: Ingestion, spans: InMemorySpanExporter) -> dict[str, str]:
    """Orchestration to the trace on its row, after checking that the row names its own ingestion span."""
    named = {}
    for span in spans.get_finished_spans():
        if span.name == "ingestion":
            assert span.attributes is not None
            assert span.attributes["tenant_id"] == "demo"
            assert span.attributes["event_id"] == "1"
            named[span.attributes["orchestration_id"]] = (
                f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-01"
            )
    (event,) = given.store.events.values()
    assert {route.orchestration_id: route.traceparent for route in event.routes} == named
    return {str(orchestration): str(parent).split("-")[1] for orchestration, parent in named.items()}


def test_without_a_sender_each_orchestration_has_a_trace_of_its_own(spans: InMemorySpanExporter) -> None:
    """Two workflows of one event are two traces."""
    given = Ingestion()
    given.service.accept_one(Submission(issue()))
    assert len(set(_traces(given, spans).values())) == 2


def test_the_senders_trace_is_continued(spans: InMemorySpanExporter) -> None:
    """From the host's request to the effect, one trace."""
    given = Ingestion()
    given.service.accept_one(Submission(replace(issue(), traceparent=TRACEPARENT)))
    assert set(_traces(given, spans).values()) == {TRACEPARENT.split("-")[1]}


def test_a_duplicate_begins_no_trace(spans: InMemorySpanExporter) -> None:
    """One orchestration, one root: what was accepted before has its first span already."""
    given = Ingestion()
    for _ in range(2):
        given.service.accept([Submission(issue()), Submission(issue())])
    assert len([span for span in spans.get_finished_spans() if span.name == "ingestion"]) == 2


def test_each_orchestration_has_a_log_line_with_its_keys(caplog: pytest.LogCaptureFixture) -> None:
    """What was taken, and what was refused and why; never the event's content."""
    caplog.set_level("INFO")
    given = Ingestion()
    with capture_logs() as lines:
        given.service.accept_one(Submission(issue(title="hunter2")))
        given.service.accept([Submission(issue(title="another"))])
    taken = [line for line in lines if line["event"] == "event taken"]
    assert len({line["orchestration_id"] for line in taken}) == 2
    assert {(line["tenant_id"], line["event_id"], line["state"]) for line in taken} == {
        ("demo", "1", "accepted")
    }
    assert [line["code"] for line in lines if line["event"] == "event refused"] == ["event_conflict"]
    assert "hunter2" not in repr(lines)


def test_a_trace_parent_of_a_later_version_begins_a_trace_and_joins_none(
    spans: InMemorySpanExporter,
) -> None:
    """It may stand in an envelope; what cannot be continued must not end in the trace of whatever carries the event."""
    given = Ingestion()
    with tracing.span("message", Keys()):
        given.service.accept_one(
            Submission(replace(issue(), traceparent=TRACEPARENT.replace("00-", "01-", 1)))
        )
    (message,) = [span for span in spans.get_finished_spans() if span.name == "message"]
    assert f"{message.context.trace_id:032x}" not in _traces(given, spans).values()
