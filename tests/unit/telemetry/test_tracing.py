"""Guards: an orchestration is one trace with the four keys on its spans; unsampled, it costs nothing."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
from opentelemetry import baggage, context, propagate, trace

from app.adapters.opentelemetry import exporters
from app.adapters.opentelemetry.exporters import TracingOptions, configure
from app.kernel.errors import PermanentError
from app.telemetry import tracing
from app.telemetry.span_ids import Linked, LinkKind, beside, derived
from app.telemetry.tracing import Attributes, Held, Keys
from tests import traced as tracings
from tests.traced import Traced

KEYS = Keys("demo", "e-1", "orc_1", "run_1")


@pytest.fixture
def unsampled() -> Iterator[Traced]:
    """The same, of a process that records no new trace."""
    with tracings.traced(ratio=0.0) as made:
        yield made


@pytest.fixture
def traced() -> Iterator[Traced]:
    """This process's tracing."""
    with tracings.traced() as made:
        yield made


def test_steps_in_other_processes_continue_the_trace_by_the_rows_traceparent(traced: Traced) -> None:
    with tracing.span("ingestion", Keys("demo", "e-1")) as root:
        row = tracing.traceparent_of(root)
    with tracing.span("invoke_agent triager", KEYS, parent=row), tracing.span("chat m", KEYS):
        pass
    found = traced.spans()
    assert {span["trace_id"] for span in found.values()} == {found["ingestion"]["trace_id"]}
    assert found["ingestion"]["parent_span_id"] == ""
    assert found["invoke_agent triager"]["parent_span_id"] == found["ingestion"]["span_id"]
    assert found["chat m"]["parent_span_id"] == found["invoke_agent triager"]["span_id"]


def test_the_known_correlation_keys_are_on_the_span(traced: Traced) -> None:
    """Its own, and of those that it does not know the ones of the span above."""
    with tracing.span("a", KEYS, attributes={"x": 1}), tracing.span("b", Keys("demo", "e-2")):
        pass
    found = traced.spans()
    assert found["a"]["attributes"] == {
        "tenant_id": "demo",
        "event_id": "e-1",
        "orchestration_id": "orc_1",
        "run_id": "run_1",
        "x": 1,
    }
    assert found["b"]["attributes"] == {**KEYS.named(), "event_id": "e-2"}


def test_what_is_over_can_be_recorded_with_its_times(traced: Traced) -> None:
    with tracing.span("ingestion", KEYS) as root:
        row = tracing.traceparent_of(root)
    after = tracing.record("aggregation", KEYS, parent=row, start_ns=5, end_ns=9, attributes={"x": "y"})
    found = traced.spans()["aggregation"]
    assert (found["start_ns"], found["end_ns"]) == (5, 9)
    assert after is not None
    assert after[36:52] == found["span_id"]


def test_an_error_leaves_its_code_and_not_its_text(traced: Traced) -> None:
    with pytest.raises(PermanentError), tracing.span("dispatch", KEYS):
        raise PermanentError("hunter2 is wrong")
    found = traced.spans()["dispatch"]
    assert found["status"] == "error"
    assert found["attributes"]["error.type"] == "invalid"  # type: ignore[index]
    assert "hunter2" not in str(found)


def test_attributes_are_redacted_and_oddities_do_not_cost_the_span(traced: Traced) -> None:
    with tracing.span("a", KEYS, attributes={"note": "ghp_" + "a1B2" * 9, "huge": 2**70}):
        pass
    assert traced.spans()["a"]["attributes"]["note"] == "[redacted]"  # type: ignore[index]


def never() -> Attributes:
    raise AssertionError("attributes were computed for a span that nobody records")


def test_an_unsampled_trace_stays_unsampled_and_computes_nothing(unsampled: Traced) -> None:
    with tracing.span("ingestion", KEYS, attributes=never) as root:
        row = tracing.traceparent_of(root)
    assert row is not None
    assert row.endswith("-00")
    with tracing.span("run", KEYS, parent=row, attributes=never) as run:
        assert tracing.traceparent_of(run) == row
    assert tracing.record("over", KEYS, parent=row, start_ns=1, end_ns=2) == row
    assert unsampled.spans() == {}


