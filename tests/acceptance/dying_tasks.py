"""``celery -A tests.acceptance.dying_tasks``: the real application, with tasks that kill their process or never end."""

from __future__ import annotations

import os
import signal
import time

from app.adapters.redis.connection import connect
from config import settings
from tasks import celery

__all__ = ["celery"]

_redis = connect(settings.load().effective_redis_url)


@celery.task(name="tests.die")
def die(step_ids: list[str], name: str, times: int) -> str:
    """Kill this process, so many times; then end well."""
    if int(_redis.hget("tests:died", name) or 0) < times:
        _redis.hincrby("tests:died", name, 1)
        os.kill(os.getpid(), signal.SIGKILL)
    _redis.set("tests:survived", name)
    return "survived"


@celery.task(name="tests.hang")
def hang(note: str) -> str:
    """Never end."""
    while True:
        time.sleep(1)
