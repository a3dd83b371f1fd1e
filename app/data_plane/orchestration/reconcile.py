"""The reconciler: leases of dead workers end, what they reserved returns, and whatever is overdue is rung for again.

It rings doorbells and never republishes ids.
"""

from __future__ import annotations

from app.data_plane.budgets.reservations import Budgets
from app.data_plane.ports import Carrier, Queue, Store


class Reconciler:
    """Finds queues with overdue steps. One of them at a time is enough, and several do no harm."""

    def __init__(self, store: Store, budgets: Budgets, carrier: Carrier) -> None:
        self._store = store
        self._budgets = budgets
        self._carrier = carrier

    def reconcile(self) -> dict[Queue, int]:
        """Ring for every queue with overdue steps; returns how many there were, counted up to 1,000 each."""
        self._store.end_lost_leases()
        self._budgets.return_lost()
        overdue = self._store.overdue()
        for queue in overdue:
            self._carrier.ring(queue)
        return overdue
