"""Guards: every line is one JSON object with the four keys on it, and no secret, whoever logs it."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest

from app.telemetry.logs import LogFormat, configure_logs, correlated, get_logger
from app.telemetry.tracing import Keys
from tests.own_logging import own_logging

TOKEN = "ghp_" + "a1B2" * 9


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    with own_logging():
        yield


def logged(log_format: LogFormat = "json") -> io.StringIO:
    stream = io.StringIO()
    configure_logs(log_format=log_format, stream=stream, service="agent_runs")
    return stream


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_the_four_keys() -> None:
    stream = logged()
    with correlated(Keys("demo", "e-1", "orc_1", "run_1")):
        get_logger("app.x").info("run finished", tokens=3)
    get_logger("app.x").warning("outside")
    inside, outside = lines(stream)
    assert inside.pop("timestamp")
    assert inside == {
        "event": "run finished",
        "tokens": 3,
        "level": "info",
        "logger": "app.x",
        "service": "agent_runs",
        "tenant_id": "demo",
        "event_id": "e-1",
        "orchestration_id": "orc_1",
        "run_id": "run_1",
    }
    assert "run_id" not in outside


def test_the_standard_librarys_loggers_pass_the_same_way() -> None:
    stream = logged()
    with correlated(Keys("demo")):
        logging.getLogger("celery.worker").error("lost %s", TOKEN)
    [line] = lines(stream)
    assert (line["tenant_id"], line["logger"], line["event"]) == ("demo", "celery.worker", "lost [redacted]")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_secret_is_in_any_line(log_format: LogFormat) -> None:
    """In the message, in a value, under a telling name, and in an exception with its traceback."""
    stream = logged(log_format)
    log = get_logger("app.x")
    log.info(f"message {TOKEN}", value={"deep": [TOKEN]}, password="hunter2")
    try:
        raise ValueError(f"failed with {TOKEN}")
    except ValueError:
        log.exception("it failed")
        logging.getLogger("x").exception("it failed there too")
    text = stream.getvalue()
    assert "[redacted]" in text
    assert "failed with" in text
    assert TOKEN not in text
    assert "hunter2" not in text


def test_what_is_not_json_does_not_cost_the_line() -> None:
    stream = logged()
    get_logger("app.x").info("odd", huge=2**70, lone="\ud800", thing=object(), key={1: b"\xff"})
    assert len(lines(stream)) == 1


def test_levels_below_the_configured_one_are_silent() -> None:
    stream = logged()
    get_logger("app.x").debug("nothing")
    assert stream.getvalue() == ""


def test_unconfigured_only_warnings_are_seen_and_never_on_standard_output() -> None:
    """What a command prints with --json is read by programs."""
    program = (
        "from app.telemetry.logs import get_logger\n"
        "log = get_logger('app.x'); log.info('quiet'); log.warning('loud', tenant_id='demo')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert done.stderr.strip() == "event='loud' tenant_id='demo'"


def test_a_librarys_own_handlers_give_way() -> None:
    """Uvicorn makes handlers before the application that it serves can say how to log."""
    uvicorn = logging.getLogger("test.uvicorn")
    uvicorn.addHandler(logging.NullHandler())
    uvicorn.propagate = False
    stream = io.StringIO()
    configure_logs(stream=stream, adopt=("test.uvicorn",))
    uvicorn.warning("started")
    assert [line["event"] for line in lines(stream)] == ["started"]


def test_libraries_that_tell_every_call_are_heard_at_debug_alone() -> None:
    """Addresses of calls, and a line for each message: what happened is told by the steps' own lines."""
    loud = ("httpx2", "celery.app.trace", "celery.worker.strategy")
    for level, heard in (("INFO", 0), ("DEBUG", len(loud))):
        stream = io.StringIO()
        configure_logs(stream=stream, level=level)
        for name in loud:
            logging.getLogger(name).info("a call")
            logging.getLogger(name).error("a fault")
        assert [line["event"] for line in lines(stream)].count("a call") == heard
        assert [line["event"] for line in lines(stream)].count("a fault") == len(loud)


def test_the_clock_says_that_it_runs_and_not_each_ring() -> None:
    """A line each second would hide the others."""
    for level, heard in (
        ("INFO", ["beat: Starting..."]),
        ("DEBUG", ["beat: Starting...", "Scheduler: Sending due task a (b)"]),
    ):
        stream = io.StringIO()
        configure_logs(stream=stream, level=level)
        logging.getLogger("celery.beat").info("beat: Starting...")
        logging.getLogger("celery.beat").info("Scheduler: Sending due task %s (%s)", "a", "b")
        assert [line["event"] for line in lines(stream)] == heard
