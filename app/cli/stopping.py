"""Ctrl-C and SIGTERM as a question that a loop asks, so that cleaning up is never interrupted."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Stop:
    """Set by the first SIGINT, SIGTERM or SIGHUP; further ones change nothing, the end is under way."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self) -> bool:
        return self.asked


@contextmanager
def stopping() -> Iterator[Stop]:
    """While it lasts the signals only set the flag."""
    stop = Stop()

    def note(_number: int, _frame: object) -> None:
        stop.asked = True

    before = {
        number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
