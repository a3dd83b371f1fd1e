"""Guards: messages' spans are infrastructure, and a publish leaves nothing behind, whatever becomes of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry import context, trace
from opentelemetry.trace import SpanKind

from app.telemetry import messages, tracing
from app.telemetry.messages import Publish
from app.telemetry.tracing import Keys
from tests import traced as tracings
from tests.traced import Traced

KEYS = Keys("demo", "e-1", "orc_1")
UNSAMPLED = "00-" + "1" * 32 + "-" + "2" * 16 + "-00"


@pytest.fixture
def traced() -> Iterator[Traced]:
    """This process's tracing."""
    with tracings.traced() as made:
        yield made


def row() -> str:
    """The traceparent of an orchestration that is recorded."""
    made = tracing.begin("ingestion", KEYS).traceparent
    assert made is not None
    return made


def publish(error: Exception | None = None) -> None:
    """As Celery's instrumentation does it: its span is current until it is over, and one that fails never is."""
    span = tracing.messages_tracer().start_span("apply_async/x", kind=SpanKind.PRODUCER)
    activation = trace.use_span(span, end_on_exit=True)
    activation.__enter__()
    assert messages.publish_begun("1", Publish(span, activation))
    if error is not None:
        # What fails holds its frames: the guard alone has what made the span current.
        del activation
        raise error
    assert messages.publish_over("1") is not None
    activation.__exit__(None, None, None)


def test_a_batch_is_a_trace_of_its_own_that_is_linked(traced: Traced) -> None:
    """To those of its orchestrations that are recorded."""
    parent = row()
    with tracing.span("of a library", KEYS), messages.batch("agent_runs", 2, [parent, UNSAMPLED, None]):
        (carrier,) = messages.carried_by()
    batch = traced.spans()["batch agent_runs"]
    assert batch["parent_span_id"] == ""
    assert batch["trace_id"] not in {parent[3:35], traced.spans()["of a library"]["trace_id"]}
    assert batch["links"] == [{"trace_id": parent[3:35], "span_id": parent[36:52], "kind": "carries"}]
    assert carrier.traceparent[36:52] == batch["span_id"]
    assert batch["attributes"] == {"interlock.queue": "agent_runs", "interlock.batch.size": 2}


def test_a_batch_of_nothing_that_is_recorded_has_no_span(traced: Traced) -> None:
    with messages.batch("agent_runs", 2, [UNSAMPLED, None]):
        assert messages.carried_by() == ()
    assert traced.spans() == {}


def test_a_message_is_told_what_it_carries_and_is_kept_for_it(traced: Traced) -> None:
    """Its own span is the one of the batch: there is no second one."""
    parent = row()
    tracer = tracing.messages_tracer()
    with tracer.start_as_current_span("run/idle", kind=SpanKind.CONSUMER), messages.publishing("dispatch"):
        publish()
    with tracer.start_as_current_span("run/work", kind=SpanKind.CONSUMER):
        for _ in range(2):
            with messages.batch("agent_runs", 3, [parent]), messages.publishing("dispatch"):
                publish()
    found = traced.spans()
    assert set(found) == {"run/work", "apply_async/x"}
    assert found["run/work"]["attributes"] == {"interlock.queue": "agent_runs", "interlock.batch.size": 6}
    assert found["apply_async/x"]["parent_span_id"] == found["run/work"]["span_id"]


def test_a_message_whose_work_failed_is_kept(traced: Traced) -> None:
    """Also one of ``maintenance``, which carries nothing."""
    with tracing.messages_tracer().start_as_current_span("run/reconcile", kind=SpanKind.CONSUMER):
        messages.failed("database_away")
    assert traced.spans()["run/reconcile"]["status"] == "error"
    assert traced.spans()["run/reconcile"]["attributes"] == {"error.type": "database_away"}


def test_a_failed_publish_is_told_by_its_message_and_leaves_no_span_current(traced: Traced) -> None:
    """Its text may hold an address, with a password: the kind of error is told, and no more."""
    parent = row()
    with tracing.messages_tracer().start_as_current_span("run/work", kind=SpanKind.CONSUMER) as message:
        with (
            pytest.raises(ConnectionError),
            messages.batch("agent_runs", 1, [parent]),
            messages.publishing("dispatch"),
        ):
            publish(ConnectionError("redis://:hunter2@host"))
        assert trace.get_current_span() is message
    assert tracing.current_traceparent() is None
    found = traced.spans()
    assert found["run/work"]["events"][0]["attributes"] == {
        "interlock.queue": "dispatch",
        "error.type": "ConnectionError",
    }
    assert found["apply_async/x"]["status"] == "error"
    assert "hunter2" not in repr(found)


def test_a_publish_is_never_part_of_an_orchestrations_trace(traced: Traced) -> None:
    """Whatever is current: the doorbell of an event that is being accepted is rung for all."""
    with tracing.span("ingestion", KEYS):
        with messages.publishing("orchestration"):
            assert tracing.current_traceparent() is None
            publish()
        assert tracing.current_traceparent() is not None
    assert set(traced.spans()) == {"ingestion"}


def test_what_publishes_wait_for_never_comes_when_the_message_is_dropped(traced: Traced) -> None:
    """A library's span below a message that carried nothing goes with it."""
    held = tracing.Held()
    token = context.attach(tracing.holding(held, context.Context()))
    with (
        tracing.messages_tracer().start_as_current_span("run/idle", kind=SpanKind.CONSUMER),
        trace.get_tracer("a.library").start_as_current_span("SELECT"),
    ):
        pass
    context.detach(token)
    assert traced.spans() == {}
