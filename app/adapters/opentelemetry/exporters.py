"""Where spans go: a file of JSON lines for each process, and an OTLP collector when one is configured.

Call ``configure`` once in each process, after any fork: a thread that exports does not survive one.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import NoOpTracer

from app.adapters.opentelemetry import everywhere
from app.adapters.opentelemetry.processors import providers
from app.telemetry import naming, tracing
from app.telemetry.redaction import redact_value

FOLDER = "spans"
_OTLP = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TracingOptions:
    """How a process's spans are sampled and kept.

    Args:
        service: the process's name (``agent_runs``, ``api``).
        home: the run folder; spans go to ``<home>/spans/<service>-<pid>.jsonl``.
        ratio: the share of new traces that are recorded, 0 to 1; a trace from outside keeps its own verdict.
        max_file_bytes: at this size a file is moved to ``<name>.1`` (whose predecessor goes) and begun anew.
        otlp_endpoint: a collector's address (``OTEL_EXPORTER_OTLP_ENDPOINT``), or empty.
        export_seconds: how long a span waits for others before it is written.
        libraries: whether what libraries record is kept, too. Not in the API: its framework makes a span of every
            request, and a sender's trace is no reason to keep spans without our keys.
    """

    service: str
    home: Path
    ratio: float = 1.0
    max_file_bytes: int = 64_000_000
    otlp_endpoint: str = ""
    export_seconds: float = 1.0
    libraries: bool = True


class Tracing:
    """The running export of one process.

    Args:
        messages: what the spans of messages come from, which have traces of their own.
    """

    def __init__(self, provider: TracerProvider | None, messages: TracerProvider | None = None) -> None:
        self._provider = provider
        self.messages = messages

    def flush(self, seconds: float = 5.0) -> None:
        """Write what is waiting."""
        if self._provider is not None:
            self._provider.force_flush(int(seconds * 1000))

    def shutdown(self) -> None:
        """Write what is waiting and end the export; spans made after this go nowhere. Safe to call twice."""
        provider, self._provider = self._provider, None
        if provider is not None:
            tracing.install(NoOpTracer())
            everywhere.offer(None)
            provider.shutdown()


def configure(options: TracingOptions) -> Tracing:
    """Start exporting this process's spans.

    A missing OTLP package is a warning: a process works without its collector.
    """
    resource = Resource.create({"service.name": f"interlock.{options.service}"})
    path = options.home / FOLDER / f"{options.service}-{os.getpid()}.jsonl"
    exporters: list[SpanExporter] = [SpanFile(path, options.service, options.max_file_bytes)]
    if options.otlp_endpoint:
        exporters += _otlp_exporters()
    delay = options.export_seconds * 1000
    exports = [
        BatchSpanProcessor(exporter, max_queue_size=16_384, schedule_delay_millis=delay)
        for exporter in exporters
    ]
    provider, messages = providers(exports, ParentBased(TraceIdRatioBased(options.ratio)), resource)
    tracing.install(provider.get_tracer("interlock"), messages.get_tracer("interlock"))
    everywhere.offer(provider if options.libraries else None)
    return Tracing(provider, messages)


class SpanFile(SpanExporter):
    """Appends spans to a file, a JSON object a line, redacted; the file is made with the first span.

    Each line has ``name``, ``trace_id``, ``span_id``, ``parent_span_id`` (empty at a root), ``start`` and
    ``end`` (nanoseconds since the epoch), ``status``, ``attributes``, ``links`` and ``service``.
    """

    def __init__(self, path: Path, service: str, max_bytes: int) -> None:
        self._path = path
        self._service = service
        self._max_bytes = max_bytes
        self._lock = threading.Lock()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Append ``spans``. A disk that cannot be written costs spans, never the work that they describe."""
        lines = b"".join(self._line(span) for span in spans)
        with self._lock:
            try:
                self._append(lines)
            except OSError as error:
                _LOG.warning("spans cannot be written to %s: %s", self._path, error.strerror)
                return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def _append(self, lines: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists() and self._path.stat().st_size + len(lines) > self._max_bytes:
            self._path.replace(self._path.with_name(self._path.name + ".1"))
        with self._path.open("ab") as file:
            file.write(lines)

    def _line(self, span: ReadableSpan) -> bytes:
        context = span.get_span_context()
        assert context is not None
        line = {
            "name": span.name,
            "service": self._service,
            "trace_id": f"{context.trace_id:032x}",
            "span_id": f"{context.span_id:016x}",
            "parent_span_id": f"{span.parent.span_id:016x}" if span.parent else "",
            "start": span.start_time,
            "end": span.end_time,
            "status": span.status.status_code.name.lower(),
            "attributes": redact_value(dict(span.attributes or {})),
            "links": [
                {
                    "trace_id": f"{link.context.trace_id:032x}",
                    "span_id": f"{link.context.span_id:016x}",
                    "kind": str((link.attributes or {}).get(naming.LINK, "")),
                }
                for link in span.links
            ],
            "events": [
                {
                    "name": event.name,
                    "at": event.timestamp,
                    "attributes": redact_value(dict(event.attributes or {})),
                }
                for event in span.events
            ],
        }
        try:
            return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
        except TypeError:
            # A lone surrogate or an integer beyond 64 bits, which the standard library can write.
            return json.dumps(line).encode() + b"\n"


def read_spans(home: Path) -> list[Mapping[str, object]]:
    """All spans that the processes of ``home`` have written, by file; cut-off lines are left out."""
    paths = sorted((home / FOLDER).glob("*.jsonl*"))
    spans: list[Mapping[str, object]] = []
    for path in paths:
        with path.open("rb") as lines:
            spans.extend(orjson.loads(line) for line in lines if line.endswith(b"\n"))
    return spans


def _otlp_exporters() -> list[SpanExporter]:
    """The collector's exporter, which reads the OTEL_ variables itself; none without its package."""
    try:
        module = importlib.import_module(_OTLP)
    except ImportError:
        _LOG.warning(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but spans go to files only: the package "
            "opentelemetry-exporter-otlp-proto-http is not installed. Install it, or unset the variable."
        )
        return []
    exporter: SpanExporter = module.OTLPSpanExporter()
    return [exporter]
