"""``deliver``: actions are sent, and what the target answered is recorded.

That an attempt is about to be made is committed before it is made. At a target that honours keys a batch shares one
commit and is sent at once: whatever breaks, sending again with the same key is harmless. At any other target it is one
intent, one commit, one call, and an attempt that nobody heard of again is in doubt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.data_plane.dispatch import observing
from app.data_plane.dispatch.attempts import after_receipt, before_attempt
from app.data_plane.orchestration.observing import batch, carried_on
from app.data_plane.orchestration.recorder import Loaded, Plan, Planner, Recorded, Recorder, Work
from app.data_plane.ports import Carrier, Claim, Delivery, Queue, Receipt, Store, Targets, Verdict
from app.kernel.errors import DefectError
from app.kernel.facts import ActionAuthorised, DeliveryStarted
from app.kernel.release import Target
from app.telemetry import tracing
from app.telemetry.tracing import Keys, OpenSpan
from interlock.canonical import digest_bytes

ALONE_AT_ONCE = 4
"""Deliveries in flight at once to targets that do not honour keys: as many as one crash may leave in doubt."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt whose start is committed."""

    claim: Claim
    target: Target
    delivery: Delivery
    span: OpenSpan | None
    started: Loaded
    """The orchestration as it was left by that commit."""


class Dispatcher:
    """Delivers the actions that the policy permitted."""

    def __init__(
        self, store: Store, recorder: Recorder, targets: Targets, carrier: Carrier, *, batch_size: int
    ) -> None:
        self._store = store
        self._recorder = recorder
        self._targets = targets
        self._carrier = carrier
        self._batch_size = batch_size

    async def deliver(
        self, worker: str, action_ids: Sequence[str] = (), orchestration_ids: Sequence[str] = ()
    ) -> tuple[int, int]:
        """Claim deliveries that are due (the named ones, those of the orchestrations, or whoever's) and make them.

        Returns how many were claimed, and how many of them were not confirmed.
        """
        claims = await asyncio.to_thread(self._claim, worker, tuple(action_ids), tuple(orchestration_ids))
        if not claims:
            return 0, 0
        loaded = await asyncio.to_thread(self._load, claims)
        with batch(Queue.DISPATCH, loaded):
            return len(claims), await self._deliver(claims, loaded)

    async def _deliver(self, claims: Sequence[Claim], loaded: Mapping[str, Loaded]) -> int:
        together, alone = _divide(claims, loaded)
        permits = asyncio.Semaphore(ALONE_AT_ONCE)

        async def one_by_one(claim: Claim) -> int:
            async with permits:
                return await self._attempt([claim], loaded)

        counts = await asyncio.gather(
            self._attempt(together, loaded), *(one_by_one(claim) for claim in alone)
        )
        return sum(counts)

    def _claim(self, worker: str, actions: Sequence[str], orchestrations: Sequence[str]) -> list[Claim]:
        named = len(actions) + len(orchestrations)
        limit = max(self._batch_size, 4 * named)
        claims = self._store.claim(
            Queue.DISPATCH, limit=limit, worker=worker, step_ids=actions, orchestration_ids=orchestrations
        )
        if not named and len(claims) == limit:
            self._carrier.ring(Queue.DISPATCH)
        return claims

    def _load(self, claims: Sequence[Claim]) -> dict[str, Loaded]:
        tenants = sorted({claim.tenant_id for claim in claims})
        return self._recorder.load(tenants, sorted({claim.orchestration_id for claim in claims}))

    async def _attempt(self, claims: Sequence[Claim], loaded: Mapping[str, Loaded]) -> int:
        if not claims:
            return 0
        attempts = await asyncio.to_thread(self._start, claims, loaded)
        receipts = await self._targets.deliver([attempt.delivery for attempt in attempts])
        for attempt, receipt in zip(attempts, receipts, strict=True):
            observing.answered(attempt.span, attempt.delivery, receipt)
        await asyncio.to_thread(self._finish, attempts, receipts)
        return sum(receipt.outcome != "confirmed" for receipt in receipts)

    def _start(self, claims: Sequence[Claim], loaded: Mapping[str, Loaded]) -> list[Attempt]:
        """Commit the intent of each attempt; what may not or need not be sent is settled here."""
        since = tracing.now_ns()
        recorded = self._recorder.record(
            [Work(claim.tenant_id, claim.orchestration_id, claim, _start_plan(claim)) for claim in claims],
            loaded,
        )
        carried_on(recorded, since)
        return [_attempt_of(one) for one in recorded if _is_started(one)]

    def _finish(self, attempts: Sequence[Attempt], receipts: Sequence[Receipt]) -> None:
        since = tracing.now_ns()
        recorded = self._recorder.record(
            [_finish_work(attempt, receipt) for attempt, receipt in zip(attempts, receipts, strict=True)],
            _newest(attempts),
        )
        carried_on(recorded, since)


