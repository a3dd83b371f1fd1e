"""``execute``: runs, a batch of them at once, each recorded as it becomes final.

Every answer is recorded before it is interpreted; only a provider whose answer to the same question is always the same
one shares a commit with the interpretation, as asking it again loses nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence

from app.data_plane.agent_runs import observing
from app.data_plane.agent_runs.asking import Asker
from app.data_plane.agent_runs.calling import ToolCaller
from app.data_plane.agent_runs.in_flight import InFlight, Room
from app.data_plane.agent_runs.run import (
    Run,
    change,
    ended,
    handed_over,
    interpret,
    is_final,
    resume,
    was_recorded,
)
from app.data_plane.agent_runs.run import failed as has_failed
from app.data_plane.orchestration.holding import hold
from app.data_plane.orchestration.observing import batch, carried_on
from app.data_plane.orchestration.recorder import Loaded, Recorder, try_again, wait_for_release
from app.data_plane.ports import Carrier, Change, Claim, Queue, Store, Verdict, may_be_more
from app.data_plane.replay.record import named_contents
from app.data_plane.work_done import WorkDone, done, together
from app.kernel import fault_points
from app.kernel.clock import Clock, to_text
from app.kernel.errors import TransientError
from app.kernel.facts import ModelAsked, Recorded
from app.kernel.fault_points import FaultPoint
from app.telemetry import tracing

_log = logging.getLogger(__name__)

GO_ON_SECONDS = 30.0
"""How long one message begins whatever is due; after that another one goes on, so that none lives for ever."""

ROOM_SECONDS = 20.0
"""How long a message waits for room in its process; the watchdog allows for more before the first claim."""


class Runner:
    """Executes runs. ``in_flight`` is how many model calls this process holds at once."""

    def __init__(
        self,
        store: Store,
        recorder: Recorder,
        asker: Asker,
        caller: ToolCaller,
        carrier: Carrier,
        clock: Clock,
        *,
        batch_size: int,
        in_flight: int,
    ) -> None:
        self._store = store
        self._recorder = recorder
        self._asker = asker
        self._caller = caller
        self._clock = clock
        self._carrier = carrier
        self._batch_size = batch_size
        self._in_flight = InFlight(in_flight)

    async def execute(self, worker: str, run_ids: Sequence[str] = ()) -> WorkDone:
        """Claim runs, ask, record; returns what became of them.

        As many at once as there is room for. Where none comes free for a while, nothing is claimed and the queue is
        rung again: a message that only waits would look stuck.
        """
        parts: list[asyncio.Task[WorkDone]] = []
        try:
            await self._begin_parts(worker, tuple(run_ids), parts)
        finally:
            # Each part records what it knows before the first that failed is told.
            ended = await asyncio.gather(*parts, return_exceptions=True)
        return together(_or_raise(part) for part in ended)

    async def _begin_parts(
        self, worker: str, ids: tuple[str, ...], parts: list[asyncio.Task[WorkDone]]
    ) -> None:
        """Begin the named runs, or whatever is due, as places come free; no part waits for the end of another."""
        loop = asyncio.get_running_loop()
        most, until = min(self._in_flight.limit, self._batch_size), loop.time() + GO_ON_SECONDS
        named = bool(ids)
        while True:
            room = await self._in_flight.take(min(most, len(ids) or most), within_seconds=ROOM_SECONDS)
            if not room.places:
                await asyncio.to_thread(self._carrier.ring, Queue.AGENT_RUNS)
                return
            places = room.places
            claims = await self._claim_for(room, worker, ids[:places])
            if claims:
                parts.append(asyncio.create_task(self._execute(claims, room)))
            ids = ids[places:]
            if not ids if named else (not may_be_more(claims, places) or loop.time() > until):
                return

    async def _claim_for(self, room: Room, worker: str, run_ids: tuple[str, ...]) -> list[Claim]:
        """Claims that fill the room; it holds no more places than there are."""
        try:
            claims = await asyncio.to_thread(self._claim, worker, run_ids, room.places)
        except BaseException:
            await room.keep(0)
            raise
        await room.keep(len(claims))
        return claims

    async def _execute(self, claims: Sequence[Claim], room: Room) -> WorkDone:
        async with room:
            loaded = await asyncio.to_thread(self._load, claims)
            with batch(Queue.AGENT_RUNS, loaded):
                runs = await asyncio.to_thread(self._prepare, claims, loaded)
                return done(claims, await self._finish(runs, room))

    async def _finish(self, runs: Sequence[Run], room: Room) -> int:
        """Ask for all of them at once and record each as it becomes final; returns how many failed."""
        told = any(run.recording_is_urgent for run in runs)
        runs = await self._record_answers(runs)
        if told:
            fault_points.reached(FaultPoint.AFTER_TOLD, Queue.AGENT_RUNS)
        asking = {asyncio.create_task(self._go_on(run)) for run in await self._hand_over(runs)}
        failed = 0
        later: list[TransientError] = []
        try:
            while asking:
                answered, asking = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
                final, others = await self._record(_asked(answered, later))
                asking |= {asyncio.create_task(self._go_on(run)) for run in others}
                # A straggler keeps its own place and no other.
                await room.keep(len(asking))
                failed += sum(has_failed(run) for run in final)
        finally:
            for task in asking:
                task.cancel()
        if later:
            # Only now, when the others are recorded: what is left is given back, and done later.
            raise later[0]
        return failed

    async def _go_on(self, run: Run) -> Run:
        """Make the calls that its last answer may make, or ask a model."""
        return await (self._caller.call(run) if run.reads else self._asker.ask(run))

    def _claim(self, worker: str, run_ids: tuple[str, ...], most: int) -> list[Claim]:
        claims = self._store.claim(Queue.AGENT_RUNS, limit=most, worker=worker, step_ids=run_ids)
        if not run_ids and may_be_more(claims, most):
            self._carrier.ring(Queue.AGENT_RUNS)
        return claims

    def _load(self, claims: Sequence[Claim]) -> dict[str, Loaded]:
        tenants = sorted({claim.tenant_id for claim in claims})
        return self._recorder.load(tenants, sorted({claim.orchestration_id for claim in claims}))

    def _prepare(self, claims: Sequence[Claim], loaded: Mapping[str, Loaded]) -> list[Run]:
        """Read what the runs need, and settle those that are not to be asked."""
        tenants = sorted({claim.tenant_id for claim in claims})
        # A step that was done again begins to count its attempts anew; its fence tells that it was held before.
        chains = self._store.run_chains(tenants, [claim.step_id for claim in claims if claim.fence > 1])
        answers = self._store.contents(tenants, _needed(claims, chains, loaded))
        runs: list[Run] = []
        settled: list[Change] = []
        for claim in claims:
            one, chain = loaded.get(claim.orchestration_id), chains.get(claim.step_id, ())
            if one is None or chain is None:
                settled.append(wait_for_release(claim))
            elif one.state.closed is not None or is_final(chain):
                settled.append(Change(claim.tenant_id, claim.orchestration_id, claim))
            else:
                try:
                    runs.append(resume(claim, one, chain, answers))
                except Exception:
                    # The boundary: a run that cannot be prepared keeps none of its batch from being asked.
                    _log.exception("a run could not be prepared: %s", claim.step_id)
                    settled.append(try_again(claim))
        self._recorder.tell(self._store.commit(settled))
        return runs

    async def _record(self, runs: Sequence[Run]) -> tuple[list[Run], list[Run]]:
        """Record answers, then what they mean; returns the runs that are final, and those that ask on."""
        fault_points.reached(FaultPoint.AFTER_EFFECT_BEFORE_RECORD, Queue.AGENT_RUNS)
        runs = await self._record_answers(runs)
        # Whoever comes from a tool has nothing to interpret: its model is told what came of the call.
        answered = [run for run in runs if run.answer is not None or run.given_up is not None]
        await asyncio.to_thread(self._interpret, answered, asyncio.get_running_loop().time())
        final = [run for run in runs if ended(run)]
        if final:
            await self._end(final)
        going_on = await self._record_answers([run for run in runs if not ended(run)])
        return final, await self._hand_over(going_on)

    def _interpret(self, runs: Sequence[Run], now: float) -> None:
        at = to_text(self._clock.now())
        for run in runs:
            interpret(run, now, at)

    async def _hand_over(self, runs: Sequence[Run]) -> list[Run]:
        """Let the orchestrations judge and deliver what runs have called for; those wait without a worker.

        Returns the runs that go on here.
        """
        for run in runs:
            if run.waits:
                await self._caller.charge(run)
        waiting = [run for run in runs if run.waits]
        if waiting:
            fault_points.reached(FaultPoint.BEFORE_HAND_OVER, Queue.AGENT_RUNS)
            since = tracing.now_ns()
            recorded = await hold(lambda: self._recorder.record([handed_over(run) for run in waiting]))
            carried_on(recorded, since)
            fault_points.reached(FaultPoint.AFTER_HAND_OVER, Queue.AGENT_RUNS)
            observing.put_off(run.watched for run in waiting)
        return [run for run in runs if not run.waits]

    async def _record_answers(self, runs: Sequence[Run]) -> list[Run]:
        """Record what was paid for; returns the runs that are still this worker's to interpret."""
        urgent = [run for run in runs if run.recording_is_urgent and run.facts]
        if not urgent:
            return list(runs)
        committed = await hold(lambda: self._store.commit([change(run, settle_it=False) for run in urgent]))
        lost: set[int] = set()
        for run, verdict in zip(urgent, committed.verdicts, strict=True):
            was_recorded(run)
            if verdict is not Verdict.RECORDED:
                lost.add(id(run))
        # Whoever lost its step asks nobody any more.
        return [run for run in runs if id(run) not in lost]

    async def _end(self, runs: Sequence[Run]) -> None:
        committed = await hold(lambda: self._store.commit([change(run, settle_it=True) for run in runs]))
        fault_points.reached(FaultPoint.AFTER_RECORD, Queue.AGENT_RUNS)
        await asyncio.to_thread(self._recorder.tell, committed)
        fault_points.reached(FaultPoint.AFTER_PUBLISH, Queue.AGENT_RUNS)
        outcomes = zip(runs, committed.verdicts, strict=True)
        observing.final(
            (run.watched, run.chain[-1]) for run, verdict in outcomes if verdict is Verdict.RECORDED
        )


def _asked(done: Iterable[asyncio.Task[Run]], later: list[TransientError]) -> list[Run]:
    """The runs that were asked for; why others cannot be now is added to ``later``."""
    runs: list[Run] = []
    for task in done:
        try:
            runs.append(task.result())
        except TransientError as error:
            later.append(error)
    return runs


def _or_raise(ended: WorkDone | BaseException) -> WorkDone:
    if isinstance(ended, BaseException):
        raise ended
    return ended


def _needed(
    claims: Sequence[Claim],
    chains: Mapping[str, tuple[Recorded, ...] | None],
    loaded: Mapping[str, Loaded],
) -> list[str]:
    """The contents that runs which were begun before are taken up with."""
    facts = (one.fact for chain in chains.values() for one in chain or ())
    named = named_contents(tuple(fact for fact in facts if not isinstance(fact, ModelAsked)))
    for claim in claims:
        one = loaded.get(claim.orchestration_id)
        if one is not None:
            actions = one.state.actions_by_id
            named |= {
                actions[key].receipt_digest for key in one.state.calls_of(claim.step_id) if key in actions
            }
    return sorted(named - {""})
