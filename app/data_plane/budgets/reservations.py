"""Reserving: whether the worst case of a question still fits, at every level at once. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, Decimal
from typing import Literal, Protocol, get_args

from app.kernel.release import Budget

Unit = Literal["tokens", "nano_usd", "calls", "milliseconds"]
UNITS: tuple[Unit, ...] = get_args(Unit)
Level = Literal["tenant", "orchestration", "run", "call"]

NANO_USD = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Amounts:
    """What questions cost: tokens in and out, billionths of a US dollar, calls, milliseconds of wall time."""

    tokens: int = 0
    nano_usd: int = 0
    calls: int = 0
    milliseconds: int = 0

    def of(self, unit: Unit) -> int:
        """The amount in that unit."""
        amount: int = getattr(self, unit)
        return amount


@dataclass(frozen=True, slots=True)
class Account:
    """Who may spend how much, in the units that are limited."""

    account_id: str
    level: Level
    limits: Mapping[Unit, int]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A question's worst case, and the accounts that it has to fit in."""

    reservation_id: str
    tenant_id: str
    step_id: str
    fence: int
    """With ``step_id``: the lease that the reservation returns with."""
    worst: Amounts
    accounts: tuple[Account, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """The verdict of a budget: at which level, in which unit, and by which numbers it does not fit."""

    level: Level
    unit: Unit
    limit: int
    taken: int
    asked: int


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a question did cost. Told once or more, also by a worker that lost its step: it happened all the same."""

    reservation_id: str
    spent: Amounts
    presumed: bool = False
    """Nobody knows what was billed, and ``spent`` is the worst case."""


Key = tuple[str, Unit]
"""An account and a unit: one line."""


@dataclass(frozen=True, slots=True)
class Line:
    """One limit, and what is taken of it."""

    limit: int
    reserved: int = 0
    spent: int = 0
    presumed: int = 0

    @property
    def taken(self) -> int:
        """All that is not free."""
        return self.reserved + self.spent + self.presumed


class Budgets(Protocol):
    """Where reservations are kept, atomically over all processes. Settlements are kept by ``Store.commit``."""

    def reserve(self, wanted: Sequence[Wanted]) -> list[Refusal | None]:
        """Reserve each at all of its accounts or at none; in order, the reason of those that do not fit.

        Nothing is refused for what an ended lease still holds.
        """
        ...

    def settle(self, tenants: Sequence[str], settlements: Sequence[Settlement]) -> None:
        """What questions of these tenants did cost takes the place of what they held; as ``Store.commit`` does it."""
        ...

    def sending(self, reservation_ids: Sequence[str]) -> set[str]:
        """Those that still stand, marked as being sent; what is not among them returned with its lease."""
        ...

    def return_lost(self) -> int:
        """Return what ended leases held, or presume it spent where it was being sent; how many that were."""
        ...


class TenantAccounts(Protocol):
    """What tenants may spend."""

    def account(self, tenant_id: str) -> Account | None:
        """The tenant's account of now, such as this month's; None when nothing is limited."""
        ...


def limits_of(budget: Budget | None) -> dict[Unit, int]:
    """The limits of a document's budget, in whole units."""
    if budget is None:
        return {}
    limits: dict[Unit, int | None] = {
        "tokens": budget.tokens,
        "nano_usd": _nano(budget.usd) if budget.usd is not None else None,
        "calls": budget.calls,
        "milliseconds": int(budget.seconds * 1000) if budget.seconds is not None else None,
    }
    return {unit: limit for unit, limit in limits.items() if limit is not None}


def _nano(usd: str) -> int:
    return int((Decimal(usd) * NANO_USD).to_integral_value(ROUND_DOWN))


def keys_of(wanted: Wanted) -> list[Key]:
    """The lines that it has to fit in."""
    return [(account.account_id, unit) for account in wanted.accounts for unit in account.limits]


def judge(
    lines: Mapping[Key, Line], wanted: Sequence[Wanted]
) -> tuple[list[Refusal | None], dict[Key, Line]]:
    """The verdicts in order, and the lines after them: each is reserved everywhere or nowhere."""
    after = dict(lines)
    verdicts: list[Refusal | None] = []
    for one in wanted:
        refusal = next(_refusals(after, one), None)
        verdicts.append(refusal)
        if refusal is None:
            for account_id, unit in keys_of(one):
                line = after[account_id, unit]
                after[account_id, unit] = replace(line, reserved=line.reserved + one.worst.of(unit))
    return verdicts, after


def _refusals(lines: Mapping[Key, Line], wanted: Wanted) -> Iterator[Refusal]:
    for account in wanted.accounts:
        for unit in account.limits:
            line = lines[account.account_id, unit]
            asked = wanted.worst.of(unit)
            if line.taken + asked > line.limit:
                yield Refusal(account.level, unit, line.limit, line.taken, asked)


def reserve_all(
    wanted: Sequence[Wanted],
    reserve: Callable[[Sequence[Wanted]], list[Refusal | None]],
    return_lost: Callable[[], int],
) -> list[Refusal | None]:
    """Reserve what fits, and what does only when ended leases have returned what they still hold."""
    verdicts = reserve(wanted)
    refused = [place for place, verdict in enumerate(verdicts) if verdict is not None]
    if refused and return_lost():
        again = reserve([wanted[place] for place in refused])
        for place, verdict in zip(refused, again, strict=True):
            verdicts[place] = verdict
    return verdicts


def fits_alone(limits: Mapping[Unit, int], worst: Amounts) -> Refusal | None:
    """Whether one question fits in the limits of a call, whatever was spent before."""
    for unit, limit in limits.items():
        if worst.of(unit) > limit:
            return Refusal("call", unit, limit, 0, worst.of(unit))
    return None
