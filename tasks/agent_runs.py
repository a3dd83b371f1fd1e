"""The queue ``agent_runs``: models are asked."""

from __future__ import annotations

from app.data_plane.ports import Queue
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
        count, failed = services.event_loop.run(services.runner.execute(unit.worker))
        return f"{count} runs, {failed} failed"
    with free_ones(services, run_ids) as free:
        if not free:
            return "0 runs: another worker is on them"
        count, failed = services.event_loop.run(services.runner.execute(unit.worker, free))
    return f"{count} runs, {failed} failed"
