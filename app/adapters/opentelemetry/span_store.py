"""The exporter of the local span store: it redacts, writes a batch at a time, and never makes work wait for it."""

from __future__ import annotations

import os
from collections.abc import Sequence

import psycopg
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from app.adapters.opentelemetry.encoding import encoded
from app.adapters.outage import Outage
from app.adapters.postgresql.spans import SpanWriter
from app.telemetry import metrics

PAUSE_SECONDS = 2.0
"""After a failure nothing is sent for so long: a process that ends while the database is away ends at once."""


class PostgresqlSpans(SpanExporter):
    """Writes spans to PostgreSQL. While that is away they are dropped, counted, and warned of once.

    Args:
        writer: the process's own connection.
        service: the process's name, on every span.
        outage: what is believed of the store.
    """

    def __init__(self, writer: SpanWriter, service: str, outage: Outage | None = None) -> None:
        self._writer = writer
        self._service = service
        self._outage = outage or Outage(
            "The store of spans", "they are dropped, and work goes on", pause_seconds=PAUSE_SECONDS
        )
        self._process = os.getpid()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write ``spans``, all or none of them."""
        if not self._outage.may_try():
            metrics.spans_dropped(len(spans))
            return SpanExportResult.FAILURE
        batch = encoded(spans, self._service)
        try:
            self._writer.write(batch.document, batch.tenants)
        except psycopg.Error as error:
            self._outage.failed(error)
            metrics.spans_dropped(len(spans))
            return SpanExportResult.FAILURE
        self._outage.answered()
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Give the connection back, where it is this process's own: a fork inherits its parent's."""
        if self._process == os.getpid():
            self._writer.close()
        else:
            self._writer.forget()
