"""A Celery application whose one task is a span, with the telemetry that the service's own workers have.

Run as ``celery -A tests.integration.traced_worker worker``. Once there is a file ``at_the_end_only`` in the run folder,
a process that begins writes its spans at its end and not before.
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
AT_THE_END_ONLY = _CHOSEN.home / "at_the_end_only"


class _Telemetry:
    def start_logs(self, service: str) -> None:
        """Celery's own."""

    def start_spans(self, service: str) -> Tracing:
        seconds = 3_600.0 if AT_THE_END_ONLY.exists() else 0.1
        return configure(TracingOptions(service, _CHOSEN.effective_database_url, export_seconds=seconds))


ProcessTelemetry(_Telemetry()).connect()
celery = Celery("traced", broker=_CHOSEN.broker_url, set_as_current=False)
celery.conf.update(task_ignore_result=True, worker_prefetch_multiplier=1, task_acks_late=True)


@celery.task(name="traced.work")
def work(name: str) -> None:
    """Leave a span that says which process it is of, and a file once it is over."""
    with tracing.span(name, Keys("demo"), attributes={"process": os.getpid()}):
        pass
    (_CHOSEN.home / name).touch()
