"""Doorbells and canvases: how ids travel. Every failure here is survivable, since the work index knows what is due."""

from __future__ import annotations

import logging

import redis
from celery import Celery, chain, chord, group
from celery.canvas import Signature
from celery.exceptions import CeleryError
from kombu.exceptions import KombuError

from app.adapters.celery.shown import NO_ARGUMENTS, counted
from app.data_plane.ports import Queue, StageCanvas
from app.telemetry import messages

_log = logging.getLogger(__name__)

TASKS: dict[Queue, str] = {
    Queue.INGESTION: "interlock.ingestion.accept",
    Queue.ORCHESTRATION: "interlock.orchestration.advance",
    Queue.AGENT_RUNS: "interlock.agent_runs.execute",
    Queue.AGGREGATION: "interlock.aggregation.aggregate",
    Queue.DISPATCH: "interlock.dispatch.deliver",
    Queue.REPLAY: "interlock.replay.execute",
    Queue.MAINTENANCE: "interlock.maintenance.reconcile",
    Queue.DEAD_LETTER: "interlock.dead_letter.record",
}
"""The wire names, declared: a moved file loses no message in flight."""

DOORBELL_SECONDS = 1.0
"""How long a lost doorbell silences the next ones."""

_UNREACHABLE = (redis.RedisError, KombuError, CeleryError, OSError)


class CeleryCarrier:
    """``Carrier`` over Celery. What cannot be sent is logged and left to the reconciler.

    Args:
        runs_per_message: how many runs one message carries at most.
    """

    def __init__(self, application: Celery, client: redis.Redis, *, runs_per_message: int) -> None:
        self._application = application
        self._redis = client
        self._runs_per_message = runs_per_message

    def ring(self, queue: Queue) -> None:
        """Ring the queue's doorbell; while one is waiting, another is not sent."""
        try:
            if self._redis.set(_doorbell(queue), 1, nx=True, px=int(DOORBELL_SECONDS * 1000)):
                with messages.publishing(queue):
                    self._task(queue, "whatever is due", []).apply_async()
        except _UNREACHABLE as error:
            _log.warning("the doorbell of %s did not ring (%s)", queue.value, type(error).__name__)

    def answer(self, queue: Queue) -> None:
        """The doorbell was heard: whatever becomes due from now on may ring again."""
        try:
            self._redis.delete(_doorbell(queue))
        except _UNREACHABLE as error:
            _log.warning(
                "the doorbell of %s stays silent for a while (%s)", queue.value, type(error).__name__
            )

    def publish(self, canvas: StageCanvas) -> None:
        """Publish ``chain(chord(group(runs...), aggregation), dispatch)`` over the batch, all of ids."""
        size = self._runs_per_message
        parts = [canvas.runs[start : start + size] for start in range(0, len(canvas.runs), size)]
        header = [
            self._task(
                Queue.AGENT_RUNS,
                counted(f"{len(part)} runs", tuple(dict.fromkeys(of for _, of in part))),
                [run for run, _ in part],
            )
            for part in parts
        ]
        every = canvas.orchestration_ids
        stages, sweep = counted(f"{len(every)} stages", every), counted("what they decided", every)
        body = self._task(Queue.AGGREGATION, stages, list(canvas.aggregation_ids))
        dispatch = self._task(Queue.DISPATCH, sweep, [], list(every))
        try:
            with messages.publishing(Queue.AGENT_RUNS):
                chain(chord(group(header), body), dispatch).apply_async()
        except _UNREACHABLE as error:
            _log.warning("the canvas of %s was not published (%s)", canvas.stage, type(error).__name__)

    def _task(self, queue: Queue, shown: str, *arguments: list[str]) -> Signature:
        return self._application.signature(
            TASKS[queue],
            args=arguments,
            immutable=True,
            # Results are never read: members are read from PostgreSQL, and a kept result opens a window in which
            # a chord can stick.
            options={
                "queue": queue.value,
                "ignore_result": True,
                "argsrepr": f"({shown})",
                "kwargsrepr": NO_ARGUMENTS,
            },
        )


def _doorbell(queue: Queue) -> str:
    return f"interlock:doorbell:{queue.value}"
