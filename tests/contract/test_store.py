"""The contract of the ``Store`` port, kept by PostgreSQL and by the store in memory alike."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest
import rfc8785

from app.adapters.memory.store import MemoryStore
from app.adapters.postgresql.database import Database
from app.adapters.postgresql.store import PostgresqlStore
from app.data_plane.ports import (
    AcceptedEvent,
    Append,
    Change,
    Claim,
    NewStep,
    Outcome,
    Queue,
    Store,
    Verdict,
)
from app.kernel.clock import SystemClock
from app.kernel.facts import (
    AnyFact,
    CancelRequested,
    OrchestrationClosed,
    OrchestrationStarted,
    ProposalMade,
    RunFailed,
    SnapshotTaken,
)
from interlock.canonical import digest_bytes
from interlock.identity import advance_id
from tests.accepted_events import accepted_event, orchestration_of
from tests.eventually import assert_eventually

DEMO = ("demo",)
SNAPSHOT = SnapshotTaken(snapshot_digest="0" * 64)
SHORT_LEASE = 0.2


@pytest.fixture(params=["memory", "postgresql"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """One store of each kind, empty."""
    if request.param == "memory":
        yield MemoryStore()
        return
    database = Database(request.getfixturevalue("fresh_database"), "interlock_worker")
    yield PostgresqlStore(database, SystemClock())
    database.close()


def accept(store: Store, *events: AcceptedEvent) -> list[str]:
    """Accept events; returns their orchestrations."""
    store.accept(events)
    return [orchestration_of(event) for event in events]


def advance(store: Store, orchestration: str) -> Claim:
    """The claim of an accepted orchestration's first step."""
    (claim,) = store.claim(Queue.ORCHESTRATION, limit=1, worker="w", step_ids=[advance_id(orchestration)])
    return claim


def change(of: str, **more: object) -> Change:
    return Change(tenant_id="demo", orchestration_id=of, **more)  # type: ignore[arg-type]


def append(orchestration: str, expected: int, *facts: AnyFact) -> Append:
    return Append(orchestration, expected, facts)


def verdict(store: Store, one: Change) -> Verdict:
    (answer,) = store.commit([one]).verdicts
    return answer


def facts(store: Store, orchestration: str) -> list[AnyFact]:
    return [recorded.fact for recorded in store.histories(DEMO, [orchestration])[orchestration].facts]


def add_steps(store: Store, orchestration: str, *steps: NewStep) -> None:
    assert verdict(store, change(orchestration, new_steps=steps)) is Verdict.RECORDED


def run(orchestration: str, name: str = "run_1", **more: object) -> NewStep:
    return NewStep(name, "demo", orchestration, Queue.AGENT_RUNS, stage="classify", subject="alpha", **more)  # type: ignore[arg-type]


def claim_run(store: Store, name: str = "run_1", worker: str = "w") -> list[Claim]:
    return store.claim(Queue.AGENT_RUNS, limit=10, worker=worker, step_ids=[name])


def claim_when_the_lease_ends(store: Store) -> list[Claim]:
    """The run's next claim, by another worker."""
    claimed: list[Claim] = []

    def try_to_claim() -> bool:
        claimed.extend(claim_run(store, worker="other"))
        return bool(claimed)

    assert_eventually(try_to_claim, what="the lease ends")
    return claimed


