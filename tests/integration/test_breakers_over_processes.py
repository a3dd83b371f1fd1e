"""Circuit breakers over four processes, one Redis and a provider that counts: measured, not mocked.

What may be promised of the opening: a provider that fails hears of at most ``failures - 1`` questions and of those that
are in flight then, here one for each caller. Of probes: one an interval in the whole fleet.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from app.adapters.redis.connection import connect
from app.supervisor.embedded import EmbeddedServers
from config.settings import CHECKOUT
from tests.eventually import assert_eventually
from tests.integration.counting_provider import CountingProvider

PROCESSES, CALLERS = 4, 8
FAILURES, OPEN_SECONDS = 20, 0.6


@dataclass
class Fleet:
    """The processes, what they ask, and what they share."""

    provider: CountingProvider
    servers: EmbeddedServers
    database_url: str
    callers: int
    """In all processes together."""
    counted: list[Counter[str]] = field(default_factory=list)
    """What each process counted; known when it has ended."""
    warnings: str = ""

    @property
    def most_heard(self) -> int:
        """How many failing questions the provider may hear of before it is left alone."""
        return FAILURES - 1 + self.callers

    def state(self) -> str:
        """Of the breaker, as Redis has it."""
        client = connect(self.servers.redis_url)
        found = client.hget("interlock:breaker:state:acme:large", "state")
        client.close()
        return found.decode() if isinstance(found, bytes) else "closed"

    def changes(self) -> list[tuple[str, str]]:
        """What is recorded of the breaker's changes, in order."""
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(
                "SELECT from_state, to_state FROM breaker_changes ORDER BY at, change_id"
            ).fetchall()

    def admitted_since(self, moment: float) -> int:
        """How many questions came since then that were no probes."""
        return sum(at >= moment for at in self.provider.admitted)

    def longest_admission(self) -> int:
        """In milliseconds."""
        return max(counted["longest_admission_ms"] for counted in self.counted)

    def total(self, name: str) -> int:
        """Of what the processes counted."""
        return sum(counted[name] for counted in self.counted)


@pytest.fixture
def servers(home: Path) -> Iterator[EmbeddedServers]:
    with EmbeddedServers(home, postgresql=False) as started:
        yield started


