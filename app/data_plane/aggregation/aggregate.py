"""``aggregate``: stages whose members are final become outcomes, and outcomes the next stage or the decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.data_plane.orchestration import observing
from app.data_plane.orchestration.recorder import Loaded, NewerVersionError, Plan, Recorder, Work
from app.data_plane.ports import Carrier, Claim, Queue, Store, may_be_more
from app.data_plane.work_done import WorkDone, done
from app.kernel.facts import ProposalMade, Recorded, RunFailed, RunFolded
from app.telemetry import tracing
from interlock.identity import run_id


class Aggregator:
    """Folds the runs' chains into the orchestrations', and decides."""

    def __init__(self, store: Store, recorder: Recorder, carrier: Carrier, *, batch_size: int) -> None:
        self._store = store
        self._recorder = recorder
        self._carrier = carrier
        self._batch_size = batch_size

    def aggregate(self, worker: str, step_ids: Sequence[str] = ()) -> WorkDone:
        """Claim stages that are ready, up to a batch, and decide them; returns what became of them."""
        claims = self._store.claim(
            Queue.AGGREGATION,
            limit=max(self._batch_size, len(step_ids)),
            worker=worker,
            step_ids=step_ids,
        )
        if not step_ids and may_be_more(claims, self._batch_size):
            self._carrier.ring(Queue.AGGREGATION)
        if not claims:
            return WorkDone()
        since = tracing.now_ns()
        tenants = sorted({claim.tenant_id for claim in claims})
        loaded = self._recorder.load(tenants, [claim.orchestration_id for claim in claims])
        runs = [run for claim in claims for run in _members(claim, loaded).values()]
        with observing.batch(Queue.AGGREGATION, loaded):
            chains = self._store.run_chains(tenants, runs)
            hashes = self._store.chain_hashes(tenants, runs)
            proposals = self._store.contents(tenants, _proposals(chains))
            recorded = self._recorder.record(
                [_work(claim, chains, hashes, proposals) for claim in claims], loaded
            )
            observing.carried_on(recorded, since)
        return done(claims, sum(one.has_failed for one in recorded))


def _members(claim: Claim, loaded: Mapping[str, Loaded]) -> dict[str, str]:
    """The stage's runs by agent."""
    one = loaded.get(claim.orchestration_id)
    if one is None:
        return {}
    agents = one.state.release.template.stage(claim.stage).agents
    return {agent: run_id(claim.orchestration_id, claim.stage, agent) for agent in agents}


def _proposals(chains: Mapping[str, tuple[Recorded, ...] | None]) -> list[str]:
    return [
        recorded.fact.proposal_digest
        for chain in chains.values()
        for recorded in chain or ()
        if isinstance(recorded.fact, ProposalMade)
    ]


def _work(
    claim: Claim,
    chains: Mapping[str, tuple[Recorded, ...] | None],
    hashes: Mapping[str, str],
    proposals: Mapping[str, bytes],
) -> Work:
    def plan(loaded: Loaded) -> Plan:
        facts: list[RunFolded] = []
        contents: dict[str, bytes] = {}
        for agent, run in _members(claim, {claim.orchestration_id: loaded}).items():
            chain = chains.get(run, ())
            if chain is None:
                raise NewerVersionError(run)
            folded = fold_run(claim.stage, agent, run, chain, hashes.get(run, ""))
            facts.append(folded)
            if folded.proposal_digest is not None:
                contents[folded.proposal_digest] = proposals[folded.proposal_digest]
        return Plan(tuple(facts), contents)

    return Work(claim.tenant_id, claim.orchestration_id, claim, plan)


def fold_run(stage: str, agent: str, run: str, chain: Sequence[Recorded], chain_hash: str) -> RunFolded:
    """One fact that stands for a run's whole chain."""
    proposal: str | None = None
    failure: str | None = "missing"
    for recorded in chain:
        match recorded.fact:
            case ProposalMade(proposal_digest=digest):
                proposal, failure = digest, None
            case RunFailed(failure=code):
                failure = code
    return RunFolded(
        stage=stage,
        agent=agent,
        run_id=run,
        proposal_digest=proposal,
        failure=failure,
        chain_length=len(chain),
        chain_hash=chain_hash,
    )
