"""A process's tracing for tests: what production installs, exported to memory and encoded as the store has it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracer

from app.adapters.opentelemetry import everywhere
from app.adapters.opentelemetry.encoding import encoded
from app.adapters.opentelemetry.processors import providers
from app.adapters.opentelemetry.sampling import sampler
from app.telemetry import naming, tracing

Span = dict[str, Any]


class Traced:
    """This process's tracing, and what it would have written."""

    def __init__(self, ratio: float = 1.0) -> None:
        self._memory = InMemorySpanExporter()
        exports = [SimpleSpanProcessor(self._memory)]
        self.provider, self.messages = providers(exports, sampler(ratio, 1_000.0), Resource.get_empty())
        tracing.install(self.provider.get_tracer("interlock"), self.messages.get_tracer("interlock"))
        everywhere.offer(self.provider)

    def all_spans(self) -> list[Span]:
        """In the order of their ends; each link with its ``kind``."""
        return [
            _told(row)
            for row in json.loads(encoded(self._memory.get_finished_spans(), "agent_runs").document)
        ]

    def spans(self) -> dict[str, Span]:
        """By their names."""
        return {str(span["name"]): span for span in self.all_spans()}


@contextmanager
def traced(ratio: float = 1.0) -> Iterator[Traced]:
    """Tracing until the block ends: no test's tracer outlives it."""
    try:
        yield Traced(ratio)
    finally:
        tracing.install(NoOpTracer())
        everywhere.offer(None)


def _told(row: Span) -> Span:
    """A span with the keys that it has among its attributes, as it was made."""
    keys = {name: row[name] for name in naming.CORRELATION_KEYS if row[name]}
    links = [
        {
            "trace_id": link["trace_id"],
            "span_id": link["span_id"],
            "kind": link["attributes"].get(naming.LINK, ""),
        }
        for link in row["links"]
    ]
    return {**row, "attributes": {**keys, **row["attributes"]}, "links": links}
