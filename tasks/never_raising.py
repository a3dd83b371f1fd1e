"""Failure is a value: a task that raises would break the chord that it is a member of."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import ParamSpec

from app.kernel.errors import InterlockError

_log = logging.getLogger(__name__)

P = ParamSpec("P")


def never_raising(task: Callable[P, str]) -> Callable[P, str]:
    """Turns an error into the task's result text. Nothing is lost: leases end, and what is due is rung for again."""

    @functools.wraps(task)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> str:
        try:
            return task(*args, **kwargs)
        except InterlockError as error:
            _log.warning("not done, and left to its leases: %s (%s)", error.what, error.code)
            return f"not done: {error.code}"
        except Exception:
            _log.exception("not done, and left to its leases: a defect")
            return "not done: defect"

    return guarded
