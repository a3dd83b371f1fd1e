"""The queue between work and an exporter: bounded, and what does not fit is counted."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from app.telemetry import metrics

LONGEST = 8_192
"""Spans that wait in one process at most: some seconds of a very busy one."""
BATCH = 512


class _Handed(SpanExporter):
    """An exporter, with a count of the spans that are still to be handed to it."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._lock = threading.Lock()
        self._waiting = 0

    def take_place(self, longest: int) -> bool:
        """Whether one more may wait."""
        with self._lock:
            if self._waiting >= longest:
                return False
            self._waiting += 1
            return True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with self._lock:
            self._waiting -= len(spans)
        return self._exporter.export(spans)

    def shutdown(self) -> None:
        self._exporter.shutdown()


class BoundedQueue(BatchSpanProcessor):
    """The SDK's processor, which by itself drops the oldest spans and counts none of them.

    Args:
        exporter: what spans are handed to, by a thread of this process.
        export_seconds: how long a span waits for others.
        longest: how many wait at most; those that come then are dropped and counted.
    """

    def __init__(self, exporter: SpanExporter, *, export_seconds: float, longest: int = LONGEST) -> None:
        self._handed = _Handed(exporter)
        self._longest = longest
        super().__init__(
            self._handed,
            max_queue_size=longest,
            schedule_delay_millis=export_seconds * 1000,
            max_export_batch_size=min(BATCH, longest),
        )

    def on_end(self, span: ReadableSpan) -> None:
        """Queue ``span``, or drop it."""
        context = span.get_span_context()
        if context is None or not context.trace_flags.sampled:
            return
        if self._handed.take_place(self._longest):
            super().on_end(span)
        else:
            metrics.spans_dropped(1)
