"""The lock in front of messages that carry ids: whoever meets it makes no query."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from app.bootstrap import Services
from app.data_plane.ports import Held
from app.kernel.errors import TransientError

_log = logging.getLogger(__name__)


@contextmanager
def free_ones(services: Services, ids: Sequence[str]) -> Iterator[list[str]]:
    """Those of the ids that no other worker is on; all of them when Redis does not answer."""
    try:
        held = services.front_lock.acquire(ids, services.settings.front_lock_seconds)
    except TransientError as error:
        _log.warning("working without the front lock, which is safe and slower: %s", error.what)
        yield list(ids)
        return
    try:
        yield list(held.names)
    finally:
        _release(services, held)


def _release(services: Services, held: Held) -> None:
    if held.names:
        try:
            services.front_lock.release(held)
        except TransientError as error:
            _log.warning("a front lock stays until it ends by itself: %s", error.what)