class TestAccepting:
    """An event is recorded once, with everything that follows from it, or not at all."""

    def test_a_new_event_is_recorded_with_its_content_its_orchestration_and_its_first_step(
        self, store: Store
    ) -> None:
        event = accepted_event("1", release="ab" * 32)
        (answer,) = store.accept([event])
        assert (answer.outcome, answer.orchestration_ids) == (Outcome.ACCEPTED, (orchestration_of(event),))
        history = store.histories(DEMO, [orchestration_of(event)])[orchestration_of(event)]
        assert (history.tenant_id, history.release, history.head_seq) == ("demo", "ab" * 32, 1)
        (started,) = facts(store, orchestration_of(event))
        assert isinstance(started, OrchestrationStarted)
        assert (started.event_id, started.raw_digest) == ("1", digest_bytes(event.raw))
        found = store.contents(DEMO, [started.raw_digest, started.event_digest])
        assert set(found.values()) == {event.raw, event.normalised}
        assert advance(store, orchestration_of(event)).fence == 1

    def test_the_same_event_again_is_a_duplicate_with_the_same_orchestrations(self, store: Store) -> None:
        first = store.accept([accepted_event("1")])[0]
        again = store.accept([replace(accepted_event("1"), raw=b"{}")])[0]
        assert (again.outcome, again.orchestration_ids) == (Outcome.DUPLICATE, first.orchestration_ids)
        assert len(facts(store, first.orchestration_ids[0])) == 1
        assert len(store.claim(Queue.ORCHESTRATION, limit=9, worker="w")) == 1

    @pytest.mark.parametrize("difference", [{"type": "dev.interlock.check"}, {"data_digest": "1" * 64}])
    def test_the_same_id_with_another_type_or_other_data_is_a_conflict(
        self, store: Store, difference: dict[str, str]
    ) -> None:
        store.accept([accepted_event("1")])
        (answer,) = store.accept([replace(accepted_event("1"), **difference)])  # type: ignore[arg-type]
        assert (answer.outcome, answer.orchestration_ids) == (Outcome.CONFLICT, ())

    def test_one_event_twice_in_a_batch_is_accepted_once(self, store: Store) -> None:
        answers = store.accept([accepted_event("1"), accepted_event("2"), accepted_event("1")])
        assert [answer.outcome for answer in answers] == [
            Outcome.ACCEPTED,
            Outcome.ACCEPTED,
            Outcome.DUPLICATE,
        ]
        assert answers[0].orchestration_ids == answers[2].orchestration_ids

    def test_an_event_for_nobody_is_recorded_as_unrouted_and_known_again(self, store: Store) -> None:
        event = accepted_event("1", workflows=())
        assert [store.accept([event])[0].outcome for _ in range(2)] == [Outcome.UNROUTED, Outcome.DUPLICATE]
        assert store.contents(DEMO, [digest_bytes(event.raw)]) == {digest_bytes(event.raw): event.raw}
        assert store.overdue() == {}

    def test_one_event_for_two_workflows_makes_two_orchestrations(self, store: Store) -> None:
        event = accepted_event("1", workflows=("audit", "branching"))
        (answer,) = store.accept([event])
        assert len(set(answer.orchestration_ids)) == 2
        assert store.accept([event])[0].orchestration_ids == answer.orchestration_ids

    def test_the_same_id_of_two_tenants_is_two_events(self, store: Store) -> None:
        answers = store.accept([accepted_event("1"), accepted_event("1", tenant="other")])
        assert {answer.outcome for answer in answers} == {Outcome.ACCEPTED}

    def test_nothing_is_nothing(self, store: Store) -> None:
        assert store.accept([]) == []
        assert store.commit([]).verdicts == ()
        assert store.histories(DEMO, []) == {}
        assert store.contents(DEMO, []) == {}


