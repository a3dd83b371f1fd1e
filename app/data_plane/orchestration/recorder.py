"""Recording what happened: load, let pure code carry on, commit behind the head, and tell the next queue.

Deciding happens outside the transaction. When a chain's head has moved meanwhile, that orchestration is read and
decided again; the rest of the batch is not touched by it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from app.data_plane.backoff import spread
from app.data_plane.budgets.reservations import Settlement
from app.data_plane.contents import Contents
from app.data_plane.expressions import Scope
from app.data_plane.orchestration.progress import progress, scope
from app.data_plane.orchestration.state import OrchestrationState, fold, initial
from app.data_plane.orchestration.steps import called_for, over, woken
from app.data_plane.ports import (
    Append,
    Carrier,
    Change,
    Claim,
    Committed,
    History,
    NewStep,
    Queue,
    Releases,
    Settle,
    StageCanvas,
    Store,
    Verdict,
)
from app.data_plane.replay.register import ReplayEnd
from app.kernel import fault_points
from app.kernel.errors import Fate, InterlockError, PermanentError, TransientError
from app.kernel.facts import (
    AnyFact,
    DeliveryInDoubt,
    OrchestrationClosed,
    StageStarted,
    StepGaveUp,
    StepLapsed,
)
from app.kernel.fault_points import FaultPoint
from app.kernel.release import Release

_log = logging.getLogger(__name__)

MOST_ROUNDS = 64
"""How often one batch is decided again because others wrote to the same orchestrations."""

MOST_LAPSES = 5
"""How often a step may come to nothing (its worker died, was too slow, or met a defect) before it gives up."""

RELEASE_RETRY_SECONDS = 5.0


class NewerVersionError(TransientError):
    """A newer version of Interlock wrote facts that this one does not know: its workers do the step."""

    code = "newer_version"

    def __init__(self, chain_id: str) -> None:
        super().__init__(
            f"{chain_id} holds facts that this version of Interlock does not know.",
            "Workers of the newer version go on with it; deploy it everywhere.",
        )


@dataclass(frozen=True)
class Loaded:
    """An orchestration as pure code sees it."""

    history: History
    state: OrchestrationState
    contents: Contents

    @cached_property
    def scope(self) -> Scope:
        """What its template's expressions see, made once for all of its runs."""
        return scope(self.state, self.contents)


@dataclass(frozen=True, slots=True)
class Plan:
    """What one unit of work found: outside facts, in order, with the content they refer to."""

    facts: tuple[AnyFact, ...] = ()
    contents: Mapping[str, bytes] = field(default_factory=dict)
    run: Append | None = None
    """Facts of the claimed run's own chain."""
    settlements: tuple[Settlement, ...] = ()
    settle: Settle = "finish"
    retry_in_seconds: float = 0.0
    withdraw: tuple[str, ...] = ()
    reopen: tuple[NewStep, ...] = ()
    ends_replay: ReplayEnd | None = None


Planner = Callable[[Loaded], Plan]


