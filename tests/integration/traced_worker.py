"""A Celery application whose one task is a span, with the telemetry that the service's own workers have.

Run as ``celery -A tests.integration.traced_worker worker``. Its processes write their spans at their end alone.
"""

from __future__ import annotations

import os

from celery import Celery

from app.adapters.celery.process_telemetry import ProcessTelemetry
from app.adapters.opentelemetry.exporters import Tracing, TracingOptions, configure
from app.telemetry import tracing
from app.telemetry.tracing import Keys
from config import settings

_CHOSEN = settings.load()


class _Telemetry:
    def start_logs(self, service: str) -> None:
        """Celery's own."""

    def start_spans(self, service: str) -> Tracing:
        return configure(TracingOptions(service, _CHOSEN.effective_database_url, export_seconds=3_600.0))


ProcessTelemetry(_Telemetry()).connect()
celery = Celery("traced", broker=_CHOSEN.broker_url, set_as_current=False)
celery.conf.update(task_ignore_result=True, worker_prefetch_multiplier=1, task_acks_late=True)


@celery.task(name="traced.work")
def work(name: str) -> None:
    """Leave a span that says which process it is of, and a file once it is over."""
    with tracing.span(name, Keys("demo"), attributes={"process": os.getpid()}):
        pass
    (_CHOSEN.home / name).touch()