@contextmanager
def fleet(
    servers: EmbeddedServers, database_url: str, bug: str = "", *, callers: int = CALLERS
) -> Iterator[Fleet]:
    """Four processes that ask as they are admitted, until the block ends."""
    with CountingProvider() as provider:
        running = Fleet(provider, servers, database_url, PROCESSES * callers)
        arguments = [servers.redis_url, database_url, str(provider.port), str(callers), str(FAILURES)]
        command = [
            sys.executable,
            "-m",
            "tests.integration.breaker_callers",
            *arguments,
            str(OPEN_SECONDS),
            bug,
        ]
        processes = [
            subprocess.Popen(
                command,
                cwd=CHECKOUT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(PROCESSES)
        ]
        try:
            # All four are up, and Redis and the database are known to them.
            assert_eventually(lambda: len(provider.admitted) > 20 * PROCESSES, what="questions")
            yield running
            for process in processes:
                out, told = process.communicate("", timeout=30)
                assert process.returncode == 0, told
                running.counted.append(Counter(json.loads(out)))
                running.warnings += told
        finally:
            for process in processes:
                process.kill()
                process.wait()


def fail_until_it_opens(running: Fleet, *, besides: int = 0) -> float:
    """The provider begins to fail, and the breaker opens; when it began, in monotonic seconds.

    It begins when every caller has a question under way (but for those ``besides``): an answer that is told in between
    would start the count anew.
    """
    running.provider.holding = True
    callers = running.callers - besides
    assert_eventually(lambda: running.provider.held == callers, what="a question of every caller")
    began = time.monotonic()
    running.provider.answers = False
    running.provider.holding = False
    assert_eventually(lambda: running.state() != "closed", what="opening")
    return began


def next_probes(running: Fleet, count: int) -> list[float]:
    """When the next so many probes come."""
    before = len(running.provider.probes)
    assert_eventually(lambda: len(running.provider.probes) >= before + count, what=f"{count} probes")
    return running.provider.probes[before:]


def check_one_an_interval(probes: list[float]) -> list[float]:
    """The gaps between them: none is shorter than the interval, but for what Redis's clock is finer or slewed."""
    gaps = [later - earlier for earlier, later in itertools.pairwise(probes)]
    told = f"two probes within an interval: {[round(gap, 3) for gap in gaps]}"
    assert min(gaps) >= OPEN_SECONDS - 0.02, told
    return gaps


@pytest.mark.parametrize("callers", [1, CALLERS])
def test_it_opens_within_its_threshold_probes_once_an_interval_and_closes_again(
    callers: int, servers: EmbeddedServers, fresh_database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Promise: a provider that fails is left alone by the whole fleet, and asked again when it answers."""
    with fleet(servers, fresh_database, callers=callers) as running:
        began = fail_until_it_opens(running)
        gaps = check_one_an_interval(next_probes(running, 6))
        # Those that were held came before it began to fail.
        heard = running.callers + running.admitted_since(began)
        running.provider.answers = True
        answered = time.monotonic()
        assert_eventually(lambda: running.state() == "closed", what="closing")
        closed_after = time.monotonic() - answered
        assert_eventually(lambda: running.admitted_since(answered) > 200, what="questions after it closed")
    with capsys.disabled():
        print(
            f"\nheard until open: {heard} (threshold {FAILURES}, {callers} callers in each of {PROCESSES} processes,"
            f" at most {running.most_heard}); gaps between probes: {min(gaps):.3f}-{max(gaps):.3f} s"
            f" (interval {OPEN_SECONDS}); closed {closed_after:.2f} s after it answered;"
            f" longest admission {running.longest_admission()} ms;"
            f" refused {running.total('refused_open')} open, {running.total('refused_half-open')} half-open"
        )
    assert heard <= running.most_heard
    # Each change is written once, by whoever made it: the opening, to and fro, and the closing.
    changes = running.changes()
    again = [("open", "half-open"), ("half-open", "open")] * (len(changes) // 2 - 1)
    assert changes == [("closed", "open"), *again, ("open", "half-open"), ("half-open", "closed")]
    assert 6 <= len(changes) // 2 <= len(running.provider.probes)
    assert running.warnings == ""


def answer_an_old_question(running: Fleet) -> None:
    """One question is under way while all others fail and the breaker opens; then it is answered."""
    running.provider.keep_next = True
    assert_eventually(lambda: running.provider.keeping, what="the old question")
    began = fail_until_it_opens(running, besides=1)
    next_probes(running, 1)
    running.provider.keeping = False
    probes = next_probes(running, 3)
    closings = [change for change in running.changes() if change[1] == "closed"]
    assert not closings, "it closed while the provider failed"
    check_one_an_interval(probes)
    heard = running.callers + running.admitted_since(began)
    assert heard <= running.most_heard


def test_an_answer_to_an_old_question_does_not_close_it(
    servers: EmbeddedServers, fresh_database: str
) -> None:
    """Promise: what began before the opening says nothing about the provider now."""
    with fleet(servers, fresh_database) as running:
        answer_an_old_question(running)


def test_while_redis_is_away_questions_go_on_with_few_warnings_and_no_waiting_in_turn(
    servers: EmbeddedServers, fresh_database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Promise: Redis down means closed breakers and a warning, not an outage; not even when it is only paused."""
    assert servers.redis is not None
    with fleet(servers, fresh_database) as running:
        fail_until_it_opens(running)
        pid = servers.redis.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            paused = time.monotonic()
            assert_eventually(lambda: running.admitted_since(paused) > 300, what="questions without Redis")
            rate = running.admitted_since(paused) / (time.monotonic() - paused)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert_eventually(lambda: obeys(running), what="the breaker's being obeyed again")
        check_one_an_interval(next_probes(running, 4))
        servers.redis.kill()
        killed = time.monotonic()
        assert_eventually(lambda: running.admitted_since(killed) > 300, what="questions without Redis")
        servers.redis.start()
        assert_eventually(lambda: running.state() != "closed", what="counting again in an empty Redis")
        assert_eventually(lambda: obeys(running), what="the breaker's being obeyed again")
        check_one_an_interval(next_probes(running, 4))
    lines = running.warnings.splitlines()
    with capsys.disabled():
        print(
            f"\nwithout Redis: {rate:.0f} questions a second; longest admission"
            f" {running.longest_admission()} ms; {len(lines)} warnings"
        )
    # One a minute in each process: a loaded machine may need more than one to run this.
    assert PROCESSES <= len(lines) <= 2 * PROCESSES, running.warnings
    assert all("Redis, asked for circuit breakers" in line for line in lines), running.warnings


def obeys(running: Fleet) -> bool:
    """The last questions that came are two probes."""
    return len(running.provider.probes) > 1 and running.provider.probes[-2] > running.provider.admitted[-1]


def test_when_redis_forgets_everything_it_is_closed_and_counts_on(
    servers: EmbeddedServers, fresh_database: str
) -> None:
    """FLUSHALL: the fleet finds out anew that the provider fails, within the threshold, and probes as before."""
    with fleet(servers, fresh_database) as running:
        fail_until_it_opens(running)
        next_probes(running, 2)
        client = connect(servers.redis_url)
        forgot = time.monotonic()
        client.flushall()
        client.close()
        check_one_an_interval(next_probes(running, 4)[1:])
        heard = running.admitted_since(forgot)
    assert FAILURES - 1 <= heard <= running.most_heard
    assert running.warnings == ""


def test_planted_without_a_probes_token_more_than_one_probe_passes(
    servers: EmbeddedServers, fresh_database: str
) -> None:
    """The check is able to fail."""
    with fleet(servers, fresh_database, "no_token") as running:
        fail_until_it_opens(running)
        with pytest.raises(AssertionError, match="two probes within an interval"):
            check_one_an_interval(next_probes(running, 6))


def test_planted_when_an_old_answer_closes_it_that_is_found(
    servers: EmbeddedServers, fresh_database: str
) -> None:
    """The check is able to fail."""
    with (
        fleet(servers, fresh_database, "old_closes") as running,
        pytest.raises(AssertionError, match="closed while the provider failed"),
    ):
        answer_an_old_question(running)
