"""The ``Breakers`` port's contract: whoever asks models relies on this, whatever the breakers are kept in."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from app.adapters.breaker_book import BreakerBook
from app.adapters.memory.breakers import MemoryBreakers
from app.adapters.redis.breaker_states import PROBE_PREFIX, STATE_PREFIX
from app.adapters.redis.breakers import RedisBreakers
from app.adapters.redis.connection import connect
from app.data_plane.breakers import BreakerName, Ordered
from app.data_plane.models import Admission, Breakers, Told
from app.kernel.release import RemoteProvider
from app.supervisor.embedded import EmbeddedServers
from tests.breakers import MemoryRecord, remote
from tests.eventually import assert_eventually

PROVIDER = remote(failures=3, open_seconds=30.0)
NAME = BreakerName("acme", "large")


class Kept(Protocol):
    """A kind of breakers, and the world around it: time, and operators."""

    breakers: Breakers

    def let_pass(self, seconds: float) -> None:
        """Time goes by, without anybody waiting for it."""

    def order(self, state: Ordered) -> None:
        """An operator orders it of ``NAME``."""


class InMemory:
    """The breakers in memory, on a clock of their own."""

    def __init__(self) -> None:
        self._now = 1_000.0
        self._memory = MemoryBreakers(lambda: self._now)
        self.breakers: Breakers = self._memory

    def let_pass(self, seconds: float) -> None:
        self._now += seconds

    def order(self, state: Ordered) -> None:
        self._memory.ordered["acme", "large"] = state


class InRedis:
    """The breakers in Redis: time passes by making what is there older."""

    def __init__(self, url: str) -> None:
        self._client = connect(url)
        self._client.flushall()
        self._record = MemoryRecord()
        self.kept = RedisBreakers(connect(url), BreakerBook(self._record))
        self.breakers: Breakers = self.kept

    def let_pass(self, seconds: float) -> None:
        milliseconds = int(seconds * 1000)
        state, probe = f"{STATE_PREFIX}acme:large", f"{PROBE_PREFIX}acme:large"
        if self._client.hexists(state, "since"):
            self._client.hincrby(state, "since", -milliseconds)
        left = self._client.pttl(probe)
        assert isinstance(left, int)
        if left > 0:
            self._client.pexpire(probe, max(0, left - milliseconds))

    def order(self, state: Ordered) -> None:
        self._record.order(NAME, state)

    def close(self) -> None:
        self.kept.close()
        self._client.close()


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="interlock-test-"))
    with EmbeddedServers(folder, postgresql=False) as servers:
        yield servers.redis_url
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["memory", "redis"])
def kept(request: pytest.FixtureRequest) -> Iterator[Kept]:
    """Breakers of each kind, all closed."""
    if request.param == "memory":
        yield InMemory()
        return
    found = InRedis(request.getfixturevalue("redis_url"))
    yield found
    found.close()


def admit(kept: Kept, provider: RemoteProvider = PROVIDER) -> Admission:
    return asyncio.run(kept.breakers.admit(provider))


def tell(kept: Kept, admission: Admission, told: Told, provider: RemoteProvider = PROVIDER) -> None:
    asyncio.run(kept.breakers.tell(provider, admission, told))


def ask(kept: Kept, *outcomes: Told) -> None:
    """One question after the other, each admitted, with these outcomes."""
    for told in outcomes:
        admission = admit(kept)
        assert admission.admitted
        tell(kept, admission, told)


def open_it(kept: Kept) -> None:
    ask(kept, "failed", "failed", "failed")
    assert admit(kept) == Admission(False, reason="open")


def probe(kept: Kept) -> Admission:
    """The open interval is over, and this question probes."""
    kept.let_pass(30.0)
    admission = admit(kept)
    assert (admission.admitted, admission.probe) == (True, True)
    return admission


class TestClosed:
    """While it is closed, everything passes and failures in a row are counted."""

    def test_it_opens_with_the_last_of_so_many_failures_in_a_row_and_not_before(self, kept: Kept) -> None:
        ask(kept, "failed", "failed")
        admission = admit(kept)
        assert (admission.admitted, admission.probe) == (True, False)
        tell(kept, admission, "failed")
        assert admit(kept) == Admission(False, reason="open")

    def test_an_answer_starts_the_count_anew(self, kept: Kept) -> None:
        ask(kept, "failed", "failed", "answered", "failed", "failed")
        assert admit(kept).admitted

    def test_what_ended_for_a_reason_of_ours_changes_nothing(self, kept: Kept) -> None:
        """A cancelled question neither is a failure nor makes up for one."""
        ask(kept, "neither", "neither", "neither", "failed", "neither", "failed", "neither", "failed")
        assert not admit(kept).admitted

    def test_questions_that_were_under_way_together_all_count(self, kept: Kept) -> None:
        under_way = [admit(kept) for _ in range(3)]
        for admission in under_way:
            tell(kept, admission, "failed")
        assert not admit(kept).admitted

    @pytest.mark.parametrize("other", [remote(model="small"), remote("other")])
    def test_another_model_or_provider_has_a_breaker_of_its_own(
        self, kept: Kept, other: RemoteProvider
    ) -> None:
        open_it(kept)
        assert admit(kept, other).admitted


class TestHalfOpen:
    """When the interval is over, one question at a time finds out whether the provider answers again."""

    def test_nothing_passes_before_the_interval_is_over_and_exactly_one_after(self, kept: Kept) -> None:
        open_it(kept)
        kept.let_pass(28.0)
        assert admit(kept) == Admission(False, reason="open")
        kept.let_pass(2.0)
        assert admit(kept).probe
        assert [admit(kept) for _ in range(5)] == [Admission(False, reason="half-open")] * 5

    def test_an_answered_probe_closes_it_and_the_count_begins_anew(self, kept: Kept) -> None:
        open_it(kept)
        tell(kept, probe(kept), "answered")
        ask(kept, "failed", "failed")
        assert admit(kept).admitted

    def test_a_failed_probe_opens_it_for_another_interval(self, kept: Kept) -> None:
        open_it(kept)
        tell(kept, probe(kept), "failed")
        kept.let_pass(28.0)
        assert admit(kept) == Admission(False, reason="open")
        kept.let_pass(2.0)
        assert admit(kept).probe

    def test_a_probe_that_ended_for_a_reason_of_ours_frees_the_way_for_another_at_once(
        self, kept: Kept
    ) -> None:
        open_it(kept)
        tell(kept, probe(kept), "neither")
        assert admit(kept).probe
        assert not admit(kept).admitted

    def test_a_probe_whose_holder_died_frees_the_way_after_the_interval(self, kept: Kept) -> None:
        open_it(kept)
        probe(kept)
        kept.let_pass(28.0)
        assert not admit(kept).admitted
        kept.let_pass(2.5)
        assert admit(kept).probe
        assert not admit(kept).admitted

    def test_a_superseded_probe_frees_nobody_elses_way(self, kept: Kept) -> None:
        open_it(kept)
        first = probe(kept)
        kept.let_pass(30.5)
        assert admit(kept).probe
        tell(kept, first, "neither")
        assert not admit(kept).admitted

    def test_a_slow_probe_still_says_that_the_provider_answers(self, kept: Kept) -> None:
        """Else a provider that takes longer than the interval would stay shut out for ever."""
        open_it(kept)
        slow = probe(kept)
        kept.let_pass(45.0)
        tell(kept, slow, "answered")
        assert admit(kept).admitted
        assert admit(kept).admitted


class TestLate:
    """What began before the breaker moved says nothing about the provider now."""

    def test_a_late_failure_does_not_prolong_the_interval(self, kept: Kept) -> None:
        late = admit(kept)
        open_it(kept)
        kept.let_pass(29.0)
        tell(kept, late, "failed")
        kept.let_pass(1.0)
        assert admit(kept).probe

    def test_a_late_failure_does_not_end_a_probe(self, kept: Kept) -> None:
        late = admit(kept)
        open_it(kept)
        under_way = probe(kept)
        tell(kept, late, "failed")
        tell(kept, under_way, "answered")
        assert admit(kept).admitted

    def test_late_failures_do_not_open_it_again_when_it_has_closed(self, kept: Kept) -> None:
        late = [admit(kept) for _ in range(6)]
        open_it(kept)
        tell(kept, probe(kept), "answered")
        for admission in late:
            tell(kept, admission, "failed")
        assert admit(kept).admitted

    def test_a_late_answer_closes_neither_an_open_nor_a_half_open_one(self, kept: Kept) -> None:
        late, later = admit(kept), admit(kept)
        open_it(kept)
        tell(kept, late, "answered")
        assert not admit(kept).admitted
        probe(kept)
        tell(kept, later, "answered")
        assert not admit(kept).admitted

    def test_a_probe_of_an_earlier_half_open_time_closes_nothing(self, kept: Kept) -> None:
        open_it(kept)
        first = probe(kept)
        kept.let_pass(31.0)
        second = admit(kept)
        tell(kept, second, "failed")
        tell(kept, first, "answered")
        assert admit(kept) == Admission(False, reason="open")


class TestOrdered:
    """What an operator orders holds, and the breaker goes on by itself underneath."""

    def test_forced_open_admits_nothing_and_says_so(self, kept: Kept) -> None:
        kept.order("forced_open")
        assert_eventually(lambda: admit(kept) == Admission(False, reason="forced_open"))
        kept.order("released")
        assert_eventually(lambda: admit(kept).admitted)

    def test_forced_closed_admits_everything_while_the_breaker_counts_and_probes_on(self, kept: Kept) -> None:
        open_it(kept)
        kept.order("forced_closed")
        assert_eventually(lambda: admit(kept).admitted)
        forced = admit(kept)
        tell(kept, forced, "answered")
        kept.order("released")
        assert_eventually(lambda: admit(kept) == Admission(False, reason="open"))
        kept.order("forced_closed")
        assert_eventually(lambda: admit(kept).admitted)
        tell(kept, probe(kept), "answered")
        kept.order("released")
        assert all(admit(kept).admitted for _ in range(3))
