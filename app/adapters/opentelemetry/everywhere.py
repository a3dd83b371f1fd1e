"""What this process's libraries find when they look for OpenTelemetry: our spans, and no baggage on the way out.

Libraries that a team instruments ask OpenTelemetry's global provider for their tracers, and its global propagator for
what to send along. The provider can be set once in a process, and a forked child has another one than its parent; so
what is set passes each span on to the one of today. The propagator is W3C Trace Context alone: baggage is neither sent
nor taken from outside. Source: opentelemetry/trace and opentelemetry/propagate of 1.45.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from opentelemetry import context, propagate, trace
from opentelemetry.trace import Link, NoOpTracerProvider, Span, SpanKind, Tracer, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util._decorator import _agnosticcontextmanager
from opentelemetry.util.types import Attributes


class _Today:
    """The provider that the process has now."""

    provider: TracerProvider = NoOpTracerProvider()
    number: int = 0
    is_set: bool = False


class _PassingTracer(Tracer):
    def __init__(
        self, name: str, version: str | None, schema_url: str | None, attributes: Attributes
    ) -> None:
        self._asked = (name, version, schema_url, attributes)
        self._number = -1
        self._tracer: Tracer = trace.NoOpTracer()

    def _today(self) -> Tracer:
        if self._number != _Today.number:
            self._number, self._tracer = _Today.number, _Today.provider.get_tracer(*self._asked)
        return self._tracer

    def start_span(
        self,
        name: str,
        context: context.Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> Span:
        """See ``Tracer``."""
        return self._today().start_span(
            name, context, kind, attributes, links, start_time, record_exception, set_status_on_exception
        )

    @_agnosticcontextmanager
    def start_as_current_span(
        self,
        name: str,
        context: context.Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
        end_on_exit: bool = True,
    ) -> Iterator[Span]:
        """See ``Tracer``."""
        with self._today().start_as_current_span(
            name,
            context,
            kind,
            attributes,
            links,
            start_time,
            record_exception,
            set_status_on_exception,
            end_on_exit,
        ) as span:
            yield span


class _PassingProvider(TracerProvider):
    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> Tracer:
        """See ``TracerProvider``."""
        return _PassingTracer(
            instrumenting_module_name, instrumenting_library_version, schema_url, attributes
        )


def offer(provider: TracerProvider | None) -> None:
    """Let the libraries of this process record with ``provider`` from now on; None: not at all."""
    _Today.provider, _Today.number = provider or NoOpTracerProvider(), _Today.number + 1
    propagate.set_global_textmap(TraceContextTextMapPropagator())
    if not _Today.is_set:
        _Today.is_set = True
        trace.set_tracer_provider(_PassingProvider())
