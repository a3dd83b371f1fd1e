"""Logs: one JSON object a line, the four correlation keys on each, redaction in front.

The standard library's loggers (Celery's, PostgreSQL's driver's) pass through the same processors.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from app.telemetry.redaction import redact, redact_value
from app.telemetry.tracing import Keys, current_traceparent

LogFormat = Literal["json", "console"]

if not structlog.is_configured():
    # Until a process says how it logs, only its warnings are seen, on standard error like any library's:
    # what a command prints on standard output may be read by a program.
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )

_STRUCTURE = frozenset(
    {"timestamp", "level", "logger", "service", "trace_id", "orchestration_id", "run_id", "action_id"}
)
"""What is made here, of digests and declared names, and cannot hold what somebody wrote."""
_TALKATIVE = (
    *("httpx2", "httpcore2", "openai", "anthropic"),
    *("celery.worker.strategy", "celery.app.trace"),
)
"""Tell each call and each message of theirs, with addresses or values; ours tell the steps. Only DEBUG lets them."""


def configure_logs(
    *,
    log_format: LogFormat = "json",
    level: str = "INFO",
    stream: TextIO | None = None,
    service: str = "",
    adopt: Sequence[str] = (),
) -> None:
    """Route all of this process's logging through structlog to ``stream`` (standard error by default).

    Args:
        service: the process's name, on every line.
        adopt: loggers of libraries that made handlers of their own; they pass the same way from now on.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _with_service(service),
        _with_trace,
        _exception_in_words,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = _Output(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _redacted,
                _json if log_format == "json" else structlog.dev.ConsoleRenderer(colors=False),
            ],
        )
    )
    _leave_out_what_no_line_shows()
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    _let_few_talk(root)
    for name in adopt:
        adopted = logging.getLogger(name)
        adopted.handlers = []
        adopted.propagate = True


def _let_few_talk(root: logging.Logger) -> None:
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.NOTSET if root.level <= logging.DEBUG else logging.WARNING)
    logging.getLogger("celery.beat").filters = [_Rings()]


class _Rings(logging.Filter):
    """Lets the clock's line for each ring through at DEBUG only: there are several a second, and none says more."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        is_ring = str(record.msg).startswith("Scheduler: Sending due task")
        return not is_ring or logging.getLogger().isEnabledFor(logging.DEBUG)


def _leave_out_what_no_line_shows() -> None:
    """A sixth of what a line costs. Source: docs.python.org/3/howto/logging.html#optimization."""
    logging._srcfile = None
    logging.logThreads = False
    logging.logProcesses = False
    logging.logMultiprocessing = False


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of that name; its methods take the message and then named values."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


@contextmanager
def correlated(keys: Keys) -> Iterator[None]:
    """Every line logged inside the block (and in tasks started there) carries ``keys``."""
    with structlog.contextvars.bound_contextvars(**keys.named()):
        yield


class _Output(logging.StreamHandler[TextIO]):
    """Where lines go. Of one that cannot be written the logger is told; the standard handler would show its values."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the standard library's name
        kind = sys.exc_info()[0]
        told = {
            "event": "a line could not be written",
            "level": "error",
            "logger": record.name,
            "error": kind.__name__ if kind is not None else "",
        }
        try:
            self.stream.write(orjson.dumps(told).decode() + self.terminator)
        except (OSError, ValueError):
            return


def _with_service(service: str) -> Processor:
    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        if service:
            event.setdefault("service", service)
        return event

    return add


def _with_trace(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    traceparent = current_traceparent()
    if traceparent is not None:
        event.setdefault("trace_id", traceparent[3:35])
    return event


def _exception_in_words(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The traceback as text, here and not in the formatter, so that redaction sees it."""
    return structlog.processors.format_exc_info(_logger, _method, event)


def _redacted(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {name: value if name in _STRUCTURE else redact_value(value, name) for name, value in event.items()}


def _json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    try:
        return orjson.dumps(event, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:
        # A lone surrogate or an integer beyond 64 bits, which orjson refuses and a log line survives.
        return orjson.dumps({_ascii(name): _ascii(value) for name, value in event.items()}).decode()


def _ascii(value: object) -> str:
    try:
        return redact(
            ascii(value) if not isinstance(value, str) else value.encode("ascii", "backslashreplace").decode()
        )
    except ValueError:
        # More digits than Python turns into a text.
        return f"<{type(value).__name__} without text>"