class TestClaiming:
    """A step is one worker's alone, until its lease ends."""

    def test_a_claimed_step_is_not_claimed_again(self, store: Store) -> None:
        accept(store, accepted_event("1"))
        (claim,) = store.claim(Queue.ORCHESTRATION, limit=9, worker="w")
        assert (claim.fence, claim.attempt, claim.queue) == (1, 1, Queue.ORCHESTRATION)
        assert store.claim(Queue.ORCHESTRATION, limit=9, worker="other") == []
        assert store.claim(Queue.ORCHESTRATION, limit=9, worker="other", step_ids=[claim.step_id]) == []

    def test_only_the_queues_own_steps_are_claimed_and_no_more_than_the_limit(self, store: Store) -> None:
        accept(store, *(accepted_event(str(number)) for number in range(5)))
        assert store.claim(Queue.DISPATCH, limit=9, worker="w") == []
        assert len(store.claim(Queue.ORCHESTRATION, limit=3, worker="w")) == 3
        assert len(store.claim(Queue.ORCHESTRATION, limit=3, worker="w")) == 2

    def test_named_steps_are_claimed_and_others_left(self, store: Store) -> None:
        one, other = accept(store, accepted_event("1"), accepted_event("2"))
        wanted = [advance_id(one), "adv_unknown"]
        (claim,) = store.claim(Queue.ORCHESTRATION, limit=9, worker="w", step_ids=wanted)
        assert claim.orchestration_id == one
        assert advance(store, other).orchestration_id == other

    def test_the_steps_of_named_orchestrations_are_claimed_and_others_left(self, store: Store) -> None:
        one, other = accept(store, accepted_event("1"), accepted_event("2"))
        for orchestration in (one, other):
            add_steps(
                store, orchestration, NewStep(f"act_{orchestration}", "demo", orchestration, Queue.DISPATCH)
            )
        (claim,) = store.claim(Queue.DISPATCH, limit=9, worker="w", orchestration_ids=[one])
        assert claim.step_id == f"act_{one}"

    def test_a_step_that_waits_for_members_is_not_due(self, store: Store) -> None:
        (orchestration,) = accept(store, accepted_event("1"))
        add_steps(store, orchestration, run(orchestration, open_members=2))
        assert claim_run(store) == []
        assert Queue.AGENT_RUNS not in store.overdue()

    def test_when_a_lease_ends_another_worker_gets_the_step_under_a_higher_fence(self, store: Store) -> None:
        (orchestration,) = accept(store, accepted_event("1"))
        add_steps(store, orchestration, run(orchestration, lease_seconds=SHORT_LEASE))
        (first,) = claim_run(store)
        claimed = claim_when_the_lease_ends(store)
        assert (claimed[0].fence, claimed[0].attempt) == (first.fence + 1, 2)

    def test_a_lease_that_ended_by_itself_is_a_lapse_and_one_that_was_ended_is_none(
        self, store: Store
    ) -> None:
        """What came to nothing is counted, so that it can give up; a retry that was asked for is not."""
        (orchestration,) = accept(store, accepted_event("1"))
        add_steps(store, orchestration, run(orchestration, lease_seconds=SHORT_LEASE))
        (first,) = claim_run(store)
        (second,) = claim_when_the_lease_ends(store)
        assert (first.lapses, second.lapses) == (0, 1)
        store.commit([change(orchestration, claim=second, settle="retry")])
        (third,) = claim_run(store)
        assert third.lapses == 1
        store.commit([change(orchestration, claim=third, settle="retry", lapsed=True)])
        # Twice is too often to be claimed among others, and so by its id.
        assert claim_run(store) == []
        (fourth,) = store.claim(Queue.AGENT_RUNS, limit=10, worker="w")
        assert fourth.lapses == 2

    def test_a_step_that_came_to_nothing_twice_is_claimed_alone(self, store: Store) -> None:
        """What ends its worker takes no other step with it a third time."""
        (orchestration,) = accept(store, accepted_event("1"))
        add_steps(store, orchestration, *(run(orchestration, f"run_{number}") for number in range(3)))
        for _ in range(2):
            (claim,) = claim_run(store, "run_1")
            store.commit([change(orchestration, claim=claim, settle="retry", lapsed=True)])
        alone: list[str] = []
        together: list[str] = []
        while claims := store.claim(Queue.AGENT_RUNS, limit=10, worker="w"):
            names = [claim.step_id for claim in claims]
            (alone if "run_1" in names else together).extend(names)
        assert (alone, sorted(together)) == (["run_1"], ["run_0", "run_2"])

    def test_what_a_message_holds_is_given_back_and_nobody_elses(self, store: Store) -> None:
        """A failed message's steps need not wait for their leases' end, and its late results lose."""
        (orchestration,) = accept(store, accepted_event("1"))
        add_steps(store, orchestration, run(orchestration, "run_1"), run(orchestration, "run_2"))
        (mine,) = claim_run(store, "run_1", worker="me/1")
        assert claim_run(store, "run_2", worker="me/11")
        assert store.give_back("me/1", in_seconds=0.0, lapsed=False) == 1
        assert store.give_back("me/1", in_seconds=0.0, lapsed=False) == 0
        assert verdict(store, change(orchestration, claim=mine)) is Verdict.FENCED
        (again,) = store.claim(Queue.AGENT_RUNS, limit=10, worker="other/1")
        assert (again.step_id, again.lapses) == ("run_1", 0)
        assert store.give_back("other/1", in_seconds=0.0, lapsed=True) == 1
        (later,) = claim_run(store, "run_1")
        assert later.lapses == 1

    def test_a_small_tenant_is_served_beside_a_large_ones_backlog(self, store: Store) -> None:
        """Every tenant's first, then every tenant's second: whoever came first cannot starve the others."""
        accept(store, *(accepted_event(str(number), tenant="large") for number in range(40)))
        accept(store, *(accepted_event(str(number), tenant="small") for number in range(3)))
        accept(store, accepted_event("1", tenant="tiny"))
        claims = store.claim(Queue.ORCHESTRATION, limit=8, worker="w")
        tenants = [claim.tenant_id for claim in claims]
        assert (tenants.count("tiny"), tenants.count("small"), tenants.count("large")) == (1, 3, 4)

    def test_what_is_due_and_unclaimed_is_overdue(self, store: Store) -> None:
        accept(store, accepted_event("1"), accepted_event("2"))
        assert store.overdue() == {Queue.ORCHESTRATION: 2}
        store.claim(Queue.ORCHESTRATION, limit=1, worker="w")
        assert store.overdue() == {Queue.ORCHESTRATION: 1}


