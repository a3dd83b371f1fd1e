"""Budgets in PostgreSQL: lines under locks in the order of their keys, so that no two processes overspend together.

A settlement stands in the same transaction as the answer that it is for (``commits``), after every other lock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from app.adapters.postgresql.database import Connection, Database, Row, see_tenants
from app.data_plane.budgets.reservations import (
    Account,
    Key,
    Line,
    Refusal,
    Settlement,
    Unit,
    Wanted,
    judge,
    keys_of,
    reserve_all,
)

MOST_AT_ONCE = 1_000

_OPEN_LINES = """
INSERT INTO budget_lines AS line (account_id, unit, tenant_id, level, most)
SELECT * FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::int8[]) AS new (a, u, t, l, m) ORDER BY a, u
ON CONFLICT (account_id, unit) DO UPDATE SET most = excluded.most WHERE line.most <> excluded.most
"""
_LOCK_LINES = """
SELECT line.account_id, line.unit, line.most, line.reserved, line.spent, line.presumed
FROM unnest(%b::text[], %b::text[]) AS named (account_id, unit) JOIN budget_lines line USING (account_id, unit)
ORDER BY line.account_id, line.unit FOR UPDATE OF line
"""
_MOVE_LINES = """
UPDATE budget_lines line SET reserved = line.reserved + moved.reserved, spent = line.spent + moved.spent,
    presumed = line.presumed + moved.presumed
FROM unnest(%b::text[], %b::text[], %b::int8[], %b::int8[], %b::int8[])
    AS moved (account_id, unit, reserved, spent, presumed)
WHERE line.account_id = moved.account_id AND line.unit = moved.unit
"""
_HOLD = """
INSERT INTO reservations (reservation_id, tenant_id, step_id, fence, accounts, units, amounts, state)
VALUES (%b, %b, %b, %b, %b::text[], %b::text[], %b::int8[], 'reserved')
"""
_LOST = """
SELECT held.reservation_id, held.tenant_id FROM reservations held
WHERE held.state <> 'presumed' AND NOT EXISTS (
    SELECT 1 FROM work_index step
    WHERE step.step_id = held.step_id AND step.fence = held.fence AND step.finished_at IS NULL
      AND step.due_at > clock_timestamp()
)
ORDER BY held.reservation_id LIMIT %b
"""
_HELD = (
    "SELECT reservation_id, state, accounts, units, amounts FROM reservations"
    " WHERE reservation_id = ANY(%b::text[]) ORDER BY reservation_id FOR UPDATE"
)


@dataclass(slots=True)
class _Move:
    """By how much a line's three parts change."""

    reserved: int = 0
    spent: int = 0
    presumed: int = 0

    @property
    def is_nothing(self) -> bool:
        return not (self.reserved or self.spent or self.presumed)


class _Moves:
    """The changes of lines that one transaction makes."""

    def __init__(self) -> None:
        self._moves: dict[Key, _Move] = {}

    def of(self, key: Key) -> _Move:
        return self._moves.setdefault(key, _Move())

    def write(self, connection: Connection) -> None:
        """Under locks that are taken in the keys' order."""
        keys = sorted(key for key, move in self._moves.items() if not move.is_nothing)
        if not keys:
            return
        columns = [[key[0] for key in keys], [key[1] for key in keys]]
        connection.execute(_LOCK_LINES, columns)
        moves = [self._moves[key] for key in keys]
        connection.execute(
            _MOVE_LINES,
            [
                *columns,
                [move.reserved for move in moves],
                [move.spent for move in moves],
                [move.presumed for move in moves],
            ],
        )


