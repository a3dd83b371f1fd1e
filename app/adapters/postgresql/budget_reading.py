"""What is taken of budgets, as the command line lists it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.adapters.postgresql.database import Database, Row

_NEWEST = """
SELECT account_id, unit, tenant_id, level, most, reserved, spent, presumed, began_at FROM budget_lines
WHERE tenant_id = ANY(%(tenants)s::text[]) AND level = %(level)s AND (%(account)s = '' OR account_id = %(account)s)
ORDER BY began_at DESC, account_id, unit LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class BudgetRow:
    """One limit of one account, and what is taken of it, in its unit."""

    account_id: str
    unit: str
    tenant_id: str
    level: str
    limit: int
    reserved: int
    spent: int
    presumed: int
    began_at: str

    @property
    def free(self) -> int:
        """What may still be reserved; below zero when the limit was lowered afterwards."""
        return self.limit - self.reserved - self.spent - self.presumed


class BudgetReading:
    """Reads budgets of these tenants.

    Args:
        database: under a role that may read them.
        tenants: whose; none are nobody's.
    """

    def __init__(self, database: Database, tenants: Sequence[str]) -> None:
        self._database = database
        self._tenants = list(tenants)

    def newest(self, level: str, *, account: str = "", limit: int = 20) -> tuple[BudgetRow, ...]:
        """The budgets of a level that were begun last, or those of one account."""
        if not self._tenants:
            return ()
        parameters = {"tenants": self._tenants, "level": level, "account": account, "limit": limit}
        with self._database.transaction(self._tenants) as connection:
            return tuple(_row(row) for row in connection.execute(_NEWEST, parameters))


def _row(row: Row) -> BudgetRow:
    return BudgetRow(
        account_id=row[0],
        unit=row[1],
        tenant_id=row[2],
        level=row[3],
        limit=row[4],
        reserved=row[5],
        spent=row[6],
        presumed=row[7],
        began_at=row[8].isoformat(timespec="seconds"),
    )