def _divide(claims: Sequence[Claim], loaded: Mapping[str, Loaded]) -> tuple[list[Claim], list[Claim]]:
    """Those to targets that honour keys, and the others, among them those whose release cannot be loaded."""
    together: list[Claim] = []
    alone: list[Claim] = []
    for claim in claims:
        one = loaded.get(claim.orchestration_id)
        honours = one is not None and one.state.release.target(claim.subject).honours_keys
        (together if honours else alone).append(claim)
    return together, alone


def _start_plan(claim: Claim) -> Planner:
    def plan(loaded: Loaded) -> Plan:
        fact = before_attempt(loaded.state, claim.step_id)
        if fact is None:
            return Plan()
        return Plan((fact,), settle="keep" if isinstance(fact, DeliveryStarted) else "finish")

    return plan


def _finish_work(attempt: Attempt, receipt: Receipt) -> Work:
    def plan(_loaded: Loaded) -> Plan:
        after = after_receipt(attempt.delivery, attempt.target, receipt)
        contents = {digest_bytes(receipt.body): receipt.body}
        if after.retry_in_seconds is not None:
            return Plan((after.fact,), settle="retry", retry_in_seconds=after.retry_in_seconds)
        return Plan((after.fact,), contents)

    return Work(attempt.claim.tenant_id, attempt.claim.orchestration_id, attempt.claim, plan)


def _newest(attempts: Sequence[Attempt]) -> dict[str, Loaded]:
    """The orchestrations as they were left by the last of their attempts that was started."""
    in_order = sorted(attempts, key=lambda attempt: attempt.started.history.head_seq)
    return {attempt.claim.orchestration_id: attempt.started for attempt in in_order}


def _is_started(one: Recorded) -> bool:
    return one.verdict is Verdict.RECORDED and any(isinstance(fact, DeliveryStarted) for fact in one.facts)


def _attempt_of(one: Recorded) -> Attempt:
    claim, after = one.work.claim, one.after
    if claim is None or after is None:
        raise DefectError("A delivery was started without a claim or a state.")
    state = after.state
    action = state.actions_by_id[claim.step_id].proposed
    if not isinstance(action, ActionAuthorised):
        raise DefectError(f"The action {claim.step_id} was started though the policy denied it.")
    target = state.release.target(action.target)
    event_id = state.started.event_id if state.started is not None else ""
    attempt = state.actions_by_id[claim.step_id].attempts
    keys = Keys(claim.tenant_id, event_id, claim.orchestration_id)
    span = observing.begin(keys, action, attempt, one.traceparent)
    delivery = Delivery(
        tenant_id=claim.tenant_id,
        target=action.target,
        action_id=action.action_id,
        orchestration_id=claim.orchestration_id,
        event_id=event_id,
        tool=action.tool,
        idempotency_key=action.idempotency_key,
        arguments=after.contents.body(action.arguments_digest),
        timeout_seconds=target.timeout_seconds,
        attempt=attempt,
        traceparent=span.traceparent if span is not None else one.traceparent,
    )
    return Attempt(claim, target, delivery, span, after)
