"""The queue ``agent_runs``: models are asked."""

from __future__ import annotations

from app.adapters.celery.shown import counted
from app.data_plane.ports import Queue
from app.data_plane.work_done import WorkDone
from tasks import celery
from tasks.locked import free_ones
from tasks.unit_of_work import Unit, unit_of_work


@celery.task(name="interlock.agent_runs.execute")
@unit_of_work(Queue.AGENT_RUNS)
def execute(unit: Unit, run_ids: list[str] | None = None) -> str:
    """Execute these runs, or whatever is due. Never raises for what a run did: failure is a value."""
    services = unit.services
    if not run_ids:
        services.carrier.answer(Queue.AGENT_RUNS)
        return _told(services.event_loop.run(services.runner.execute(unit.worker)))
    with free_ones(services, run_ids) as free:
        if not free:
            return "0 runs: another worker is on them"
        return _told(services.event_loop.run(services.runner.execute(unit.worker, free)))


def _told(work: WorkDone) -> str:
    return counted(f"{work.steps} runs, {work.failed} failed", work.orchestration_ids)
