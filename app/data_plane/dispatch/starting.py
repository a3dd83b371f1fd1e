"""Starting attempts: what is committed before anything is sent, and how a repeated commit knows its own start again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from app.data_plane.dispatch import observing
from app.data_plane.dispatch.attempts import SEND_WITHIN_SECONDS, before_attempt, last_sent_at
from app.data_plane.dispatch.doubts import first_probe_seconds, will_be_asked
from app.data_plane.orchestration.recorder import Loaded, Plan, Recorded
from app.data_plane.ports import Claim, Delivery, Verdict
from app.data_plane.tools import carried, outgoing
from app.data_plane.tools.calling import Carried
from app.kernel.clock import Clock
from app.kernel.errors import DefectError
from app.kernel.facts import ActionAuthorised, DeliveryInDoubt, DeliveryStarted
from app.kernel.release import Target
from app.telemetry.tracing import Keys, OpenSpan


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt whose start is committed."""

    claim: Claim
    target: Target
    delivery: Delivery
    span: OpenSpan | None
    started: Loaded
    """The orchestration as it was left by that commit."""
    started_at: datetime
    """Not after the start was recorded."""

    def is_late(self, now: datetime) -> bool:
        """Whether it is too late to send it: its lease might end first."""
        return (now - self.started_at).total_seconds() > SEND_WITHIN_SECONDS


class Intent:
    """That an attempt be started under a claim, however often its commit has to be repeated.

    When the connection broke while it committed, nobody knows whether the start is recorded. Under a fence that is
    still held a start that was planned here is then this intent's own: no other can have recorded it.
    """

    def __init__(self, claim: Claim, claimed_at: datetime, clock: Clock) -> None:
        self.claim = claim
        self._clock = clock
        self._lease_ends = claimed_at + timedelta(seconds=claim.lease_seconds)
        self._planned: int | None = None
        self._carried: Carried | None = None
        self._started_at = claimed_at

    def plan(self, loaded: Loaded) -> Plan:
        """What to record before anything is sent."""
        now = self._clock.now()
        facts, step_id = loaded.history.facts, self.claim.step_id
        if self._is_own_start(loaded):
            self._started_at = last_sent_at(facts, step_id) or self._started_at
            return Plan(settle="keep")
        if now > self._lease_ends:
            return self.give_back(loaded)
        fact = before_attempt(loaded.state, step_id, facts, now)
        if isinstance(fact, DeliveryStarted):
            # What cannot be made into a message is found out before anybody believes that it was sent.
            self._carried = _carried(loaded, step_id)
            self._planned, self._started_at = fact.attempt, now
            return Plan((fact,), settle="keep")
        if isinstance(fact, DeliveryInDoubt):
            target = loaded.state.release.target(self.claim.subject)
            if will_be_asked(loaded.state, target, step_id):
                wait = first_probe_seconds(target, last_sent_at(facts, step_id), now, heard=False)
                return Plan((fact,), settle="retry", retry_in_seconds=wait)
        return Plan() if fact is None else Plan((fact,))

    def give_back(self, _loaded: Loaded) -> Plan:
        """Begin nothing; the step is due again at once."""
        return Plan(settle="retry")

    def attempt(self, recorded: Recorded) -> Attempt | None:
        """The attempt that may be sent now; None when none was started."""
        after = recorded.after
        if recorded.verdict is not Verdict.RECORDED or after is None or not self._is_own_start(after):
            return None
        action = after.state.actions_by_id[self.claim.step_id]
        proposed = action.proposed
        message = self._carried
        if not isinstance(proposed, ActionAuthorised) or message is None:
            raise DefectError(f"The action {self.claim.step_id} was started though the policy denied it.")
        target = after.state.release.target(proposed.target)
        event_id = after.state.started.event_id if after.state.started is not None else ""
        keys = Keys(self.claim.tenant_id, event_id, self.claim.orchestration_id)
        span = observing.begin(keys, self.claim, action, recorded.traceparent)
        delivery = Delivery(
            tenant_id=self.claim.tenant_id,
            target=proposed.target,
            action_id=proposed.action_id,
            orchestration_id=self.claim.orchestration_id,
            event_id=event_id,
            tool=proposed.tool,
            idempotency_key=proposed.idempotency_key,
            path=message.path,
            headers=message.headers,
            body=message.body,
            timeout_seconds=target.timeout_seconds,
            attempt=action.attempts,
            traceparent=span.traceparent if span is not None else recorded.traceparent,
        )
        return Attempt(self.claim, target, delivery, span, after, self._started_at)

    def _is_own_start(self, loaded: Loaded) -> bool:
        action = loaded.state.actions_by_id.get(self.claim.step_id)
        return action is not None and action.status == "sending" and action.attempts == self._planned


def _carried(loaded: Loaded, action_id: str) -> Carried:
    """What is posted: the tool's message of exactly the recorded arguments, with the key where the release puts it."""
    proposed = loaded.state.actions_by_id[action_id].proposed
    if not isinstance(proposed, ActionAuthorised):
        raise DefectError(f"The action {action_id} is not authorised.")
    spec = loaded.state.release.tools.get(proposed.tool)
    wanted = outgoing(proposed.tool, loaded.contents.object(proposed.arguments_digest))
    return carried(wanted, spec.idempotency if spec is not None else "header", proposed.idempotency_key)


def turn_seconds(claim: Claim, loaded: Loaded | None) -> float:
    """How long a claimed step may wait for its turn: the rest of its lease is for the attempt and its record."""
    spare = claim.lease_seconds
    if loaded is not None:
        spare -= loaded.state.release.target(claim.subject).timeout_seconds
    return max(0.0, spare) / 3
