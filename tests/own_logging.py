"""A test's own logging: whatever it configures, the tests after it log as those before it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog


@contextmanager
def own_logging() -> Iterator[None]:
    """Put the root logger and structlog's configuration back at the end.

    ``structlog.reset_defaults`` would not: its defaults print every line, ``app.telemetry.logs`` none below warning.
    """
    root = logging.getLogger()
    handlers, level, ours = root.handlers, root.level, structlog.get_config()
    try:
        yield
    finally:
        root.handlers = handlers
        root.setLevel(level)
        structlog.configure(**ours)
