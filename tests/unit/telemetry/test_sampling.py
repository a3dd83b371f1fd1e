"""Guards: a trace is recorded whole or not at all, and a process begins no more of them than it may."""

from __future__ import annotations

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, TraceFlags

from app.adapters.opentelemetry.sampling import NewTraces, sampler


class Time:
    """Monotonic seconds that a test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def recorded(asked: NewTraces, times: int, links: tuple[Link, ...] = ()) -> int:
    """How many of so many new traces are recorded."""
    verdicts = [asked.should_sample(None, number, "ingestion", links=links) for number in range(times)]
    return sum(verdict.decision is Decision.RECORD_AND_SAMPLE for verdict in verdicts)


def linked(*, sampled: bool) -> Link:
    return Link(SpanContext(1, 1, is_remote=True, trace_flags=TraceFlags(int(sampled))))


def test_no_more_begin_in_a_second_than_it_may_and_no_pause_saves_up_more() -> None:
    time = Time()
    asked = NewTraces(1.0, 20.0, time)
    assert recorded(asked, 100) == 20
    time.now += 0.5
    assert recorded(asked, 100) == 10
    time.now += 3_600
    assert recorded(asked, 100) == 20


def test_a_rate_below_one_still_records_one_now_and_then() -> None:
    time = Time()
    asked = NewTraces(1.0, 0.1, time)
    assert [recorded(asked, 5), recorded(asked, 5)] == [1, 0]
    time.now += 10
    assert recorded(asked, 5) == 1


def test_the_share_is_chosen_by_id_before_the_rate_counts() -> None:
    """Two processes choose the same ones, and what is not chosen takes nobody's place."""
    asked, other = (NewTraces(0.25, 1_000.0, Time()) for _ in range(2))
    ids = [number << 50 for number in range(1 << 14)]
    verdicts = [asked.should_sample(None, one, "a").decision for one in ids if one % 7 == 0]
    assert (
        verdicts[:900] == [other.should_sample(None, one, "a").decision for one in ids if one % 7 == 0][:900]
    )
    spared = NewTraces(0.0, 1.0, Time())
    assert recorded(spared, 100) == 0
    assert spared._tokens == 1.0


@pytest.mark.parametrize("sampled", [True, False])
def test_what_is_linked_with_a_recorded_trace_is_recorded_with_it(sampled: bool) -> None:
    """The message that carried its steps, and its replay; whatever the rate says."""
    asked = NewTraces(0.0, 1.0, Time())
    assert recorded(asked, 10, (linked(sampled=False), linked(sampled=sampled))) == (10 if sampled else 0)


@pytest.mark.parametrize("sampled", [True, False])
def test_a_span_goes_with_its_parent_wherever_that_is(sampled: bool) -> None:
    tracer = TracerProvider(sampler=sampler(0.0 if sampled else 1.0, 1_000.0)).get_tracer("test")
    context = SpanContext(7, 7, is_remote=True, trace_flags=TraceFlags(int(sampled)))
    within = trace.set_span_in_context(NonRecordingSpan(context), Context())
    with (
        tracer.start_as_current_span("below", context=within) as below,
        tracer.start_as_current_span("further"),
    ):
        assert below.is_recording() is sampled
        assert trace.get_current_span().is_recording() is sampled