@dataclass(frozen=True, slots=True)
class Work:
    """One orchestration to carry on, under a claim or (for a person's request) without one."""

    tenant_id: str
    orchestration_id: str
    claim: Claim | None
    plan: Planner


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was recorded of one unit of work: the state after it and the facts that were appended."""

    work: Work
    verdict: Verdict
    facts: tuple[AnyFact, ...]
    after: Loaded | None
    """The orchestration with what was recorded; None when its release could not be loaded."""
    lapsed: bool = False
    """The step came to nothing, and is tried again later."""
    ends_replay: ReplayEnd | None = None

    @property
    def has_failed(self) -> bool:
        """Whether this step came to nothing, gave up, or ended its orchestration without what it was begun for."""
        if self.verdict is not Verdict.RECORDED:
            return False
        return self.lapsed or any(
            isinstance(fact, StepGaveUp)
            or (isinstance(fact, OrchestrationClosed) and fact.status in {"failed", "dead_lettered"})
            for fact in self.facts
        )

    @property
    def state(self) -> OrchestrationState | None:
        """The state after it."""
        return self.after.state if self.after is not None else None

    @property
    def traceparent(self) -> str | None:
        """The trace context of the orchestration."""
        return self.after.history.traceparent if self.after is not None else None


class Recorder:
    """Carries batches of orchestrations on.

    Args:
        shortcut: whether whoever makes a next step ready asks that step's queue for it at once. Without it, the
            canvases' links and the reconciler alone carry on.
    """

    def __init__(self, store: Store, releases: Releases, carrier: Carrier, *, shortcut: bool = True) -> None:
        self._store = store
        self._releases = releases
        self._carrier = carrier
        self._shortcut = shortcut

    def load(self, tenants: Sequence[str], orchestration_ids: Sequence[str]) -> dict[str, Loaded]:
        """States with the contents that decide them; orchestrations whose release cannot be loaded are absent."""
        histories = self._store.histories(tenants, orchestration_ids)
        folded: dict[str, tuple[History, OrchestrationState]] = {}
        for key, history in histories.items():
            release = self._release(history.release) if history.readable else None
            if release is not None:
                empty = initial(key, history.tenant_id, release)
                folded[key] = (history, fold(empty, history.facts))
        digests = {digest for _, state in folded.values() for digest in needed_contents(state)}
        contents = self._store.contents(tenants, sorted(digests))
        return {key: Loaded(history, state, Contents(contents)) for key, (history, state) in folded.items()}

    def record(self, works: Sequence[Work], known: Mapping[str, Loaded] | None = None) -> list[Recorded]:
        """Plan, commit, and carry on; in the works' order.

        Args:
            known: what was loaded of all these orchestrations a moment ago. It may be out of date: what is decided
                on it is recorded only behind the head that it was read at.
        """
        outcomes: dict[int, Recorded] = {}
        pending = list(enumerate(works))
        for _ in range(MOST_ROUNDS if works else 0):
            tenants = sorted({work.tenant_id for _, work in pending})
            loaded = known or self.load(tenants, sorted({work.orchestration_id for _, work in pending}))
            known = None
            drafts = [(position, work, _draft_or_set_aside(work, loaded)) for position, work in pending]
            committed = self._store.commit([draft.change for _, _, draft in drafts])
            pending = []
            for (position, work, draft), verdict in zip(drafts, committed.verdicts, strict=True):
                if verdict is Verdict.MOVED:
                    pending.append((position, work))
                else:
                    outcomes[position] = draft.recorded(work, verdict)
            fault_points.reached(FaultPoint.AFTER_RECORD, _queue(works))
            self._carry_on([draft for (_, _, draft), v in zip(drafts, committed.verdicts, strict=True)
                            if v is Verdict.RECORDED])  # fmt: skip
            self.tell(committed)
            fault_points.reached(FaultPoint.AFTER_PUBLISH, _queue(works))
            if not pending:
                break
        if not pending:
            return [outcomes[position] for position in range(len(works))]
        raise TransientError(
            f"{len(pending)} orchestrations were written by others {MOST_ROUNDS} times in a row.",
            "Nothing of them was recorded; their leases end and they are tried again.",
        )

    def tell(self, committed: Committed) -> None:
        """Ring the queues of the steps that became due because their last member is final."""
        if self._shortcut:
            for queue in sorted({queue for _, queue in committed.ready}):
                self._carrier.ring(queue)

    def _release(self, digest: str) -> Release | None:
        try:
            return self._releases.get(digest)
        except InterlockError:
            # The orchestration waits for a worker that can load its release; it is shown as waiting.
            return None

    def _carry_on(self, drafts: Sequence[_Draft]) -> None:
        for canvas in _canvases(drafts):
            self._carrier.publish(canvas)
        changes = [draft.change for draft in drafts]
        new = {step.queue for change in changes for step in change.new_steps if step.queue is Queue.DISPATCH}
        reopened = {step.queue for change in changes for step in change.reopen if not step.open_members}
        woken_ones = {Queue.AGENT_RUNS for change in changes if change.wake}
        for queue in sorted(new | reopened | woken_ones if self._shortcut else ()):
            self._carrier.ring(queue)


@dataclass(frozen=True, slots=True)
class _Draft:
    change: Change
    facts: tuple[AnyFact, ...]
    after: Loaded | None

    def recorded(self, work: Work, verdict: Verdict) -> Recorded:
        """What became of the work that this was drafted for."""
        lapsed, ends = self.change.lapsed, self.change.ends_replay
        return Recorded(work, verdict, self.facts, self.after, lapsed, ends)


def needed_contents(state: OrchestrationState) -> set[str]:
    """The digests that deciding further may read."""
    if state.started is None:
        return set()
    digests = {state.started.event_digest}
    if state.snapshot_digest is not None:
        digests.add(state.snapshot_digest)
    if state.decision is not None:
        digests.add(state.decision.outcome_digest)
    for action in state.actions_by_id.values():
        if action.status in {"authorised", "sending"}:
            digests.add(action.proposed.arguments_digest)
    # What was called for while the orchestration was about to give up is judged when it goes on.
    unjudged = [call for key, call in (state.calls or {}).items() if key not in state.actions_by_id]
    digests |= {digest for call in unjudged for digest in (call.arguments_digest, call.provenance_digest)}
    for stage in state.stages.values():
        if stage.decided is not None:
            digests.add(stage.decided.outcome_digest)
        elif stage.resolved is not None:
            digests.add(stage.resolved.outcome_digest)
        elif stage.status == "running":
            digests.update(run.proposal_digest for run in stage.runs if run.proposal_digest is not None)
    return digests


def _queue(works: Sequence[Work]) -> str:
    return next((work.claim.queue.value for work in works if work.claim is not None), "")


def _draft_or_set_aside(work: Work, loaded: Mapping[str, Loaded]) -> _Draft:
    """The boundary: one orchestration that cannot be carried on keeps none of its batch from it."""
    found = loaded.get(work.orchestration_id)
    if work.claim is not None and work.claim.lapses >= MOST_LAPSES and found is not None:
        return _give_up(work, work.claim, found, "lost_worker", work.claim.lapses)
    try:
        return _draft(work, loaded)
    except NewerVersionError:
        if work.claim is None:
            raise
        return _Draft(wait_for_release(work.claim), (), None)
    except Exception as error:
        if work.claim is None:
            raise
        _log.exception("a step could not be done: %s", work.claim.step_id)
        return _set_aside(work, work.claim, loaded[work.orchestration_id], error)


def _set_aside(work: Work, claim: Claim, found: Loaded, error: Exception) -> _Draft:
    """Try the step again later; when that cannot help, or it was tried often enough, it gives up.

    A defect is tried again, too: it may be of one worker's version only.
    """
    lapses = claim.lapses + 1
    code = error.code if isinstance(error, InterlockError) else "defect"
    if lapses >= MOST_LAPSES or (isinstance(error, InterlockError) and error.fate is Fate.PERMANENT):
        return _give_up(work, claim, found, code, lapses)
    asked_for = error.retry_after_seconds if isinstance(error, TransientError) else None
    return _Draft(try_again(claim, asked_for or 0.0), (), found)


def try_again(claim: Claim, at_least_seconds: float = 0.0) -> Change:
    """The step came to nothing: it is due again later, and counts towards giving up."""
    lapses = claim.lapses + 1
    return Change(
        tenant_id=claim.tenant_id,
        orchestration_id=claim.orchestration_id,
        claim=claim,
        settle="retry",
        retry_in_seconds=max(spread(2.0**lapses, claim.step_id, lapses), at_least_seconds),
        lapsed=True,
    )


def _give_up(work: Work, claim: Claim, found: Loaded, code: str, lapses: int) -> _Draft:
    """The step is tried no more, and the orchestration ends for a person to look at."""
    if claim.queue is Queue.REPLAY:
        # Only the replay gives up: what it is about stays as it is.
        tried = "once" if lapses == 1 else f"{lapses} times"
        end = ReplayEnd(claim.step_id, "failed", f"{code}: it was tried {tried}")
        return _draft(replace(work, plan=lambda _: Plan(ends_replay=end)), {work.orchestration_id: found})
    facts: list[AnyFact] = []
    action = found.state.actions_by_id.get(claim.step_id)
    if action is not None and action.status == "sending":
        reason = "its step gave up while an attempt was under way"
        facts.append(DeliveryInDoubt(action_id=claim.step_id, attempt=action.attempts, reason=reason))
    facts.append(StepGaveUp(step_id=claim.step_id, queue=claim.queue.value, code=code, attempts=lapses))
    return _draft(replace(work, plan=lambda _: Plan(tuple(facts))), {work.orchestration_id: found})


def _draft(work: Work, loaded: Mapping[str, Loaded]) -> _Draft:
    found = loaded.get(work.orchestration_id)
    if found is None:
        if work.claim is None:
            raise PermanentError(
                f"The release of {work.orchestration_id} cannot be loaded here.",
                "Run this with the version of Interlock that the release was published by.",
            )
        return _Draft(wait_for_release(work.claim), (), None)
    plan = work.plan(found)
    contents = Contents(found.contents.with_more(plan.contents))
    state = found.state
    facts: list[AnyFact] = []
    steps: list[NewStep] = []
    for fact in (*_lapse(work.claim, found.state), *plan.facts):
        step = progress(state, fact, contents)
        state = step.state
        facts += step.facts
        steps += called_for(state, step.facts)
    change = Change(
        tenant_id=work.tenant_id,
        orchestration_id=work.orchestration_id,
        claim=work.claim,
        orchestration=Append(work.orchestration_id, found.history.head_seq, tuple(facts)),
        contents={**plan.contents, **contents.added},
        new_steps=tuple(steps),
        run=plan.run,
        settlements=plan.settlements,
        settle=plan.settle,
        retry_in_seconds=plan.retry_in_seconds,
        withdraw=(*plan.withdraw, *over(found.state, state)),
        reopen=plan.reopen,
        ends_replay=plan.ends_replay,
        wake=woken(found.state, state, work.claim.step_id if work.claim and plan.settle == "wait" else ""),
        status=_shown(state),
    )
    history = replace(found.history, head_seq=found.history.head_seq + len(facts))
    return _Draft(change, tuple(facts), Loaded(history, state, Contents(contents.all())))


def _shown(state: OrchestrationState) -> Literal["running", "in_review", "awaiting_approval"]:
    """What its row says while it is not closed."""
    return state.status if state.status in ("in_review", "awaiting_approval") else "running"


def _lapse(claim: Claim | None, state: OrchestrationState) -> tuple[StepLapsed, ...]:
    """That the claims before this one came to nothing, if it is not recorded yet."""
    if claim is None or claim.lapses <= (state.lapses or {}).get(claim.step_id, 0):
        return ()
    return (StepLapsed(step_id=claim.step_id, queue=claim.queue.value, lapses=claim.lapses),)


def wait_for_release(claim: Claim) -> Change:
    """Leave the step for a worker that can load its release, and show that it waits."""
    return Change(
        tenant_id=claim.tenant_id,
        orchestration_id=claim.orchestration_id,
        claim=claim,
        settle="retry",
        retry_in_seconds=RELEASE_RETRY_SECONDS,
        status="waiting_for_release",
    )


def _canvases(drafts: Sequence[_Draft]) -> list[StageCanvas]:
    """One canvas for each release and stage over the whole batch."""
    groups: dict[tuple[str, str], list[_Draft]] = {}
    for draft in drafts:
        for fact in draft.facts:
            if isinstance(fact, StageStarted) and draft.after is not None:
                groups.setdefault((draft.after.history.release, fact.stage), []).append(draft)
    return [_canvas(release, stage, members) for (release, stage), members in groups.items()]


def _canvas(release: str, stage: str, drafts: Sequence[_Draft]) -> StageCanvas:
    steps = [step for draft in drafts for step in draft.change.new_steps if step.stage == stage]
    return StageCanvas(
        release=release,
        stage=stage,
        runs=tuple((step.step_id, step.orchestration_id) for step in steps if step.queue is Queue.AGENT_RUNS),
        aggregation_ids=tuple(step.step_id for step in steps if step.queue is Queue.AGGREGATION),
        orchestration_ids=tuple(draft.change.orchestration_id for draft in drafts),
    )
