"""Budgets in every store: what is reserved at one level is reserved at all, and what was spent is never forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.adapters.memory.store import MemoryStore
from app.adapters.postgresql.budgets import PostgresqlBudgets
from app.adapters.postgresql.database import Database
from app.adapters.postgresql.store import PostgresqlStore
from app.data_plane.budgets.reservations import (
    Account,
    Amounts,
    Budgets,
    Key,
    Line,
    Refusal,
    Settlement,
    Unit,
    Wanted,
    judge,
    limits_of,
)
from app.data_plane.ports import Change, Queue, Store
from app.kernel.clock import SystemClock
from app.kernel.release import Budget
from interlock.identity import advance_id
from tests.accepted_events import accepted_event
from tests.contract.test_store import accept

WORST = Amounts(tokens=100, nano_usd=500, calls=1, milliseconds=1000)


@dataclass
class Kept:
    """One store with its budgets."""

    store: Store
    budgets: Budgets
    read: Callable[[], dict[Key, Line]]
    end_leases: Callable[[], None]
    step: tuple[str, int] = ("none", 0)
    """One that somebody holds, with its fence: what is reserved for it stands."""

    def __post_init__(self) -> None:
        (one,) = accept(self.store, accepted_event("1"))
        (claim,) = self.store.claim(Queue.ORCHESTRATION, limit=1, worker="w", step_ids=[advance_id(one)])
        self.step = claim.step_id, claim.fence

    def wanted(self, number: int, *accounts: Account) -> Wanted:
        return wanted(number, *accounts, step=self.step)

    def reserve(self, *numbers: int) -> list[Refusal | None]:
        return self.budgets.reserve([self.wanted(number) for number in numbers])

    def line(self, account: str, unit: Unit = "tokens") -> Line:
        return self.read()[account, unit]

    def settle(self, *settlements: Settlement) -> None:
        self.store.commit([Change("demo", "orc_of_nothing", settlements=settlements)])


@pytest.fixture(params=["memory", "postgresql"])
def kept(request: pytest.FixtureRequest) -> Iterator[Kept]:
    if request.param == "memory":
        clock = [0.0]
        memory = MemoryStore(seconds=lambda: clock[0])
        yield Kept(
            memory, memory.budgets, memory.budgets.lines, lambda: clock.__setitem__(0, clock[0] + 3600)
        )
        return
    url = request.getfixturevalue("fresh_database")
    database = Database(url, "interlock_worker")

    def read() -> dict[Key, Line]:
        with psycopg.connect(url) as connection:
            found = connection.execute(
                "SELECT account_id, unit, most, reserved, spent, presumed FROM budget_lines"
            )
            return {(row[0], row[1]): Line(*row[2:]) for row in found}

    def end_leases() -> None:
        with psycopg.connect(url) as connection:
            connection.execute("UPDATE work_index SET due_at = clock_timestamp() - interval '1 second'")

    yield Kept(PostgresqlStore(database, SystemClock()), PostgresqlBudgets(database), read, end_leases)
    database.close()


def account(name: str, level: str = "tenant", **limits: int) -> Account:
    return Account(name, level, limits or {"tokens": 250})  # type: ignore[arg-type]


def wanted(
    number: int, *accounts: Account, step: tuple[str, int] = ("none", 0), worst: Amounts = WORST
) -> Wanted:
    return Wanted(f"res_{number}", "demo", *step, worst, accounts or (account("demo/2026"),))


class TestReserving:
    """The worst case has to fit before a question is asked."""

    def test_what_fits_is_reserved_and_what_does_not_is_told_by_its_numbers(self, kept: Kept) -> None:
        verdicts = kept.reserve(1, 2, 3)
        assert verdicts == [None, None, Refusal("tenant", "tokens", 250, 200, 100)]
        assert kept.line("demo/2026") == Line(250, reserved=200)

    def test_it_is_reserved_at_every_level_or_at_none(self, kept: Kept) -> None:
        wide, narrow = account("wide", tokens=1000, calls=9), account("narrow", "run", tokens=150)
        assert kept.budgets.reserve([kept.wanted(1, wide, narrow)]) == [None]
        refused = kept.budgets.reserve([kept.wanted(2, wide, narrow)])
        assert refused == [Refusal("run", "tokens", 150, 100, 100)]
        assert (kept.line("wide").reserved, kept.line("wide", "calls").reserved) == (100, 1)

    @pytest.mark.parametrize("unit", ["tokens", "nano_usd", "calls", "milliseconds"])
    def test_every_unit_has_a_limit_of_its_own(self, kept: Kept, unit: Unit) -> None:
        only = account("only", **{unit: WORST.of(unit)})
        assert kept.budgets.reserve([kept.wanted(1, only)]) == [None]
        (refusal,) = kept.budgets.reserve([kept.wanted(2, only)])
        assert refusal is not None
        assert (refusal.unit, refusal.taken) == (unit, WORST.of(unit))

    def test_the_same_reservation_twice_is_one(self, kept: Kept) -> None:
        """Its first commit may not have been heard of."""
        assert kept.reserve(1) == [None]
        assert kept.reserve(1, 2) == [None, None]
        assert kept.line("demo/2026").reserved == 200

    def test_a_limit_that_was_lowered_counts_from_the_next_question_on(self, kept: Kept) -> None:
        assert kept.reserve(1) == [None]
        (refusal,) = kept.budgets.reserve([kept.wanted(2, account("demo/2026", tokens=150))])
        assert refusal == Refusal("tenant", "tokens", 150, 100, 100)

    def test_many_at_once_overspend_nothing_together(self, kept: Kept) -> None:
        """Each on a connection of its own."""
        with ThreadPoolExecutor(8) as pool:
            verdicts = list(pool.map(lambda number: kept.reserve(number)[0], range(16)))
        assert sum(verdict is None for verdict in verdicts) == 2
        assert kept.line("demo/2026").reserved == 200


class TestSettling:
    """What a question did cost takes the place of what it held."""

    def test_the_rest_of_the_worst_case_is_free_again(self, kept: Kept) -> None:
        kept.reserve(1)
        kept.settle(Settlement("res_1", Amounts(tokens=30)))
        assert kept.line("demo/2026") == Line(250, spent=30)

    def test_it_is_settled_once_however_often_it_is_told(self, kept: Kept) -> None:
        kept.reserve(1)
        for _ in range(2):
            kept.settle(Settlement("res_1", Amounts(tokens=30)))
        assert kept.line("demo/2026") == Line(250, spent=30)

    def test_a_cost_that_nobody_knows_is_presumed_at_its_worst(self, kept: Kept) -> None:
        kept.reserve(1)
        kept.settle(Settlement("res_1", WORST, presumed=True))
        assert kept.line("demo/2026") == Line(250, presumed=100)

    def test_a_late_word_corrects_what_was_presumed(self, kept: Kept) -> None:
        kept.reserve(1)
        kept.settle(Settlement("res_1", WORST, presumed=True))
        kept.settle(Settlement("res_1", Amounts(tokens=30)))
        assert kept.line("demo/2026") == Line(250, spent=30)


class TestLostLeases:
    """What a dead worker held is back with its lease, unless it may have been billed."""

    def test_what_was_never_sent_returns(self, kept: Kept) -> None:
        kept.reserve(1)
        assert kept.budgets.return_lost() == 0, "its lease holds"
        kept.end_leases()
        assert kept.budgets.return_lost() == 1
        assert kept.line("demo/2026") == Line(250)

    def test_what_was_being_sent_is_presumed_to_be_spent(self, kept: Kept) -> None:
        kept.reserve(1)
        assert kept.budgets.sending(["res_1"]) == {"res_1"}
        kept.end_leases()
        assert kept.budgets.return_lost() == 1
        assert kept.budgets.return_lost() == 0
        assert kept.line("demo/2026") == Line(250, presumed=100)

    def test_nothing_is_refused_for_what_an_ended_lease_still_holds(self, kept: Kept) -> None:
        """The run that takes up a dead worker's step must not find its own budget taken by the dead."""
        kept.reserve(1, 2)
        kept.end_leases()
        assert kept.reserve(3, 4, 5)[:2] == [None, None]
        assert kept.line("demo/2026").reserved == 200

    def test_a_reservation_that_returned_must_not_be_sent(self, kept: Kept) -> None:
        kept.reserve(1)
        kept.end_leases()
        kept.budgets.return_lost()
        assert kept.budgets.sending(["res_1", "res_never"]) == set()


