"""``celery -A tests.acceptance.check_then_spend``: a budget that looks first and takes afterwards, as many do.

What is kept of it is the same; only the locks between the look and the taking are gone. It shows what they are for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from app.adapters.postgresql import budgets
from app.adapters.postgresql.budgets import PostgresqlBudgets
from app.adapters.postgresql.database import see_tenants
from app.data_plane.budgets.reservations import Line, Refusal, Wanted, judge, keys_of
from tasks import celery

__all__ = ["celery"]


def _check_then_spend(self: PostgresqlBudgets, wanted: Sequence[Wanted]) -> list[Refusal | None]:
    tenants = [one.tenant_id for one in wanted]
    with self._database.transaction(tenants) as connection:
        lines = {}
        for key in {key for one in wanted for key in keys_of(one)}:
            limit = next(a.limits[key[1]] for one in wanted for a in one.accounts if a.account_id == key[0])
            row = connection.execute(
                "SELECT reserved, spent, presumed FROM budget_lines WHERE account_id = %s AND unit = %s", key
            ).fetchone()
            lines[key] = Line(limit, *(row or (0, 0, 0)))
    # Each question looks for itself, as it would in a process of its own.
    verdicts = [judge(lines, [one])[0][0] for one in wanted]
    granted = [one for one, verdict in zip(wanted, verdicts, strict=True) if verdict is None]
    with self._database.transaction(tenants) as connection:
        see_tenants(connection, tenants)
        unlimited = [
            replace(
                one, accounts=tuple(replace(a, limits=dict.fromkeys(a.limits, 10**15)) for a in one.accounts)
            )
            for one in granted
        ]
        if unlimited:
            budgets._locked_lines(connection, unlimited)
            budgets._hold(connection, granted)
    return verdicts


PostgresqlBudgets.reserve = _check_then_spend  # type: ignore[method-assign]