class TestCommitting:
    """Facts stand behind the head they were decided on, under the fence they were worked for, or not at all."""

    def test_facts_contents_and_new_steps_are_kept_and_the_step_is_finished(self, store: Store) -> None:
        (orchestration,) = accept(store, accepted_event("1"))
        claim = advance(store, orchestration)
        body = b'{"found":true}'
        one = change(
            orchestration,
            claim=claim,
            orchestration=append(orchestration, 1, SNAPSHOT),
            contents={digest_bytes(body): body},
            new_steps=(run(orchestration),),
        )
        assert verdict(store, one) is Verdict.RECORDED
        assert facts(store, orchestration)[1:] == [SNAPSHOT]
        assert store.contents(DEMO, [digest_bytes(body), "1" * 64]) == {digest_bytes(body): body}
        assert [found.subject for found in claim_run(store)] == ["alpha"]
        assert store.claim(Queue.ORCHESTRATION, limit=9, worker="w") == []

    def test_whoever_comes_late_loses_and_none_of_its_facts_stay(self, store: Store) -> None:
        """Its lease ended and another has the step: not its facts, contents or steps count any more."""
        (orchestration,) = accept(store, accepted_event("1"))
        add_steps(store, orchestration, run(orchestration, lease_seconds=SHORT_LEASE))
        (late,) = claim_run(store)
        claimed = claim_when_the_lease_ends(store)
        made = ProposalMade(proposal_digest=digest_bytes(b"late"), parser="p/1")
        lost = change(
            orchestration,
            claim=late,
            orchestration=append(orchestration, 1, SNAPSHOT),
            run=append("run_1", 0, made),
            contents={digest_bytes(b"late"): b"late"},
            new_steps=(run(orchestration, "run_2"),),
        )
        assert verdict(store, lost) is Verdict.FENCED
        assert len(facts(store, orchestration)) == 1
        assert store.run_chains(DEMO, ["run_1"]) == {}
        assert store.contents(DEMO, [digest_bytes(b"late")]) == {}
        assert claim_run(store, "run_2") == []
        won = change(orchestration, claim=claimed[0], run=append("run_1", 0, made))
        assert verdict(store, won) is Verdict.RECORDED

    def test_a_finished_step_takes_no_second_result(self, store: Store) -> None:
        (orchestration,) = accept(store, accepted_event("1"))
        claim = advance(store, orchestration)
        assert verdict(store, change(orchestration, claim=claim)) is Verdict.RECORDED
        again = change(orchestration, claim=claim, orchestration=append(orchestration, 1, SNAPSHOT))
        assert verdict(store, again) is Verdict.FENCED
        assert len(facts(store, orchestration)) == 1

    def test_one_claim_counts_once_in_a_batch(self, store: Store) -> None:
        (orchestration,) = accept(store, accepted_event("1"))
        one = change(orchestration, claim=advance(store, orchestration))
        assert store.commit([one, one]).verdicts == (Verdict.RECORDED, Verdict.FENCED)

    def test_a_change_behind_a_head_that_moved_is_told_to_read_again(self, store: Store) -> None:
        (orchestration,) = accept(store, accepted_event("1"))
        one = change(orchestration, orchestration=append(orchestration, 1, SNAPSHOT))
        answer = store.commit([one, one])
        assert answer.verdicts == (Verdict.RECORDED, Verdict.MOVED)
        assert verdict(store, one) is Verdict.MOVED
        assert len(facts(store, orchestration)) == 2

    def test_an_unknown_orchestration_and_a_moved_run_are_told_to_read_again(self, store: Store) -> None:
        (orchestration,) = accept(store, accepted_event("1"))
        nowhere = change("orc_unknown", orchestration=append("orc_unknown", 1, SNAPSHOT))
        assert verdict(store, nowhere) is Verdict.MOVED
        add_steps(store, orchestration, run(orchestration))
        (claim,) = claim_run(store)
        failed = RunFailed(failure="timed_out", detail="", parser="p/1")
        ahead = change(orchestration, claim=claim, run=append("run_1", 1, failed))
        assert verdict(store, ahead) is Verdict.MOVED

    def test_losers_and_winners_share_a_batch_and_only_the_losers_lose(self, store: Store) -> None:
        one, other = accept(store, accepted_event("1"), accepted_event("2"))
        batch = [
            change(one, orchestration=append(one, 7, SNAPSHOT)),
            change(other, orchestration=append(other, 1, SNAPSHOT)),
        ]
        assert store.commit(batch).verdicts == (Verdict.MOVED, Verdict.RECORDED)
        assert (len(facts(store, one)), len(facts(store, other))) == (1, 2)

    def test_the_last_member_makes_its_parent_due_and_is_told_so_once(self, store: Store) -> None:
        (orchestration,) = accept(store, accepted_event("1"))
        parent = NewStep("agg_1", "demo", orchestration, Queue.AGGREGATION, open_members=3)
        names = ["run_1", "run_2", "run_3"]
        add_steps(
            store, orchestration, parent, *(run(orchestration, name, parent_id="agg_1") for name in names)
        )
        claims = [claim_run(store, name)[0] for name in names]
        first = store.commit([change(orchestration, claim=claims[0])])
        assert first.ready == ()
        assert store.claim(Queue.AGGREGATION, limit=1, worker="w") == []
        rest = [change(orchestration, claim=claim) for claim in claims[1:]]
        assert store.commit(rest).ready == (("agg_1", Queue.AGGREGATION),)
        assert store.commit(rest).ready == (), "a member that is told of again is not counted again"
        assert [claim.step_id for claim in store.claim(Queue.AGGREGATION, limit=9, worker="w")] == ["agg_1"]

    def test_a_kept_step_stays_its_workers_and_may_be_finished_later(self, store: Store) -> None:
        (orchestration,) = accept(store, accepted_event("1"))
        claim = advance(store, orchestration)
        kept = change(
            orchestration, claim=claim, orchestration=append(orchestration, 1, SNAPSHOT), settle="keep"
        )
        assert verdict(store, kept) is Verdict.RECORDED
        assert store.claim(Queue.ORCHESTRATION, limit=9, worker="other") == []
        assert verdict(store, change(orchestration, claim=claim)) is Verdict.RECORDED

    def test_a_retried_step_is_due_again_later_and_the_old_claim_is_worth_nothing(self, store: Store) -> None:
        soon, later = accept(store, accepted_event("1"), accepted_event("2"))
        claims = [advance(store, soon), advance(store, later)]
        store.commit(
            [
                change(soon, claim=claims[0], settle="retry"),
                change(later, claim=claims[1], settle="retry", retry_in_seconds=60.0),
            ]
        )
        (again,) = store.claim(Queue.ORCHESTRATION, limit=9, worker="w")
        assert (again.orchestration_id, again.attempt) == (soon, 2)
        assert again.fence > claims[0].fence
        assert verdict(store, change(later, claim=claims[1])) is Verdict.FENCED

    def test_a_withdrawn_step_is_over_whoever_holds_it(self, store: Store) -> None:
        (orchestration,) = accept(store, accepted_event("1"))
        add_steps(store, orchestration, run(orchestration), run(orchestration, "run_2"))
        (held,) = claim_run(store)
        closing = change(
            orchestration,
            orchestration=append(orchestration, 1, CancelRequested(actor="alice", reason_digest="0" * 64)),
            withdraw=("run_1", "run_2", "run_unknown"),
        )
        assert verdict(store, closing) is Verdict.RECORDED
        assert verdict(store, change(orchestration, claim=held)) is Verdict.FENCED
        assert store.claim(Queue.AGENT_RUNS, limit=9, worker="w") == []

    def test_a_step_that_exists_already_is_not_made_again(self, store: Store) -> None:
        (orchestration,) = accept(store, accepted_event("1"))
        add_steps(store, orchestration, run(orchestration))
        (claim,) = claim_run(store)
        add_steps(store, orchestration, run(orchestration))
        assert claim_run(store) == []
        assert verdict(store, change(orchestration, claim=claim)) is Verdict.RECORDED
        add_steps(store, orchestration, run(orchestration))
        assert claim_run(store) == []