def test_without_tracing_spans_are_harmless() -> None:
    with tracing.span("a", KEYS, attributes=never) as nothing:
        assert tracing.traceparent_of(nothing) is None
        assert tracing.current_traceparent() is None


def test_concurrent_runs_on_one_loop_do_not_mix_their_traces(traced: Traced) -> None:
    async def run(number: int) -> None:
        with tracing.span(f"run {number}", KEYS):
            await asyncio.sleep(0)
            with tracing.span(f"chat {number}", KEYS):
                await asyncio.sleep(0)

    async def all_runs() -> None:
        await asyncio.gather(*(run(number) for number in range(5)))

    asyncio.run(all_runs())
    found = traced.spans()
    for number in range(5):
        assert found[f"chat {number}"]["parent_span_id"] == found[f"run {number}"]["span_id"]


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", True),
        (" 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00 ", True),
        ("00-00000000000000000000000000000000-b7ad6b7169203331-01", False),
        ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", False),
        ("nonsense", False),
        (None, False),
    ],
)
def test_only_a_valid_traceparent_is_accepted_from_outside(header: str | None, kept: bool) -> None:
    assert (tracing.accepted_traceparent(header) is not None) == kept


@pytest.mark.parametrize(("flags", "recorded"), [("00", False), ("02", False), ("01", True), ("03", True)])
def test_whether_a_trace_is_recorded_is_one_bit_of_its_flags(flags: str, recorded: bool) -> None:
    """Trace Context, level 2: another bit says that the id is drawn at random."""
    assert tracing.is_sampled("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-" + flags) == recorded


