"""The planted bugs: what each does to the product, at its ports, so that it reads as the mistake that it stands for.

Nothing of the product is imported before the product itself does: see ``planting.py``.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

from tests.faults.inside import call_bugs
from tests.faults.inside.planting import Change, Switches

ACKNOWLEDGED_BEFORE_SECONDS = 0.7
"""How long before its commit an event is acknowledged by the bug of that name."""


def change_store(module: ModuleType, bugs: Switches) -> None:
    """Bugs of what is claimed and committed."""
    store = module.PostgresqlStore
    commit, accept, claim, end_lost = store.commit, store.accept, store.claim, store.end_lost_leases

    def changed_commit(self: Any, changes: Sequence[Any]) -> Any:
        if bugs.on("skip_the_fence"):
            return _ignore_the_fence(self, changes)
        if bugs.on("send_before_intent"):
            return _commit_later(self, changes)
        if bugs.on("close_early"):
            changes = [_closed_at_the_decision(change) for change in changes]
        if bugs.on("lose_the_deliveries"):
            changes = [_without_deliveries(change) for change in changes]
        return commit(self, call_bugs.changed_calls(changes, bugs))

    def _ignore_the_fence(self: Any, changes: Sequence[Any]) -> Any:
        """A worker that was held up between reading and writing does not look whether its lease is still its own."""
        from app.data_plane.ports import Verdict

        if _starting(changes) and bugs.take("hold_up"):
            bugs.met("skip_the_fence")
            os.kill(os.getpid(), signal.SIGSTOP)
        committed = commit(self, changes)
        verdicts = (Verdict.RECORDED if one is Verdict.FENCED else one for one in committed.verdicts)
        return replace(committed, verdicts=tuple(verdicts))

    unwritten: dict[str, Any] = {}

    def _commit_later(self: Any, changes: Sequence[Any]) -> Any:
        """That an attempt is made is written together with its answer."""
        from app.data_plane.ports import Committed, Verdict

        if _starting(changes) and len(changes) == 1:
            bugs.met("send_before_intent")
            unwritten[changes[0].claim.step_id] = changes[0]
            return Committed((Verdict.RECORDED,), ())
        for change in changes:
            late = unwritten.pop(change.claim.step_id, None) if change.claim is not None else None
            if late is not None:
                commit(self, [late])
        return commit(self, changes)

    def _closed_at_the_decision(change: Any) -> Any:
        from app.kernel.facts import DecisionMade, OrchestrationClosed

        append = change.orchestration
        if append is None or not any(isinstance(fact, DecisionMade) for fact in append.facts):
            return change
        bugs.met("close_early")
        end = OrchestrationClosed(status="completed", reason="planted")
        return replace(change, orchestration=replace(append, facts=(*append.facts, end)))

    def _without_deliveries(change: Any) -> Any:
        kept = tuple(step for step in change.new_steps if step.queue != "dispatch")
        if len(kept) < len(change.new_steps):
            bugs.met("lose_the_deliveries")
        return replace(change, new_steps=kept)

    def changed_accept(self: Any, events: Sequence[Any]) -> Any:
        if bugs.on("acknowledge_before_commit") and events:
            return _accept_later(self, events)
        answers = accept(self, events)
        if bugs.on("begin_twice"):
            _begin_again(self, events, answers)
        return answers

    def _accept_later(self: Any, events: Sequence[Any]) -> Any:
        """The sender is answered before anything is written."""
        from app.data_plane.ports import Acceptance, Outcome

        def later() -> None:
            time.sleep(ACKNOWLEDGED_BEFORE_SECONDS)
            accept(self, events)

        bugs.met("acknowledge_before_commit")
        threading.Thread(target=later, daemon=True).start()
        ids = [tuple(route.orchestration_id for route in event.routes) for event in events]
        return [Acceptance(Outcome.ACCEPTED, one) for one in ids]

    def _begin_again(self: Any, events: Sequence[Any], answers: Sequence[Any]) -> None:
        """An event that came before begins anew, under the next ordinal."""
        from app.adapters.postgresql import acceptance
        from app.data_plane.ports import Outcome
        from interlock.identity import orchestration_id

        for event, answer in zip(events, answers, strict=True):
            if answer.outcome is not Outcome.DUPLICATE:
                continue
            bugs.met("begin_twice")
            ids = [
                orchestration_id(event.tenant_id, event.source, event.event_id, route.workflow, "live", 1)
                for route in event.routes
            ]
            routes = tuple(
                replace(route, ordinal=1, orchestration_id=new)
                for route, new in zip(event.routes, ids, strict=True)
            )
            with self._database.transaction([event.tenant_id]) as connection:
                acceptance._insert_orchestrations(connection, [replace(event, routes=routes)], self._clock)

    def changed_claim(self: Any, *arguments: Any, **named: Any) -> Any:
        found = claim(self, *arguments, **named)
        if bugs.on("lease_without_end") and found:
            bugs.met("lease_without_end")
            with self._database.transaction() as connection:
                connection.execute(
                    "UPDATE work_index SET due_at = 'infinity' WHERE step_id = ANY(%s) AND finished_at IS NULL",
                    [[one.step_id for one in found]],
                )
        return found

    def changed_end_lost(self: Any) -> int:
        if bugs.on("lease_without_end") or bugs.on("acknowledge_early"):
            return 0
        return int(end_lost(self))

    store.commit, store.accept = changed_commit, changed_accept
    store.claim, store.end_lost_leases = changed_claim, changed_end_lost


def change_targets(module: ModuleType, bugs: Switches) -> None:
    """Bugs of what is sent, and of what the answers are taken for."""
    deliver = module.HttpTargets.deliver

    async def changed(self: Any, deliveries: Sequence[Any]) -> list[Any]:
        if bugs.on("confirm_without_sending") and deliveries:
            from app.data_plane.ports import Receipt

            bugs.met("confirm_without_sending")
            return [Receipt("confirmed", http_status=201, body=b"{}") for _ in deliveries]
        if bugs.on("drop_the_key") and deliveries:
            bugs.met("drop_the_key")
            deliveries = [call_bugs.with_another_key(one) for one in deliveries]
        if bugs.on("change_the_arguments") and deliveries:
            bugs.met("change_the_arguments")
            deliveries = [call_bugs.with_other_arguments(one) for one in deliveries]
        receipts = await deliver(self, deliveries)
        return [_taken_for(one, receipt) for one, receipt in zip(deliveries, receipts, strict=True)]

    def _taken_for(delivery: Any, receipt: Any) -> Any:
        for name, outcome, becomes in (
            ("unknown_as_retry", "unknown", "retry"),
            ("forget_the_doubt", "unknown", "refused"),
            ("doubt_everything", "confirmed", "unknown"),
        ):
            if bugs.on(name) and receipt.outcome == outcome and delivery.target != "ledger":
                bugs.met(name)
                return replace(receipt, outcome=becomes)
        return receipt

    module.HttpTargets.deliver = changed


def change_release(module: ModuleType, bugs: Switches) -> None:
    """An attempt that nobody heard of again is made again, whatever the target is."""
    target = module.Release.target

    def changed(self: Any, name: str) -> Any:
        found = target(self, name)
        if bugs.on("retry_in_doubt") and not found.honours_keys:
            bugs.met("retry_in_doubt")
            return found.model_copy(update={"honours_keys": True})
        return found

    module.Release.target = changed


def change_carrier(module: ModuleType, bugs: Switches) -> None:
    """Nobody is told what is due."""
    ring, publish = module.CeleryCarrier.ring, module.CeleryCarrier.publish

    def changed_ring(self: Any, queue: Any) -> None:
        if bugs.on("lose_a_decision"):
            bugs.met("lose_a_decision")
            return
        ring(self, queue)

    def changed_publish(self: Any, canvas: Any) -> None:
        if not bugs.on("lose_a_decision"):
            publish(self, canvas)

    module.CeleryCarrier.ring, module.CeleryCarrier.publish = changed_ring, changed_publish


def change_reconciler(module: ModuleType, bugs: Switches) -> None:
    """Nobody looks for what is overdue."""
    reconcile = module.Reconciler.reconcile

    def changed(self: Any) -> Any:
        off = bugs.on("lose_a_decision") or bugs.on("acknowledge_early")
        return {} if off else reconcile(self)

    module.Reconciler.reconcile = changed


def change_acknowledging(module: ModuleType, bugs: Switches) -> None:
    """A message is acknowledged before its work is done."""
    on_accepted = module.Request.on_accepted

    def changed(self: Any, pid: int, time_accepted: float) -> None:
        if bugs.on("acknowledge_early"):
            bugs.met("acknowledge_early")
            self.acknowledge()
        on_accepted(self, pid, time_accepted)

    module.Request.on_accepted = changed


def _starting(changes: Sequence[Any]) -> bool:
    """Whether an attempt at a target that does not honour keys is about to be recorded as started."""
    from app.kernel.facts import DeliveryStarted

    return any(
        change.orchestration is not None
        and change.claim is not None
        and change.claim.subject != "ledger"
        and any(isinstance(fact, DeliveryStarted) for fact in change.orchestration.facts)
        for change in changes
    )


CHANGES: dict[str, Change] = {
    **call_bugs.CHANGES,
    "app.adapters.postgresql.store": change_store,
    "app.adapters.targets.http": change_targets,
    "app.kernel.release": change_release,
    "app.adapters.celery.carrier": change_carrier,
    "app.data_plane.orchestration.reconcile": change_reconciler,
    "celery.worker.request": change_acknowledging,
}
"""By the module that each changes."""
