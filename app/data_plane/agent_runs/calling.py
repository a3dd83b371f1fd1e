"""Making the calls of tools that read: each within its own limit, and recorded with what came of it."""

from __future__ import annotations

import asyncio
from typing import Protocol

from app.data_plane.agent_runs import calls
from app.data_plane.agent_runs.moves import OUT_OF_BUDGET, GiveUp
from app.data_plane.agent_runs.purse import Asking, Purse
from app.data_plane.agent_runs.question import TIMED_OUT, LeaseLostError
from app.data_plane.agent_runs.run import Run
from app.data_plane.budgets.reservations import Amounts, Refusal, Settlement
from app.data_plane.ports import Queue
from app.data_plane.tools import Reading, call_reading_tool, find
from app.kernel import fault_points
from app.kernel.errors import InterlockError
from app.kernel.facts import ToolAnswered, ToolCalled, ToolFailed
from app.kernel.fault_points import FaultPoint
from app.telemetry import tracing
from app.telemetry.logs import get_logger

_log = get_logger(__name__)


class Readings(Protocol):
    """Opens what tools that read may look at."""

    def of(self, tenant_id: str) -> Reading:
        """One tenant's data."""
        ...


class ToolCaller:
    """Calls tools for runs. Whatever comes of a call is in the run's facts when it is over.

    Args:
        purse: what tools cost is taken from it, before they are called.
    """

    def __init__(self, readings: Readings, purse: Purse) -> None:
        self._readings = readings
        self._purse = purse

    async def call(self, run: Run) -> Run:
        """The run with what its permitted calls came to; never raises for what a tool did.

        Raises TransientError when budgets cannot be asked, as their store is away: the run is done later.
        """
        loop = asyncio.get_running_loop()
        if run.ends_at is None:
            run.ends_at = loop.time() + run.stage.timeout_seconds
        reads, run.reads = run.reads, []
        try:
            async with asyncio.timeout_at(run.ends_at):
                reads = [called for called in reads if await self._is_paid(run, called)]
                results = await asyncio.gather(*(self._call(run, called) for called in reads))
        except TimeoutError:
            run.given_up = GiveUp("timed_out", f"the stage's limit is {run.stage.timeout_seconds:g} s")
            _leave(run)
            return run
        run.chain += results
        run.recording_is_urgent = True
        return run

    async def charge(self, run: Run) -> None:
        """Take what the run's effects cost, when they are called for; one that does not fit is not handed over."""
        known = run.state.calls or {}
        for proposed in [one for one in run.effects if one.action_id not in known]:
            called = next(
                fact
                for fact in run.chain
                if isinstance(fact, ToolCalled) and fact.action_id == proposed.action_id
            )
            if not await self._is_paid(run, called):
                run.effects.remove(proposed)

    async def _is_paid(self, run: Run, called: ToolCalled) -> bool:
        cost = Amounts(nano_usd=calls.cost_of(run.caller, called.tool))
        if not cost.nano_usd:
            return True
        reserved = await self._purse.reserve(Asking(run.claim, run.state.release.template, run.stage, cost))
        if isinstance(reserved, Refusal):
            run.chain.append(calls.failed(called, OUT_OF_BUDGET))
            return False
        if reserved.reservation_id:
            # From here on it may cost, whatever becomes of this worker.
            if not await self._purse.sending(reserved.reservation_id):
                raise LeaseLostError(run.claim.step_id)
            run.settlements.append(Settlement(reserved.reservation_id, cost))
        return True

    async def _call(self, run: Run, called: ToolCalled) -> ToolAnswered | ToolFailed:
        loop = asyncio.get_running_loop()
        started, since_ns = loop.time(), tracing.now_ns()
        with run.watched.calling(called):
            result = await self._result(run, called)
        milliseconds = int((loop.time() - started) * 1000)
        fact: ToolAnswered | ToolFailed
        if isinstance(result, InterlockError):
            fact = calls.failed(called, result.code, result.fate.value, milliseconds)
        else:
            fact = ToolAnswered(
                position=called.position,
                call=called.call,
                result_digest=run.contents.add_bytes(result),
                duration_ms=milliseconds,
            )
        run.watched.called(since_ns, called, fact)
        return fact

    async def _result(self, run: Run, called: ToolCalled) -> bytes | InterlockError:
        fault_points.reached(FaultPoint.BEFORE_TOOL, Queue.AGENT_RUNS)
        try:
            arguments = run.contents.object(called.arguments_digest)
            reading = self._readings.of(run.claim.tenant_id)
            result = await call_reading_tool(find(called.tool), arguments, reading)
        except InterlockError as error:
            # With the tool's own error: a fact says no more than its code, and somebody has to mend the tool.
            keys = tracing.joined(run.watched.keys, run.watched.traceparent)
            _log.warning("a tool failed", tool=called.tool, code=error.code, **keys, exc_info=error)
            return error
        fault_points.reached(FaultPoint.AFTER_TOOL_BEFORE_RECORD, Queue.AGENT_RUNS)
        return result


def _leave(run: Run) -> None:
    """Nothing is waited for any more: what was not handed over never will be."""
    known = run.state.calls or {}
    left = [called for called in calls.open_calls(run.chain) if called.action_id not in known]
    run.chain += [calls.failed(called, TIMED_OUT, "transient") for called in left]
    run.effects.clear()