def test_a_wrong_otlp_variable_is_a_warning_and_stops_no_process(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exporter reads its timeout as a number when it is made."""
    package = ModuleType("trace_exporter")
    package.OTLPSpanExporter = lambda: float("10s")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, exporters._OTLP, package)
    configure(TracingOptions("api", otlp_endpoint="http://127.0.0.1:4318")).shutdown()
    assert "variable is wrong" in caplog.text


def test_a_missing_otlp_package_is_a_warning_that_says_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    configure(TracingOptions("api", otlp_endpoint="http://127.0.0.1:4318")).shutdown()
    assert "opentelemetry-exporter-otlp-proto-http is not installed" in caplog.text


def test_shutting_down_twice_is_harmless() -> None:
    running = configure(TracingOptions("api"))
    running.shutdown()
    running.shutdown()
    running.flush()


def test_a_span_that_is_begun_can_be_continued_before_it_is_over(traced: Traced) -> None:
    """An attempt's span goes to the target in a header; how the attempt ended is known later."""
    attempt = tracing.begin("dispatch", KEYS, attributes={"x": 1})
    tracing.record("at the target", KEYS, parent=attempt.traceparent, start_ns=1, end_ns=2)
    attempt.end({"error.type": "unknown"})
    found = traced.spans()
    assert found["at the target"]["parent_span_id"] == found["dispatch"]["span_id"]
    assert found["dispatch"]["status"] == "error"
    assert found["dispatch"]["attributes"] == {**KEYS.named(), "x": 1, "error.type": "unknown"}


def test_a_rerun_begins_a_trace_of_its_own_that_is_linked_to_the_originals(traced: Traced) -> None:
    """Also inside the span of the message that brought the work, which is infrastructure."""
    original = tracing.begin("ingestion", KEYS).traceparent
    assert original is not None
    with tracing.span("batch replay", Keys()):
        rerun = tracing.begin_trace("rerun", KEYS, links=[Linked(original, LinkKind.REPLAY)])
    rerun.end()
    found = traced.spans()
    assert rerun.traceparent is not None
    assert found["rerun"]["trace_id"] == rerun.traceparent[3:35]
    assert found["rerun"]["trace_id"] not in {original[3:35], found["batch replay"]["trace_id"]}
    assert found["rerun"]["parent_span_id"] == ""
    assert found["rerun"]["links"] == [
        {"trace_id": original[3:35], "span_id": original[36:52], "kind": "replay"}
    ]


def test_a_span_that_is_dropped_never_was(traced: Traced) -> None:
    """The ingestion span of a duplicate."""
    assert tracing.begin("ingestion", KEYS).traceparent is not None
    assert traced.spans() == {}


def test_what_is_not_sampled_says_so_before_anything_is_gathered(unsampled: Traced) -> None:
    """A row without a trace begins none later: its spans would be roots of their own."""
    row = tracing.begin("ingestion", KEYS).traceparent
    assert row is not None
    assert not tracing.is_sampled(row)
    assert not tracing.is_sampled(None)
    attempt = tracing.begin("dispatch", KEYS, parent=row)
    attempt.end({"x": 1})
    assert attempt.traceparent == row
    assert unsampled.spans() == {}


def test_a_span_may_have_an_id_that_is_derived_from_what_it_is(traced: Traced) -> None:
    """So that whoever does a step again can link to the attempt before, whose worker may have been killed."""
    row = tracing.begin("ingestion", KEYS).traceparent
    assert row is not None
    first, second = derived("attempt", "run_1", 0, 1), derived("attempt", "run_1", 0, 2)
    assert first != second
    lapsed = Linked(beside(row, first), LinkKind.LAPSE)
    recorded = tracing.record("run", KEYS, parent=row, start_ns=1, end_ns=2, links=[lapsed], span_id=second)
    assert recorded == beside(row, second)
    by_chance = tracing.record("other", KEYS, parent=row, start_ns=1, end_ns=2)
    assert by_chance not in {recorded, beside(row, first)}
    found = traced.spans()["run"]
    assert found["span_id"] == f"{second:016x}"
    assert found["links"] == [{"trace_id": row[3:35], "span_id": f"{first:016x}", "kind": "lapse"}]


def test_what_libraries_record_is_below_what_is_under_way_and_waits_for_it(traced: Traced) -> None:
    """The keys come with the baggage, and of baggage nothing else becomes an attribute."""
    row = tracing.begin("ingestion", KEYS).traceparent
    assert row is not None
    held, here = Held(), beside(row, derived("chat", 1))
    library = trace.get_tracer("a.library")
    with tracing.under_way(KEYS, here, held):
        token = context.attach(baggage.set_baggage("password", "hunter2"))
        with library.start_as_current_span("GET"), library.start_as_current_span("below"):
            carrier: dict[str, str] = {}
            propagate.inject(carrier)
        context.detach(token)
    assert tracing.current_traceparent() is None
    assert traced.spans() == {}
    tracing.record("chat", KEYS, parent=row, start_ns=1, end_ns=2, span_id=derived("chat", 1))
    held.recorded()
    found = traced.spans()
    assert found["GET"]["parent_span_id"] == found["chat"]["span_id"]
    assert found["below"]["parent_span_id"] == found["GET"]["span_id"]
    assert found["GET"]["attributes"] == found["below"]["attributes"] == KEYS.named()
    assert set(carrier) == {"traceparent"}


def test_below_a_span_that_was_never_recorded_nothing_is(traced: Traced) -> None:
    """As when its worker has lost the step."""
    row = tracing.begin("ingestion", KEYS).traceparent
    with tracing.under_way(KEYS, row, Held()), trace.get_tracer("a.library").start_as_current_span("GET"):
        pass
    assert traced.spans() == {}


def test_below_an_unsampled_trace_libraries_record_nothing(traced: Traced) -> None:
    """Whatever message it came with: the sampling of its trace is what counts."""
    unsampled = "00-" + "1" * 32 + "-" + "2" * 16 + "-00"
    with tracing.span("message", Keys()), tracing.under_way(KEYS, unsampled, None):
        with trace.get_tracer("a.library").start_as_current_span("GET"):
            pass
        assert baggage.get_all() == {}
    assert set(traced.spans()) == {"message"}


def test_baggage_from_outside_is_not_taken(traced: Traced) -> None:
    """Neither from a request nor from a message: both go through the global propagator."""
    given = {"traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01", "baggage": "tenant_id=another"}
    within = propagate.extract(given)
    assert baggage.get_all(within) == {}
    with trace.get_tracer("a.library").start_as_current_span("GET", context=within):
        pass
    assert traced.spans()["GET"]["attributes"] == {}
