"""Budgets in memory: ``Budgets`` for tests, and for reading what the contract asks for without SQL."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from app.data_plane.budgets.reservations import (
    Key,
    Line,
    Refusal,
    Settlement,
    Wanted,
    judge,
    keys_of,
    reserve_all,
)


@dataclass(slots=True)
class _Held:
    wanted: Wanted
    state: str = "reserved"


class MemoryBudgets:
    """``Budgets`` for as long as the process lives.

    Args:
        lives: whether the lease of a step, by its fence, still holds.
    """

    def __init__(self, lives: Callable[[str, int], bool]) -> None:
        self._lives = lives
        self._lock = threading.RLock()
        self._lines: dict[Key, Line] = {}
        self._held: dict[str, _Held] = {}

    def reserve(self, wanted: Sequence[Wanted]) -> list[Refusal | None]:
        """Reserve each at all of its accounts or at none; in order, the reason of those that do not fit."""
        with self._lock:
            return reserve_all(wanted, self._reserve, self.return_lost)

    def _reserve(self, wanted: Sequence[Wanted]) -> list[Refusal | None]:
        for one in wanted:
            for account in one.accounts:
                for unit, limit in account.limits.items():
                    before = self._lines.get((account.account_id, unit), Line(limit))
                    self._lines[account.account_id, unit] = replace(before, limit=limit)
        fresh = [one for one in wanted if one.reservation_id not in self._held]
        verdicts, self._lines = judge(self._lines, fresh)
        refusals = {one.reservation_id: verdict for one, verdict in zip(fresh, verdicts, strict=True)}
        for one in fresh:
            if refusals[one.reservation_id] is None:
                self._held[one.reservation_id] = _Held(one)
        return [refusals.get(one.reservation_id) for one in wanted]

    def sending(self, reservation_ids: Sequence[str]) -> set[str]:
        """Those that still stand, marked as being sent."""
        with self._lock:
            standing = {
                one for one in reservation_ids if one in self._held and self._held[one].state != "presumed"
            }
            for one in standing:
                self._held[one].state = "sending"
            return standing

    def settle(self, tenants: Iterable[str], settlements: Iterable[Settlement]) -> None:  # noqa: ARG002 - the port's
        """What questions did cost takes the place of what they held."""
        with self._lock:
            for settlement in settlements:
                held = self._held.get(settlement.reservation_id)
                if held is None or (settlement.presumed and held.state == "presumed"):
                    continue
                for key in keys_of(held.wanted):
                    self._let_go(held, key)
                    if settlement.presumed:
                        self._add(key, presumed=held.wanted.worst.of(key[1]))
                    else:
                        self._add(key, spent=settlement.spent.of(key[1]))
                if settlement.presumed:
                    held.state = "presumed"
                else:
                    del self._held[settlement.reservation_id]

    def return_lost(self) -> int:
        """Return what ended leases held, or presume it spent where it was being sent."""
        with self._lock:
            lost = [
                (name, held)
                for name, held in self._held.items()
                if held.state != "presumed" and not self._lives(held.wanted.step_id, held.wanted.fence)
            ]
            for name, held in lost:
                for key in keys_of(held.wanted):
                    self._let_go(held, key)
                    if held.state == "sending":
                        self._add(key, presumed=held.wanted.worst.of(key[1]))
                if held.state == "sending":
                    held.state = "presumed"
                else:
                    del self._held[name]
            return len(lost)

    def lines(self) -> dict[Key, Line]:
        """All lines."""
        with self._lock:
            return dict(self._lines)

    def _let_go(self, held: _Held, key: Key) -> None:
        amount = held.wanted.worst.of(key[1])
        if held.state == "presumed":
            self._add(key, presumed=-amount)
        else:
            self._add(key, reserved=-amount)

    def _add(self, key: Key, *, reserved: int = 0, spent: int = 0, presumed: int = 0) -> None:
        line = self._lines[key]
        self._lines[key] = replace(
            line,
            reserved=line.reserved + reserved,
            spent=line.spent + spent,
            presumed=line.presumed + presumed,
        )
