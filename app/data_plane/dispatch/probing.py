"""Asking targets what became of actions that are in doubt, and recording what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.data_plane.dispatch import observing
from app.data_plane.dispatch.doubts import after_probe, can_be_asked, too_early_seconds
from app.data_plane.orchestration.holding import hold
from app.data_plane.orchestration.observing import carried_on
from app.data_plane.orchestration.recorder import Loaded, Plan, Recorder, Work
from app.data_plane.ports import Claim, Probe, ProbeAnswer, Targets
from app.kernel.clock import Clock
from app.kernel.errors import DefectError
from app.kernel.facts import ActionAuthorised
from app.telemetry import tracing
from interlock.canonical import digest_bytes


@dataclass(frozen=True, slots=True)
class _Question:
    """A claim on an action in doubt; without a probe it is too early to ask."""

    claim: Claim
    probe: Probe | None


class Prober:
    """Asks about actions in doubt. What it finds settles them; it never sends."""

    def __init__(self, recorder: Recorder, targets: Targets, clock: Clock) -> None:
        self._recorder = recorder
        self._targets = targets
        self._clock = clock

    async def ask(self, claims: Sequence[Claim], loaded: Mapping[str, Loaded]) -> int:
        """Ask about all of them at once; returns how many are still not known to be applied."""
        if not claims:
            return 0
        questions = [self._question(claim, loaded[claim.orchestration_id]) for claim in claims]
        since = tracing.now_ns()
        probes = [question.probe for question in questions if question.probe is not None]
        answers = await self._targets.probe(probes) if probes else []
        for probe, answer in zip(probes, answers, strict=True):
            observing.told(probe, answer, since)
        left = iter(answers)
        works = [self._work(one.claim, next(left) if one.probe is not None else None) for one in questions]
        recorded = await hold(lambda: self._recorder.record(works, loaded))
        carried_on(recorded, since)
        return len(claims) - sum(answer.answer == "applied" for answer in answers)

    def _question(self, claim: Claim, loaded: Loaded) -> _Question:
        action = loaded.state.actions_by_id[claim.step_id]
        proposed = action.proposed
        target = loaded.state.release.target(proposed.target)
        if target.probe_path is None or not isinstance(proposed, ActionAuthorised):
            raise DefectError(f"The action {claim.step_id} cannot be asked about.")
        if too_early_seconds(action, target, loaded.history.facts, self._clock.now()) > 0:
            return _Question(claim, None)
        return _Question(
            claim,
            Probe(
                tenant_id=claim.tenant_id,
                target=proposed.target,
                action_id=claim.step_id,
                event_id=loaded.state.started.event_id if loaded.state.started is not None else "",
                orchestration_id=claim.orchestration_id,
                idempotency_key=proposed.idempotency_key,
                path=target.probe_path,
                timeout_seconds=target.timeout_seconds,
                traceparent=loaded.history.traceparent,
            ),
        )

    def _work(self, claim: Claim, answer: ProbeAnswer | None) -> Work:
        answered_at = self._clock.now()

        def plan(loaded: Loaded) -> Plan:
            state, facts = loaded.state, loaded.history.facts
            if not can_be_asked(state, claim.step_id):
                return Plan()
            action = state.actions_by_id[claim.step_id]
            target = state.release.target(action.proposed.target)
            if answer is None:
                wait = too_early_seconds(action, target, facts, answered_at)
                return Plan(settle="retry", retry_in_seconds=wait)
            after = after_probe(action, target, facts, answer, answered_at)
            contents = {digest_bytes(answer.body): answer.body}
            if after.retry_in_seconds is None:
                return Plan((after.fact,), contents)
            return Plan((after.fact,), contents, settle="retry", retry_in_seconds=after.retry_in_seconds)

        return Work(claim.tenant_id, claim.orchestration_id, claim, plan)
