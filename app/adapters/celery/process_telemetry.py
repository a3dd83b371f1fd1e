"""When Celery's processes begin and end: logs before anything is logged, spans written out before it is over.

On pools of threads and solo only ``worker_init`` and ``worker_shutdown`` fire; a prefork child has signals of its
own, and needs an export of its own, since an exporting thread does not survive a fork.
Source: docs.celeryq.dev/en/stable/userguide/signals.html.
"""

from __future__ import annotations

import atexit
from dataclasses import dataclass, field
from typing import Protocol

from celery import signals

from app.adapters.celery import message_spans


class Export(Protocol):
    """Spans on their way out of a process."""

    def shutdown(self) -> None:
        """Write what is waiting and end. Safe to call twice."""
        ...


class Metrics(Export, Protocol):
    """What a node measures."""

    def begin_to_serve(self) -> None:
        """Let it be read from outside; a port that is taken costs the reading, never the work."""
        ...


class Telemetry(Protocol):
    """How a process logs, and where its spans go."""

    def start_logs(self, service: str) -> None:
        """Route the process's logging; may be called again with a better name."""
        ...

    def start_spans(self, service: str) -> Export:
        """Begin to export the process's spans."""
        ...

    def start_metrics(self, service: str) -> Metrics | None:
        """Begin to measure, in this process and whatever it forks; None where nothing is measured."""
        ...


@dataclass(slots=True)
class ProcessTelemetry:
    """Telemetry of the Celery process that this is, named like its node: ``agent_runs@host`` is ``agent_runs``."""

    telemetry: Telemetry
    service: str = "celery"
    _exports: list[Export] = field(default_factory=list)
    _metrics: Metrics | None = None

    def connect(self) -> None:
        """Hear Celery's signals; once in a process."""
        signals.celeryd_init.connect(self._name_worker, weak=False)
        signals.setup_logging.connect(self._start_logs, weak=False)
        signals.beat_init.connect(self._name_beat, weak=False)
        for begin in (signals.worker_init, signals.worker_process_init):
            begin.connect(self._start_spans, weak=False)
        for end in (signals.worker_shutdown, signals.worker_process_shutdown):
            end.connect(self._end_spans, weak=False)
        # Before anything forks; a child measures into files of its own, and only the parent is read.
        signals.worker_init.connect(self._start_metrics, weak=False)
        signals.worker_ready.connect(self._serve_metrics, weak=False)
        signals.worker_shutdown.connect(self._end_metrics, weak=False)

    def _name_worker(self, sender: str, **_: object) -> None:
        self.service = str(sender).partition("@")[0]

    def _name_beat(self, **_: object) -> None:
        self.service = "beat"
        self.telemetry.start_logs(self.service)

    def _start_logs(self, **_: object) -> None:
        # A receiver of this signal is what keeps Celery from configuring logs itself.
        self.telemetry.start_logs(self.service)

    def _start_spans(self, **_: object) -> None:
        if not self._exports:
            atexit.register(self._end_spans)
        self._exports.append(self.telemetry.start_spans(self.service))

    def _end_spans(self, **_: object) -> None:
        message_spans.end()
        for export in self._exports:
            export.shutdown()

    def _start_metrics(self, **_: object) -> None:
        self._metrics = self.telemetry.start_metrics(self.service)
        atexit.register(self._end_metrics)

    def _serve_metrics(self, **_: object) -> None:
        if self._metrics is not None:
            self._metrics.begin_to_serve()

    def _end_metrics(self, **_: object) -> None:
        if self._metrics is not None:
            self._metrics.shutdown()