class TestReading:
    """What was recorded is read back, of the named tenants and of nobody else."""

    def test_a_runs_own_chain_is_read_back_with_its_places(self, store: Store) -> None:
        (orchestration,) = accept(store, accepted_event("1"))
        add_steps(store, orchestration, run(orchestration))
        (claim,) = claim_run(store)
        failed = RunFailed(failure="timed_out", detail="slow", parser="p/1")
        store.commit([change(orchestration, claim=claim, run=append("run_1", 0, failed), settle="keep")])
        store.commit([change(orchestration, claim=claim, run=append("run_1", 1, failed))])
        chain = store.run_chains(DEMO, ["run_1", "run_none"])["run_1"]
        assert [(one.chain_id, one.seq, one.fact) for one in chain] == [
            ("run_1", 0, failed),
            ("run_1", 1, failed),
        ]

    def test_another_tenants_rows_are_not_seen(self, store: Store) -> None:
        event = accepted_event("1")
        (orchestration,) = accept(store, event)
        assert store.histories(("other",), [orchestration]) == {}
        assert store.contents(("other",), [digest_bytes(event.raw)]) == {}
        assert store.chain_hashes(("other",), [orchestration]) == {}
        assert store.run_chains(("other",), [orchestration]) == {}

    def test_the_hash_chain_holds_and_ends_in_the_hash_that_is_told(self, store: Store) -> None:
        """Promise 5, in a verifier that shares nothing with the code but the facts' canonical bytes."""
        (orchestration,) = accept(store, accepted_event("1"))
        closed = OrchestrationClosed(status="failed", reason="no")
        store.commit([change(orchestration, orchestration=append(orchestration, 1, SNAPSHOT))])
        store.commit([change(orchestration, orchestration=append(orchestration, 2, closed))])
        hashed = b""
        for place, one in enumerate(store.histories(DEMO, [orchestration])[orchestration].facts):
            assert (one.chain_id, one.seq) == (orchestration, place)
            hashed = hashlib.sha256(hashed + canonical(one.at, place, orchestration, one.fact)).digest()
        assert store.chain_hashes(DEMO, [orchestration]) == {orchestration: hashed.hex()}


