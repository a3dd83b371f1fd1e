"""Promise 5: one trace and one log explain each orchestration, from ingestion to dispatch; no secret is in either."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracer

from app.adapters.opentelemetry import encoding
from app.cli import main as command_line
from app.telemetry import logs, tracing
from app.telemetry.tracing import Keys
from config import settings
from tests.acceptance.observed_service import API_KEY, PLANTED, SENDER, Observed, observe, scan
from tests.documented import commands
from tests.own_logging import own_logging


@pytest.fixture(scope="module")
def seen() -> Iterator[Observed]:
    """One run of the whole service, for all tests of this module."""
    home = Path(tempfile.mkdtemp(prefix="interlock-test-"))
    yield observe(home)
    shutil.rmtree(home, ignore_errors=True)


def test_each_orchestration_is_one_trace_that_begins_at_ingestion(seen: Observed) -> None:
    """One root, which is the ingestion span that the row names; also when the event was sent twice."""
    for orchestration, traceparent in seen.orchestrations.items():
        spans = seen.of(orchestration)
        assert len({span.trace_id for span in spans}) == 1
        ids = {span.span_id for span in spans}
        roots = [span for span in spans if span.parent not in ids]
        assert [root.name for root in roots] == ["ingestion"]
        assert f"00-{roots[0].trace_id}-{roots[0].span_id}-01" == traceparent
    assert seen.duplicate_of in seen.orchestrations


def test_no_span_is_an_orphan(seen: Observed) -> None:
    """Every parent was written, but for that of a sender outside, whose trace the orchestration continues."""
    ids = {span.span_id for span in seen.spans}
    outside = [span for span in seen.spans if span.parent and span.parent not in ids]
    assert [(span.name, span.keys["orchestration_id"]) for span in outside] == [
        ("ingestion", seen.sent_with_a_trace)
    ]
    assert f"00-{outside[0].trace_id}-{outside[0].parent}-01" == SENDER


def test_every_step_is_a_span_with_the_keys(seen: Observed) -> None:
    """Ingestion, orchestration, each run with its question to a model, aggregation, decision, each dispatch."""
    for orchestration in seen.orchestrations:
        spans = seen.of(orchestration)
        names = Counter(span.name.split(" ")[0] for span in spans)
        assert names["ingestion"] == names["orchestration"] == names["decision"] == 1
        assert names["invoke_agent"] == names["chat"] == seen.runs[orchestration] >= 3
        assert names["aggregation"] >= 1
        delivered = [request for request in seen.requests if request["orchestration"] == orchestration]
        assert names["dispatch"] == len(delivered)
        for span in spans:
            wanted = {"tenant_id", "event_id", "orchestration_id"}
            is_run = span.name.startswith(("invoke_agent", "chat"))
            assert set(span.keys) == (wanted | {"run_id"} if is_run else wanted), span.name
            assert all(span.keys.values()), span
    assert seen.requests


def test_a_runs_span_names_agent_model_and_tokens(seen: Observed) -> None:
    """OpenTelemetry's GenAI conventions, on the run and on the question below it."""
    by_id = {span.span_id: span for span in seen.spans}
    chats = [span for span in seen.spans if span.name.startswith("chat ")]
    for chat in chats:
        run = by_id[chat.parent]
        assert run.name == f"invoke_agent {run.attributes['gen_ai.agent.name']}"
        assert run.keys["run_id"] == chat.keys["run_id"]
        for name in ("gen_ai.request.model", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"):
            assert run.attributes[name] == chat.attributes[name]
            assert chat.attributes[name]


def test_the_target_received_the_dispatch_spans_trace(seen: Observed) -> None:
    """Whatever the target does next can continue the orchestration's trace below the attempt."""
    attempts = {
        f"00-{span.trace_id}-{span.span_id}-01" for span in seen.spans if span.name.startswith("dispatch")
    }
    assert {request["traceparent"] for request in seen.requests} == attempts


def test_each_orchestrations_lines_carry_the_keys(seen: Observed) -> None:
    """From acceptance to the end, one JSON object for each step, joined to the trace."""
    for orchestration in seen.orchestrations:
        lines = [line for line in seen.lines if line.get("orchestration_id") == orchestration]
        words = Counter(line["event"] for line in lines)
        assert {words[word] for word in ("advanced", "decided", "closed")} == {1}
        assert words["event taken"] == (2 if orchestration == seen.duplicate_of else 1)
        assert words["run final"] + words["run without a proposal"] == seen.runs[orchestration]
        delivered = [request for request in seen.requests if request["orchestration"] == orchestration]
        assert words["delivered"] == len(delivered)
        for line in lines:
            assert line["tenant_id"] == "demo"
            assert line["event_id"]
            assert line["service"]
            if str(line["event"]).startswith("run "):
                assert line["run_id"]
            if line["event"] != "event taken":
                assert line["trace_id"] == seen.orchestrations[orchestration].split("-")[1]


def test_no_secret_is_in_any_span_or_line(seen: Observed) -> None:
    """Not the one in the issue's body, not the one in a refused event's type, not the tenant's key."""
    assert scan([seen.home / "logs"], PLANTED, API_KEY) == []
    assert not [span for span in seen.spans if PLANTED in str(span) or API_KEY in str(span)]
    (refused,) = [line for line in seen.lines if line["event"] == "event refused"]
    assert refused["type"] == "dev.interlock.issue.[redacted]"


def test_the_guides_commands_show_a_trace_after_the_service_has_ended(
    seen: Observed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every step of it, in the terminal and for programs."""
    monkeypatch.setenv("INTERLOCK_HOME", str(seen.home))
    settings.load.cache_clear()
    for line in commands("docs/tracing.md"):
        words = line.replace(" ID", f" {seen.duplicate_of}").split()
        assert words[:3] == ["python", "-m", "app"]
        with pytest.raises(SystemExit) as ended:
            command_line.main(words[3:])
        shown = capsys.readouterr().out
        assert ended.value.code in (None, 0)
        assert {span.name for span in seen.of(seen.duplicate_of) if span.name not in shown} == set()
    settings.load.cache_clear()


def test_with_redaction_off_the_same_scan_finds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: the scan can fail, and redaction is what keeps it from failing."""
    written = [_written(tmp_path / "redacted")]
    monkeypatch.setattr(encoding, "redact_value", lambda value, *_: value)
    monkeypatch.setattr(logs, "redact_value", lambda value, *_: value)
    written.append(_written(tmp_path / "plain"))
    assert [scan([folder], PLANTED, API_KEY) for folder in written] == [[], ["line.log", "span.json"]]


def _written(folder: Path) -> Path:
    """A span and a line about both secrets, as a process writes them."""
    folder.mkdir()
    memory, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracing.install(provider.get_tracer("control"))
    with tracing.span("ingestion", Keys("demo"), attributes={"type": PLANTED, "key": API_KEY}):
        pass
    tracing.install(NoOpTracer())
    (folder / "span.json").write_text(encoding.encoded(memory.get_finished_spans(), "control").document)
    with (folder / "line.log").open("w") as stream, own_logging():
        logs.configure_logs(stream=stream)
        logs.get_logger("control").warning(f"refused {PLANTED}", type=API_KEY)
    return folder
