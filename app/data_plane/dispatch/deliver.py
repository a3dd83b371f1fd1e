"""``deliver``: actions are sent, and what the target answered is recorded.

That an attempt is about to be made is committed before it is made. At a target that honours keys a batch shares one
commit and is sent at once: whatever breaks, sending again with the same key is harmless, while the target keeps the
key. At any other target it is one intent, one commit, one call, and an attempt that nobody heard of again is in doubt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from app.data_plane.dispatch import observing
from app.data_plane.dispatch.attempts import after_receipt
from app.data_plane.dispatch.doubts import can_be_asked, first_probe_seconds, will_be_asked
from app.data_plane.dispatch.probing import Prober
from app.data_plane.dispatch.starting import Attempt, Intent, turn_seconds
from app.data_plane.orchestration.holding import hold
from app.data_plane.orchestration.observing import batch, carried_on
from app.data_plane.orchestration.recorder import Loaded, Plan, Planner, Recorder, Work
from app.data_plane.ports import Carrier, Claim, Queue, Receipt, Store, Targets, may_be_more
from app.data_plane.work_done import WorkDone, done
from app.kernel import fault_points
from app.kernel.clock import Clock
from app.kernel.facts import DeliveryConfirmed, DeliveryInDoubt
from app.kernel.fault_points import FaultPoint
from app.telemetry import tracing
from interlock.canonical import digest_bytes

ALONE_AT_ONCE = 4
"""Deliveries in flight at once to targets that do not honour keys: as many as one crash may leave in doubt."""


@dataclass(slots=True)
class _Divided:
    """A batch of claims, by what is to be done about them."""

    together: list[Intent] = field(default_factory=list)
    """To targets that honour keys."""
    alone: list[Intent] = field(default_factory=list)
    """To the others, and those whose release cannot be loaded."""
    doubtful: list[Claim] = field(default_factory=list)
    """Whose targets are asked."""


class Dispatcher:
    """Delivers the actions that the policy permitted, and asks about those that are in doubt."""

    def __init__(
        self,
        store: Store,
        recorder: Recorder,
        targets: Targets,
        carrier: Carrier,
        clock: Clock,
        *,
        batch_size: int,
    ) -> None:
        self._store = store
        self._recorder = recorder
        self._targets = targets
        self._carrier = carrier
        self._clock = clock
        self._batch_size = batch_size
        self._prober = Prober(recorder, targets, clock)

    async def deliver(
        self, worker: str, action_ids: Sequence[str] = (), orchestration_ids: Sequence[str] = ()
    ) -> WorkDone:
        """Claim deliveries that are due (the named ones, those of the orchestrations, or whoever's) and make them.

        Returns what became of them; one that was not confirmed counts as failed.
        """
        claimed_at = self._clock.now()
        claims = await asyncio.to_thread(self._claim, worker, tuple(action_ids), tuple(orchestration_ids))
        if not claims:
            return WorkDone()
        loaded = await asyncio.to_thread(self._load, claims)
        with batch(Queue.DISPATCH, loaded):
            return done(claims, await self._deliver(self._divide(claims, loaded, claimed_at), loaded))

    async def _deliver(self, divided: _Divided, loaded: Mapping[str, Loaded]) -> int:
        permits = asyncio.Semaphore(ALONE_AT_ONCE)
        # All are waited for, whatever one of them raises: a failed message's leases are given back, and with them
        # those of the attempts that are still under way.
        outcomes = await asyncio.gather(
            self._attempt(divided.together, loaded),
            self._prober.ask(divided.doubtful, loaded),
            *(self._in_turn(intent, loaded, permits) for intent in divided.alone),
            return_exceptions=True,
        )
        unconfirmed = 0
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
            unconfirmed += outcome
        return unconfirmed

    async def _in_turn(self, intent: Intent, loaded: Mapping[str, Loaded], permits: asyncio.Semaphore) -> int:
        """One attempt alone; a step whose turn does not come in time is given back instead."""
        wait = turn_seconds(intent.claim, loaded.get(intent.claim.orchestration_id))
        try:
            async with asyncio.timeout(wait):
                await permits.acquire()
        except TimeoutError:
            await hold(lambda: self._recorder.record([_work(intent, intent.give_back)], loaded))
            self._carrier.ring(Queue.DISPATCH)
            return 1
        try:
            return await self._attempt([intent], loaded)
        finally:
            permits.release()

    def _claim(self, worker: str, actions: Sequence[str], orchestrations: Sequence[str]) -> list[Claim]:
        named = len(actions) + len(orchestrations)
        limit = max(self._batch_size, 4 * named)
        claims = self._store.claim(
            Queue.DISPATCH, limit=limit, worker=worker, step_ids=actions, orchestration_ids=orchestrations
        )
        if not named and may_be_more(claims, limit):
            self._carrier.ring(Queue.DISPATCH)
        return claims

    def _load(self, claims: Sequence[Claim]) -> dict[str, Loaded]:
        tenants = sorted({claim.tenant_id for claim in claims})
        return self._recorder.load(tenants, sorted({claim.orchestration_id for claim in claims}))

    def _divide(
        self, claims: Sequence[Claim], loaded: Mapping[str, Loaded], claimed_at: datetime
    ) -> _Divided:
        divided = _Divided()
        for claim in claims:
            one = loaded.get(claim.orchestration_id)
            intent = Intent(claim, claimed_at, self._clock)
            if one is None:
                divided.alone.append(intent)
            elif can_be_asked(one.state, claim.step_id):
                divided.doubtful.append(claim)
            else:
                honours = one.state.release.target(claim.subject).honours_keys
                (divided.together if honours else divided.alone).append(intent)
        return divided

    async def _attempt(self, intents: Sequence[Intent], loaded: Mapping[str, Loaded]) -> int:
        if not intents:
            return 0
        attempts = await hold(lambda: self._start(intents, loaded))
        if not attempts:
            return 0
        fault_points.reached(FaultPoint.BEFORE_EFFECT, Queue.DISPATCH)
        receipts = await self._send(attempts)
        for attempt, receipt in zip(attempts, receipts, strict=True):
            observing.answered(attempt.span, attempt.delivery, receipt)
        fault_points.reached(FaultPoint.AFTER_EFFECT_BEFORE_RECORD, Queue.DISPATCH)
        await hold(lambda: self._finish(attempts, receipts))
        return sum(receipt.outcome != "confirmed" for receipt in receipts)

    async def _send(self, attempts: Sequence[Attempt]) -> list[Receipt]:
        now = self._clock.now()
        in_time = [attempt.delivery for attempt in attempts if not attempt.is_late(now)]
        answers = iter(await self._targets.deliver(in_time) if in_time else [])
        late = Receipt("retry", reason="not_sent_in_time")
        return [late if attempt.is_late(now) else next(answers) for attempt in attempts]

    def _start(self, intents: Sequence[Intent], loaded: Mapping[str, Loaded]) -> list[Attempt]:
        """Commit the intent of each attempt; what may not or need not be sent is settled here."""
        since = tracing.now_ns()
        recorded = self._recorder.record([_work(intent, intent.plan) for intent in intents], loaded)
        carried_on(recorded, since)
        started = (intent.attempt(one) for intent, one in zip(intents, recorded, strict=True))
        return [attempt for attempt in started if attempt is not None]

    def _finish(self, attempts: Sequence[Attempt], receipts: Sequence[Receipt]) -> None:
        since = tracing.now_ns()
        recorded = self._recorder.record(
            [
                self._finish_work(attempt, receipt)
                for attempt, receipt in zip(attempts, receipts, strict=True)
            ],
            _newest(attempts),
        )
        carried_on(recorded, since)

    def _finish_work(self, attempt: Attempt, receipt: Receipt) -> Work:
        def plan(loaded: Loaded) -> Plan:
            delivery, target = attempt.delivery, attempt.target
            action = loaded.state.actions_by_id[delivery.action_id]
            cancelled = loaded.state.cancelled_by is not None
            after = after_receipt(delivery, action, target, receipt, cancelled=cancelled)
            wait = after.retry_in_seconds
            if isinstance(after.fact, DeliveryInDoubt) and will_be_asked(
                loaded.state, target, delivery.action_id
            ):
                wait = first_probe_seconds(target, attempt.started_at, self._clock.now(), heard=True)
            confirmed = isinstance(after.fact, DeliveryConfirmed)
            contents = {digest_bytes(receipt.body): receipt.body} if confirmed else {}
            if wait is None:
                return Plan((after.fact,), contents)
            return Plan((after.fact,), contents, settle="retry", retry_in_seconds=wait)

        return Work(attempt.claim.tenant_id, attempt.claim.orchestration_id, attempt.claim, plan)


def _work(intent: Intent, planner: Planner) -> Work:
    return Work(intent.claim.tenant_id, intent.claim.orchestration_id, intent.claim, planner)


def _newest(attempts: Sequence[Attempt]) -> dict[str, Loaded]:
    """The orchestrations as they were left by the last of their attempts that was started."""
    in_order = sorted(attempts, key=lambda attempt: attempt.started.history.head_seq)
    return {attempt.claim.orchestration_id: attempt.started for attempt in in_order}
