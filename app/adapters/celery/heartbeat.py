"""A worker's sign of life in Redis, with each heartbeat of Celery's: what the exporter shows as up, or as lost."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import redis
from celery import signals

from app.adapters.redis.standing import SignsOfLife

_log = logging.getLogger(__name__)


class Heartbeat:
    """Gives signs while the worker's process consumes, and takes the last one back when it ends as it should.

    Args:
        open_signs: opens the way to Redis; called with the first heartbeat, as most processes have none.
    """

    def __init__(self, open_signs: Callable[[], SignsOfLife]) -> None:
        self._open_signs = open_signs
        self._signs: SignsOfLife | None = None
        self._node = ""

    def connect(self) -> None:
        """Hear Celery's signals; before its worker starts, which asks once whether anybody does."""
        signals.heartbeat_sent.connect(self._beat, weak=False)
        signals.worker_shutdown.connect(self._leave, weak=False)

    def _beat(self, sender: Any, **_: object) -> None:
        self._node = str(sender.eventer.hostname)
        self._signs = self._signs or self._open_signs()
        try:
            self._signs.give(self._node)
        except redis.RedisError as error:
            _log.debug("no sign of life can be given in Redis (%s)", type(error).__name__)

    def _leave(self, **_: object) -> None:
        if self._signs is None:
            return
        try:
            self._signs.leave(self._node)
        except redis.RedisError as error:
            _log.debug("the last sign of life stays in Redis for a while (%s)", type(error).__name__)
