"""Guards: a server that is away is tried by one caller now and then, and warned of seldom."""

from __future__ import annotations

import logging

import pytest

from app.adapters.outage import WARN_AGAIN_SECONDS, Outage


class Time:
    """Monotonic seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def outage(time: Time) -> Outage:
    return Outage("Redis", "breakers are closed", pause_seconds=2.0, clock=time)


def test_after_a_failure_nobody_tries_until_the_pause_is_over_and_then_one_does(
    outage: Outage, time: Time
) -> None:
    """A dead server costs one caller a time-out, not each."""
    assert outage.may_try()
    outage.failed(ConnectionError())
    assert (outage.lasts, outage.pauses, outage.may_try()) == (True, True, False)
    time.now += 2.0
    assert not outage.pauses
    assert [outage.may_try() for _ in range(3)] == [True, False, False]


def test_everybody_goes_on_as_soon_as_one_was_answered(outage: Outage, time: Time) -> None:
    outage.failed(ConnectionError())
    time.now += 2.0
    assert outage.may_try()
    outage.answered()
    assert not outage.lasts
    assert [outage.may_try() for _ in range(3)] == [True, True, True]


def test_it_is_warned_of_once_a_minute_without_what_the_error_says(
    outage: Outage, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    """An error's text may hold an address with a password."""
    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            outage.failed(ConnectionError("redis://:hunter2@host"))
            time.now += WARN_AGAIN_SECONDS / 10
    assert [record.getMessage() for record in caplog.records] == [
        "Redis does not answer (ConnectionError): breakers are closed"
    ] * 2
