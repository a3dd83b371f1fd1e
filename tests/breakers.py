"""What tests of circuit breakers share: a provider with a breaker, and a record of orders and changes in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from app.data_plane.breakers import BreakerChange, BreakerName, BreakerOrder, Ordered
from app.kernel.release import BreakerPolicy, OpenAICompatibleProvider


def remote(
    name: str = "acme", model: str = "large", *, failures: int = 3, open_seconds: float = 30.0
) -> OpenAICompatibleProvider:
    """A provider with a breaker of that policy; nobody asks its address."""
    return OpenAICompatibleProvider(
        kind="openai_compatible",
        name=name,
        version=1,
        model=model,
        base_url="http://127.0.0.1:1",
        api_key="env:NOBODY",
        breaker=BreakerPolicy(failures=failures, open_seconds=open_seconds),
    )


class MemoryRecord:
    """``BreakerRecord`` in memory."""

    def __init__(self) -> None:
        self.ordered: dict[BreakerName, BreakerOrder] = {}
        self.changes: list[BreakerChange] = []

    def order(self, name: BreakerName, state: Ordered) -> None:
        """As an operator orders it."""
        self.ordered[name] = BreakerOrder(name, state, "alice", "tests", datetime.now(UTC))

    def orders(self) -> Mapping[BreakerName, BreakerOrder]:
        """See ``BreakerRecord.orders``."""
        return dict(self.ordered)

    def write(self, changes: Sequence[BreakerChange]) -> None:
        """See ``BreakerRecord.write``."""
        self.changes += changes
