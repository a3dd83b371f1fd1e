"""The queue ``replay``: what people had asked for is done again."""

from __future__ import annotations

from app.adapters.celery.shown import counted
from app.data_plane.ports import Queue
from tasks import celery
from tasks.unit_of_work import Unit, unit_of_work


@celery.task(name="interlock.replay.execute")
@unit_of_work(Queue.REPLAY)
def execute(unit: Unit, replay_ids: list[str] | None = None) -> str:
    """Carry out these replays, or whatever is due."""
    unit.services.carrier.answer(Queue.REPLAY)
    work = unit.services.replayer.execute(unit.worker, replay_ids or ())
    return counted(f"{work.steps} replays, {work.failed} refused or failed", work.orchestration_ids)