class PostgresqlBudgets:
    """``Budgets`` over PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def reserve(self, wanted: Sequence[Wanted]) -> list[Refusal | None]:
        """Reserve each at all of its accounts or at none; in order, the reason of those that do not fit.

        One that was reserved before, by a call whose commit was not heard of, is reserved once. Before one is refused,
        what ended leases still hold is returned.
        """
        return reserve_all(wanted, self._reserve, self.return_lost)

    def _reserve(self, wanted: Sequence[Wanted]) -> list[Refusal | None]:
        if not wanted:
            return []
        with self._database.transaction([one.tenant_id for one in wanted]) as connection:
            lines = _locked_lines(connection, wanted)
            known = _known(connection, [one.reservation_id for one in wanted])
            fresh = [one for one in wanted if one.reservation_id not in known]
            verdicts, _ = judge(lines, fresh)
            granted = [one for one, verdict in zip(fresh, verdicts, strict=True) if verdict is None]
            _hold(connection, granted)
        refusals = {one.reservation_id: verdict for one, verdict in zip(fresh, verdicts, strict=True)}
        return [refusals.get(one.reservation_id) for one in wanted]

    def settle(self, tenants: Sequence[str], settlements: Sequence[Settlement]) -> None:
        """What questions of these tenants did cost takes the place of what they held."""
        with self._database.transaction(tenants) as connection:
            settle(connection, settlements)

    def sending(self, reservation_ids: Sequence[str]) -> set[str]:
        """Those that still stand, marked as being sent; what is not among them returned with its lease."""
        if not reservation_ids:
            return set()
        with self._database.transaction() as connection:
            found = connection.execute(
                "UPDATE reservations SET state = 'sending' WHERE reservation_id = ANY(%b::text[])"
                " AND state <> 'presumed' RETURNING reservation_id",
                [sorted(reservation_ids)],
            )
            return {row[0] for row in found}

    def return_lost(self) -> int:
        """Return what ended leases held, or presume it spent where it was being sent; how many that were."""
        with self._database.transaction() as connection:
            lost = connection.execute(_LOST, [MOST_AT_ONCE]).fetchall()
            if not lost:
                return 0
            see_tenants(connection, {row[1] for row in lost})
            return _end_lost(connection, [row[0] for row in lost])


def settle(connection: Connection, settlements: Sequence[Settlement]) -> None:
    """What questions did cost takes the place of what they held. One that is settled already changes nothing."""
    if not settlements:
        return
    by_id = {one.reservation_id: one for one in settlements}
    moves = _Moves()
    presumed: list[str] = []
    known: list[str] = []
    for held in connection.execute(_HELD, [sorted(by_id)]).fetchall():
        settlement, was_presumed = by_id[held[0]], held[1] == "presumed"
        if settlement.presumed and was_presumed:
            continue
        for account, unit, amount in _parts(held):
            move = moves.of((account, unit))
            if was_presumed:
                move.presumed -= amount
            else:
                move.reserved -= amount
            if settlement.presumed:
                move.presumed += amount
            else:
                move.spent += settlement.spent.of(unit)
        (presumed if settlement.presumed else known).append(held[0])
    moves.write(connection)
    _forget(connection, known)
    _presume(connection, presumed)


def _locked_lines(connection: Connection, wanted: Sequence[Wanted]) -> dict[Key, Line]:
    accounts: dict[Key, tuple[str, Account]] = {
        (account.account_id, unit): (one.tenant_id, account)
        for one in wanted
        for account in one.accounts
        for unit in account.limits
    }
    keys = sorted(accounts)
    names = [[key[0] for key in keys], [key[1] for key in keys]]
    connection.execute(
        _OPEN_LINES,
        [
            *names,
            [accounts[key][0] for key in keys],
            [accounts[key][1].level for key in keys],
            [accounts[key][1].limits[key[1]] for key in keys],
        ],
    )
    return {(row[0], row[1]): Line(*row[2:]) for row in connection.execute(_LOCK_LINES, names)}


def _known(connection: Connection, reservation_ids: Collection[str]) -> set[str]:
    found = connection.execute(
        "SELECT reservation_id FROM reservations WHERE reservation_id = ANY(%b::text[])",
        [sorted(reservation_ids)],
    )
    return {row[0] for row in found}


def _hold(connection: Connection, granted: Sequence[Wanted]) -> None:
    if not granted:
        return
    moves = _Moves()
    rows: list[list[object]] = []
    for one in granted:
        keys = keys_of(one)
        amounts = [one.worst.of(unit) for _, unit in keys]
        for key, amount in zip(keys, amounts, strict=True):
            moves.of(key).reserved += amount
        names = [key[0] for key in keys], [key[1] for key in keys]
        rows.append([one.reservation_id, one.tenant_id, one.step_id, one.fence, *names, amounts])
    moves.write(connection)
    connection.cursor().executemany(_HOLD, rows)


def _end_lost(connection: Connection, reservation_ids: Sequence[str]) -> int:
    moves = _Moves()
    returned: list[str] = []
    presumed: list[str] = []
    for held in connection.execute(_HELD, [list(reservation_ids)]).fetchall():
        if held[1] == "presumed":
            continue
        for account, unit, amount in _parts(held):
            moves.of((account, unit)).reserved -= amount
            if held[1] == "sending":
                moves.of((account, unit)).presumed += amount
        (presumed if held[1] == "sending" else returned).append(held[0])
    moves.write(connection)
    _forget(connection, returned)
    _presume(connection, presumed)
    return len(returned) + len(presumed)


def _parts(held: Row) -> Iterable[tuple[str, Unit, int]]:
    """A reservation's accounts, units and amounts."""
    return zip(held[2], held[3], held[4], strict=True)


def _forget(connection: Connection, reservation_ids: Sequence[str]) -> None:
    if reservation_ids:
        connection.execute(
            "DELETE FROM reservations WHERE reservation_id = ANY(%b::text[])", [list(reservation_ids)]
        )


def _presume(connection: Connection, reservation_ids: Sequence[str]) -> None:
    if reservation_ids:
        connection.execute(
            "UPDATE reservations SET state = 'presumed' WHERE reservation_id = ANY(%b::text[])",
            [list(reservation_ids)],
        )
