"""``celery -A tests.acceptance.eager_redelivery``: workers whose broker looks for overdue messages twice a second.

Celery looks every few seconds, whatever the visibility timeout. Each worker writes down what it receives, begins and
ends, so that a test sees messages come again while they are worked on.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from celery import signals
from celery.worker.request import Request

from config import settings
from tasks import celery

__all__ = ["celery"]

celery.conf.broker_transport_options = {
    **celery.conf.broker_transport_options,
    "unacked_restore_interval": 0.5,
}


def _note(what: str, task_id: str, name: str, *, again: bool = False) -> None:
    folder: Path = settings.load().home / "deliveries"
    folder.mkdir(exist_ok=True)
    line = {"at": time.monotonic(), "what": what, "id": task_id, "name": name, "again": again}
    with (folder / f"{os.getpid()}.jsonl").open("a") as notes:
        notes.write(json.dumps(line) + "\n")


@signals.task_received.connect(weak=False)
def _received(request: Request, **_: object) -> None:
    _note("received", request.id, request.name, again=bool(request.delivery_info.get("redelivered")))


@signals.task_prerun.connect(weak=False)
def _begun(task_id: str, task: object, **_: object) -> None:
    _note("begun", task_id, str(getattr(task, "name", "")))


@signals.task_postrun.connect(weak=False)
def _ended(task_id: str, task: object, **_: object) -> None:
    _note("ended", task_id, str(getattr(task, "name", "")))
