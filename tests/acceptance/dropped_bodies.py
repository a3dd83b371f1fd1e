"""``celery -A tests.acceptance.dropped_bodies``: workers that lose the body of every chord and the link behind it.

It stands for what a killed child does to a chord: messages to aggregation and dispatch that name ids are heard and
forgotten, as if they had never come. Doorbells are answered as always.
"""

from __future__ import annotations

from tasks import aggregation, celery, dispatch

__all__ = ["celery"]

_aggregate = aggregation.aggregate.run
_deliver = dispatch.deliver.run


def _only_doorbells_aggregate(step_ids: list[str] | None = None) -> str:
    return "dropped" if step_ids else str(_aggregate())


def _only_doorbells_deliver(
    action_ids: list[str] | None = None, orchestration_ids: list[str] | None = None
) -> str:
    return "dropped" if action_ids or orchestration_ids else str(_deliver())


aggregation.aggregate.run = _only_doorbells_aggregate  # type: ignore[method-assign]
dispatch.deliver.run = _only_doorbells_deliver  # type: ignore[method-assign]
