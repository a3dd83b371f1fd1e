"""One message as a unit of work: whose leases it holds, how long it may take, and what becomes of its failure.

Failure is a value: a task that raises would break the chord that it is a member of. What a failed message holds is
given back at once, or as soon as the database answers again.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Concatenate, ParamSpec

from app.bootstrap import Services, worker_services
from app.data_plane.ports import Queue
from app.kernel import fault_points
from app.kernel.errors import InterlockError, TransientError
from app.kernel.fault_points import FaultPoint
from app.telemetry import messages

_log = logging.getLogger(__name__)

AGAIN_SECONDS = 1.0
"""When the steps of a failed message are due again."""

P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Unit:
    """What the work on one message is done with."""

    services: Services
    worker: str
    """Who holds this message's leases, and no other's."""


def unit_of_work(queue: Queue) -> Callable[[Callable[Concatenate[Unit, P], str]], Callable[P, str]]:
    """Make a task of a function over a unit of work; an error becomes the task's result text."""

    def made(work: Callable[Concatenate[Unit, P], str]) -> Callable[P, str]:
        @functools.wraps(work)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> str:
            try:
                services = worker_services()
                unit = Unit(services, services.worker_name())
            except InterlockError as error:
                return _not_done(error.what, error.code)
            fault_points.reached(FaultPoint.AFTER_RECEIVE, queue)
            with services.watchdog.watching(unit.worker):
                told = _done(unit, functools.partial(work, unit, *args, **kwargs))
            fault_points.reached(FaultPoint.AFTER_RECORD_BEFORE_ACK, queue)
            return told

        return guarded

    return made


def _done(unit: Unit, work: Callable[[], str]) -> str:
    try:
        return work()
    except InterlockError as error:
        _give_back(unit, lapsed=not isinstance(error, TransientError))
        return _not_done(error.what, error.code)
    except Exception:
        _log.exception("not done, and left for later: a defect")
        messages.failed("defect")
        _give_back(unit, lapsed=True)
        return "not done: defect"


def _not_done(what: str, code: str) -> str:
    _log.warning("not done, and left for later: %s (%s)", what, code)
    messages.failed(code)
    return f"not done: {code}"


def _give_back(unit: Unit, *, lapsed: bool) -> None:
    try:
        unit.services.store.give_back(unit.worker, in_seconds=AGAIN_SECONDS, lapsed=lapsed)
    except InterlockError:
        unit.services.liveness.owe(unit.worker, lapsed=lapsed)
