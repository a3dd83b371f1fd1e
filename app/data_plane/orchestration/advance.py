"""``advance``: from accepted events to their first stage, and from waits for people to their end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.data_plane.expressions import ExpressionError, Scope
from app.data_plane.orchestration import observing
from app.data_plane.orchestration.decide import TakeSnapshot, outstanding
from app.data_plane.orchestration.recorder import MOST_LAPSES, Loaded, Plan, Recorder, Work
from app.data_plane.ports import Carrier, Claim, LookupRequest, Lookups, Queue, Store, may_be_more
from app.data_plane.work_done import WorkDone, done
from app.kernel.facts import ApprovalExpired, ReviewExpired, SnapshotTaken
from app.telemetry import tracing
from interlock.canonical import JsonValue, canonical_bytes, digest_bytes


class Advancer:
    """Takes state snapshots and starts the first stages; ends waits for people that have lasted long enough."""

    def __init__(
        self, store: Store, recorder: Recorder, lookups: Lookups, carrier: Carrier, *, batch_size: int
    ) -> None:
        self._store = store
        self._recorder = recorder
        self._lookups = lookups
        self._carrier = carrier
        self._batch_size = batch_size

    def advance(self, worker: str, step_ids: Sequence[str] = ()) -> WorkDone:
        """Claim what is due, up to a batch, and carry it on; returns what became of it."""
        claims = self._store.claim(
            Queue.ORCHESTRATION, limit=self._batch_size, worker=worker, step_ids=step_ids
        )
        if may_be_more(claims, self._batch_size):
            # More may be due than one batch: another worker need not wait for this one.
            self._carrier.ring(Queue.ORCHESTRATION)
        if not claims:
            return WorkDone()
        since = tracing.now_ns()
        tenants = sorted({claim.tenant_id for claim in claims})
        loaded = self._recorder.load(tenants, [claim.orchestration_id for claim in claims])
        with observing.batch(Queue.ORCHESTRATION, loaded):
            snapshots = self._take_snapshots(_tried_on(claims, loaded))
            recorded = self._recorder.record([self._work(claim, snapshots) for claim in claims], loaded)
            observing.carried_on(recorded, since)
        return done(claims, sum(one.has_failed for one in recorded))

    def _work(self, claim: Claim, snapshots: Mapping[str, bytes | Exception]) -> Work:
        def plan(loaded: Loaded) -> Plan:
            if claim.stage:
                return _expire(loaded, claim.stage)
            if claim.subject:
                return _expire_approval(loaded, claim.subject)
            body = snapshots.get(claim.orchestration_id)
            if isinstance(body, Exception):
                raise body
            if body is None or TakeSnapshot() not in outstanding(loaded.state):
                return Plan()
            digest = digest_bytes(body)
            return Plan((SnapshotTaken(snapshot_digest=digest),), {digest: body})

        return Work(claim.tenant_id, claim.orchestration_id, claim, plan)

    def _take_snapshots(self, loaded: Mapping[str, Loaded]) -> dict[str, bytes | Exception]:
        """Answer all lookups in one go; by orchestration: the snapshot's canonical bytes, or why there is none."""
        wanted: list[tuple[str, str, LookupRequest]] = []
        snapshots: dict[str, dict[str, JsonValue]] = {}
        failed: dict[str, Exception] = {}
        for key, one in loaded.items():
            if TakeSnapshot() not in outstanding(one.state):
                continue
            try:
                questions = _questions(one)
            except Exception as error:
                # The boundary: what cannot be asked of one orchestration keeps none of its batch from going on.
                failed[key] = error
                continue
            snapshots[key] = {}
            for name, request in questions:
                if isinstance(request, ExpressionError):
                    snapshots[key][name] = {"error": request.reason}
                else:
                    wanted.append((key, name, request))
        answers = self._lookups.answer([request for _, _, request in wanted]) if wanted else []
        for (key, name, _), answer in zip(wanted, answers, strict=True):
            snapshots[key][name] = answer
        return {**failed, **{key: canonical_bytes(snapshot) for key, snapshot in snapshots.items()}}


def _expire(loaded: Loaded, stage: str) -> Plan:
    """The wait for a person ends; whoever answered first, or ended the orchestration, was faster than this."""
    one = loaded.state.stages.get(stage)
    waits = loaded.state.closed is None and one is not None and one.awaits_a_person
    return Plan((ReviewExpired(stage=stage),)) if waits else Plan()


def _expire_approval(loaded: Loaded, action_id: str) -> Plan:
    """The wait for people's consent ends; whoever answered last, or ended the orchestration, was faster than this."""
    action = loaded.state.actions_by_id.get(action_id)
    waits = loaded.state.closed is None and action is not None and action.awaits_people
    return Plan((ApprovalExpired(action_id=action_id),)) if waits else Plan()


def _tried_on(claims: Sequence[Claim], loaded: Mapping[str, Loaded]) -> dict[str, Loaded]:
    """Those that do not give up now: of the others nothing is evaluated, as that may be what ends their workers."""
    tried = {claim.orchestration_id for claim in claims if claim.lapses < MOST_LAPSES}
    return {key: one for key, one in loaded.items() if key in tried}


def _questions(loaded: Loaded) -> list[tuple[str, LookupRequest | ExpressionError]]:
    state = loaded.state
    if state.started is None:
        return []
    if not state.release.template.lookups:
        return []
    known = Scope({"event": loaded.contents.value(state.started.event_digest)})
    questions: list[tuple[str, LookupRequest | ExpressionError]] = []
    for lookup in state.release.template.lookups:
        arguments: dict[str, JsonValue] = {}
        failed: ExpressionError | None = None
        for name, expression in lookup.arguments.items():
            value = known.evaluate(expression)
            if isinstance(value, ExpressionError):
                failed = value
            else:
                arguments[name] = value
        request = LookupRequest(state.tenant_id, lookup.tool, arguments)
        questions.append((lookup.name, failed or request))
    return questions
