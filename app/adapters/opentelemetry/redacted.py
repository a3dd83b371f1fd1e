"""Spans for a collector, redacted like those of the local store: what leaves the installation holds no secret."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Link, Status
from opentelemetry.util.types import Attributes

from app.adapters.opentelemetry.encoding import Redactor


class RedactedExporter(SpanExporter):
    """Hands redacted copies to ``exporter``."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Hand them on."""
        redactor = Redactor()
        return self._exporter.export([_redacted(span, redactor) for span in spans])

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Have what it holds back written."""
        return self._exporter.force_flush(timeout_millis)

    def shutdown(self) -> None:
        """End it."""
        self._exporter.shutdown()


def _redacted(span: ReadableSpan, redactor: Redactor) -> ReadableSpan:
    description = span.status.description
    return ReadableSpan(
        name=redactor.text(span.name),
        context=span.get_span_context(),
        parent=span.parent,
        resource=span.resource,
        attributes=_attributes(span.attributes, redactor),
        events=[
            Event(redactor.text(event.name), _attributes(event.attributes, redactor), event.timestamp)
            for event in span.events
        ],
        links=[Link(link.context, _attributes(link.attributes, redactor)) for link in span.links],
        kind=span.kind,
        status=Status(span.status.status_code, redactor.text(description) if description else None),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _attributes(attributes: Attributes, redactor: Redactor) -> Attributes:
    return cast(Attributes, redactor.attributes(attributes))
