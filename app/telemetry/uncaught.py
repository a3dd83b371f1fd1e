"""What nobody caught goes through the log like everything else: the interpreter's own report shows it as it is."""

from __future__ import annotations

import logging
import sys
import threading
from types import TracebackType

_log = logging.getLogger("uncaught")


def watch_uncaught() -> None:
    """From now on a process, a thread and a finaliser that fail say so in one redacted line, never on standard error.

    Call it when logs are configured. Ctrl-C stays what it is. Warnings go the same way.
    Source: docs.python.org/3/library/sys.html#sys.excepthook.
    """
    sys.excepthook = _process_failed
    threading.excepthook = _thread_failed
    sys.unraisablehook = _finaliser_failed
    logging.captureWarnings(True)


def _process_failed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    _log.critical("the process ends with an error that nobody caught", exc_info=(kind, error, trace))


def _thread_failed(failed: threading.ExceptHookArgs) -> None:
    if failed.exc_value is None or issubclass(failed.exc_type, SystemExit):
        return
    name = failed.thread.name if failed.thread is not None else "?"
    _log.error(
        "the thread %s ended with an error that nobody caught",
        name,
        exc_info=(failed.exc_type, failed.exc_value, failed.exc_traceback),
    )


def _finaliser_failed(failed: sys.UnraisableHookArgs) -> None:
    # What it was about has a repr, which may hold anything: its type says enough.
    told = failed.exc_value
    _log.error(
        "an error that nobody could catch, in a %s",
        type(failed.object).__name__,
        exc_info=(failed.exc_type, told, failed.exc_traceback) if told is not None else None,
    )