def canonical(at: str, seq: int, chain: str, fact: AnyFact) -> bytes:
    """RFC 8785 of a fact in its place, written out."""
    return rfc8785.dumps({"at": at, "chain": chain, "fact": fact.model_dump(mode="json"), "seq": seq})


class TestInPostgresql:
    """What only the tables can show."""

    @pytest.fixture
    def stored(self, fresh_database: str) -> Iterator[Store]:
        database = Database(fresh_database, "interlock_worker")
        yield PostgresqlStore(database, SystemClock())
        database.close()

    def test_the_head_and_the_status_on_the_row_follow_the_journal(
        self, stored: Store, fresh_database: str
    ) -> None:
        (orchestration,) = accept(stored, accepted_event("1"))
        waiting = change(orchestration, status="waiting_for_release")
        assert verdict(stored, waiting) is Verdict.RECORDED
        with psycopg.connect(fresh_database, autocommit=True) as connection:
            row = (
                "SELECT status, head_seq, encode(head_hash, 'hex'), closed_at IS NOT NULL FROM orchestrations"
            )
            assert connection.execute(row).fetchone()[:2] == ("waiting_for_release", 1)  # type: ignore[index]
            closed = OrchestrationClosed(status="failed", reason="no")
            stored.commit([change(orchestration, orchestration=append(orchestration, 1, SNAPSHOT, closed))])
            tail = stored.chain_hashes(DEMO, [orchestration])[orchestration]
            assert connection.execute(row).fetchone() == ("failed", 3, tail, True)
            late = change(orchestration, status="waiting_for_release")
            stored.commit([late])
            assert connection.execute(row).fetchone()[0] == "failed"  # type: ignore[index]

    def test_what_is_stored_is_the_canonical_bytes(self, stored: Store, fresh_database: str) -> None:
        (orchestration,) = accept(stored, accepted_event("1"))
        with psycopg.connect(fresh_database) as connection:
            found = connection.execute("SELECT body FROM journal").fetchone()
        (one,) = stored.histories(DEMO, [orchestration])[orchestration].facts
        assert found is not None
        assert bytes(found[0]) == canonical(one.at, 0, orchestration, one.fact)
