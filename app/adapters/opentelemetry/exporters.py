"""Where spans go: the local span store in PostgreSQL, and an OTLP collector when one is configured.

Call ``configure`` once in each process, after any fork: a thread that exports does not survive one.
"""

from __future__ import annotations

import importlib
import logging
from dataclasses import dataclass

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.trace import NoOpTracer

from app.adapters.opentelemetry import everywhere
from app.adapters.opentelemetry.processors import providers
from app.adapters.opentelemetry.queue import BoundedQueue
from app.adapters.opentelemetry.redacted import RedactedExporter
from app.adapters.opentelemetry.sampling import sampler
from app.adapters.opentelemetry.span_store import PostgresqlSpans
from app.adapters.postgresql.database import Role
from app.adapters.postgresql.spans import SpanWriter
from app.telemetry import tracing

_OTLP = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TracingOptions:
    """How a process's spans are sampled and kept.

    Args:
        service: the process's name (``agent_runs``, ``api``).
        database_url: where the span store is; empty in a process without a database, which keeps none.
        role: what the process is in that database.
        ratio: the share of new traces that are recorded, 0 to 1; a trace from outside keeps its own verdict.
        traces_per_second: how many new traces this process records a second at most.
        otlp_endpoint: a collector's address (``OTEL_EXPORTER_OTLP_ENDPOINT``), or empty.
        export_seconds: how long a span waits for others before it is written.
        libraries: whether what libraries record is kept, too. Not in the API: its framework makes a span of every
            request, and a sender's trace is no reason to keep spans without our keys.
    """

    service: str
    database_url: str = ""
    role: Role = "interlock_worker"
    ratio: float = 1.0
    traces_per_second: float = 1_000_000.0
    otlp_endpoint: str = ""
    export_seconds: float = 1.0
    libraries: bool = True


class Tracing:
    """The running export of one process; without a provider, of one that makes no spans.

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
    exporters: list[SpanExporter] = []
    if options.database_url:
        exporters.append(PostgresqlSpans(SpanWriter(options.database_url, options.role), options.service))
    if options.otlp_endpoint:
        exporters += _otlp_exporters()
    provider, messages = providers(
        [BoundedQueue(exporter, export_seconds=options.export_seconds) for exporter in exporters],
        sampler(options.ratio, options.traces_per_second),
        Resource.create({"service.name": f"interlock.{options.service}"}),
    )
    tracing.install(provider.get_tracer("interlock"), messages.get_tracer("interlock"))
    everywhere.offer(provider if options.libraries else None)
    return Tracing(provider, messages)


def _otlp_exporters() -> list[SpanExporter]:
    """The collector's exporter, which reads the OTEL_ variables itself; none without its package or with wrong ones."""
    try:
        module = importlib.import_module(_OTLP)
    except ImportError:
        _LOG.warning(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but spans go to the span store only: the package "
            "opentelemetry-exporter-otlp-proto-http is not installed. Install it, or unset the variable."
        )
        return []
    try:
        exporter: SpanExporter = module.OTLPSpanExporter()
    except ValueError as error:
        # Such as a timeout of "10s": a process works without its collector.
        _LOG.warning("Spans go to the span store only: an OTEL_EXPORTER_OTLP_ variable is wrong (%s).", error)
        return []
    return [RedactedExporter(exporter)]
