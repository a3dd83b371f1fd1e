"""What is kept of circuit breakers in PostgreSQL: orders, changes, and which providers releases name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.adapters.postgresql.database import Database, Row
from app.data_plane.breakers import (
    BreakerChange,
    BreakerName,
    BreakerOrder,
    KnownProvider,
    NewOrder,
    check_order,
)
from app.kernel.release import BreakerPolicy
from app.telemetry.redaction import redact

_NEWEST_ORDERS = (
    "SELECT DISTINCT ON (provider, model) provider, model, state, actor, reason, at FROM breaker_orders"
    " ORDER BY provider, model, order_id DESC"
)
_NEWEST_ORDER = (
    "SELECT provider, model, state, actor, reason, at FROM breaker_orders"
    " WHERE provider = %s AND model = %s ORDER BY order_id DESC LIMIT 1"
)
_APPEND_ORDER = (
    "INSERT INTO breaker_orders (provider, model, state, actor, reason) VALUES (%s, %s, %s, %s, %s)"
    " RETURNING provider, model, state, actor, reason, at"
)
_NEWEST_CHANGES = (
    "SELECT DISTINCT ON (provider, model) change_id, provider, model, from_state, to_state, reason, at"
    " FROM breaker_changes ORDER BY provider, model, at DESC"
)
_ORDERS_BY_AGE = (
    "SELECT provider, model, state, actor, reason, at FROM breaker_orders"
    " WHERE %(provider)s::text IS NULL OR provider = %(provider)s ORDER BY at DESC LIMIT %(limit)s"
)
_CHANGES_BY_AGE = (
    "SELECT change_id, provider, model, from_state, to_state, reason, at FROM breaker_changes"
    " WHERE %(provider)s::text IS NULL OR provider = %(provider)s ORDER BY at DESC LIMIT %(limit)s"
)
_PROVIDERS = """
SELECT p.value ->> 'name', p.value ->> 'model', p.value ->> 'kind', p.value -> 'breaker',
    bool_or(c.workflow IS NOT NULL)
FROM releases r
LEFT JOIN channels c ON c.release_digest = r.digest,
LATERAL jsonb_each(convert_from(r.body, 'UTF8')::jsonb -> 'providers') p
GROUP BY 1, 2, 3, 4
"""
_REMOTE = frozenset({"openai_compatible", "anthropic"})
_LOCK = 0x696E746272656B72  # "intbrekr": orders come one after the other, so that each is checked against the last


class PostgresqlBreakers:
    """``BreakerRecord`` over PostgreSQL, and what operators read and order."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def orders(self) -> Mapping[BreakerName, BreakerOrder]:
        """See ``BreakerRecord.orders``."""
        with self._database.transaction() as connection:
            rows = connection.execute(_NEWEST_ORDERS).fetchall()
        return {order.breaker: order for order in map(_order, rows)}

    def write(self, changes: Sequence[BreakerChange]) -> None:
        """See ``BreakerRecord.write``."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO breaker_changes (change_id, provider, model, from_state, to_state, reason, at)"
                " SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[],"
                " %s::timestamptz[]) ON CONFLICT DO NOTHING",
                [
                    [change.change_id for change in changes],
                    [change.breaker.provider for change in changes],
                    [change.breaker.model for change in changes],
                    [change.from_state for change in changes],
                    [change.to_state for change in changes],
                    [change.reason for change in changes],
                    [change.at for change in changes],
                ],
            )

    def order(self, new: NewOrder) -> BreakerOrder:
        """Append an order, checked against the last one. Raises UnexplainedOrderError, OrderStandsError."""
        with self._database.transaction() as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
            row = connection.execute(_NEWEST_ORDER, [new.breaker.provider, new.breaker.model]).fetchone()
            check_order(new, _order(row) if row is not None else None)
            written = connection.execute(
                _APPEND_ORDER,
                [new.breaker.provider, new.breaker.model, new.state, new.actor, redact(new.reason)],
            ).fetchone()
        assert written is not None
        return _order(written)

    def last_changes(self) -> Mapping[BreakerName, BreakerChange]:
        """The newest change of each breaker that ever moved."""
        with self._database.transaction() as connection:
            rows = connection.execute(_NEWEST_CHANGES).fetchall()
        return {change.breaker: change for change in map(_change, rows)}

    def history(self, provider: str | None, limit: int) -> tuple[BreakerOrder | BreakerChange, ...]:
        """Orders and changes, the newest first; of one provider, or of all."""
        asked = {"provider": provider, "limit": limit}
        with self._database.transaction() as connection:
            orders = connection.execute(_ORDERS_BY_AGE, asked).fetchall()
            changes = connection.execute(_CHANGES_BY_AGE, asked).fetchall()
        both: list[BreakerOrder | BreakerChange] = [*map(_order, orders), *map(_change, changes)]
        return tuple(sorted(both, key=lambda one: one.at, reverse=True)[:limit])

    def providers(self) -> tuple[KnownProvider, ...]:
        """Every provider's model that a published release names."""
        with self._database.transaction() as connection:
            rows = connection.execute(_PROVIDERS).fetchall()
        found: dict[BreakerName, KnownProvider] = {}
        for name, model, kind, breaker, routed in rows:
            policy = BreakerPolicy.model_validate(breaker or {}) if kind in _REMOTE else None
            one = KnownProvider(BreakerName(name, model), kind, routed, policy)
            found[one.breaker] = _merged(found.get(one.breaker), one)
        return tuple(found[name] for name in sorted(found))


def _merged(known: KnownProvider | None, other: KnownProvider) -> KnownProvider:
    """What two releases say of one model: that of the one that takes traffic, then the one that opens first."""
    if known is None:
        return other
    return min(known, other, key=_precedence)


def _precedence(one: KnownProvider) -> tuple[bool, int]:
    return (not one.routed, one.policy.failures if one.policy is not None else 0)


def _order(row: Row) -> BreakerOrder:
    return BreakerOrder(BreakerName(row[0], row[1]), row[2], row[3], row[4], row[5])


def _change(row: Row) -> BreakerChange:
    return BreakerChange(row[0], BreakerName(row[1], row[2]), row[3], row[4], row[5], row[6])