amounts = st.integers(0, 60)


@settings(deadline=None)
@given(st.lists(st.tuples(amounts, amounts), max_size=12), st.integers(0, 200), st.integers(0, 200))
def test_no_line_is_ever_taken_beyond_its_limit(
    asked: list[tuple[int, int]], tokens: int, calls: int
) -> None:
    """Whatever is wanted in whatever order, and each at all of its accounts or at none."""
    limits: Mapping[Unit, int] = {"tokens": tokens, "calls": calls}
    accounts = (Account("a", "tenant", limits), Account("b", "run", {"tokens": tokens // 2}))
    lines = {("a", "tokens"): Line(tokens), ("a", "calls"): Line(calls), ("b", "tokens"): Line(tokens // 2)}
    questions = [
        wanted(place, *accounts, worst=Amounts(tokens=first, calls=second))
        for place, (first, second) in enumerate(asked)
    ]
    verdicts, after = judge(lines, questions)  # type: ignore[arg-type]
    granted = [one.worst for one, verdict in zip(questions, verdicts, strict=True) if verdict is None]
    assert all(line.taken <= line.limit for line in after.values())
    assert (
        after["a", "tokens"].reserved == after["b", "tokens"].reserved == sum(one.tokens for one in granted)
    )
    assert after["a", "calls"].reserved == sum(one.calls for one in granted)


def test_a_documents_budget_is_read_in_whole_units() -> None:
    budget = Budget(tokens=10, usd="0.000000015", calls=2, seconds=1.5)
    assert limits_of(budget) == {"tokens": 10, "nano_usd": 15, "calls": 2, "milliseconds": 1500}
    assert limits_of(None) == {}
