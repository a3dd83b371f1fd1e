"""Runs call tools: what reads is called and recorded; what writes is an action, and its run waits for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from app.adapters.postgresql.reading import Reading
from app.data_plane.budgets.reservations import NANO_USD
from app.data_plane.replay.explain import decision_of
from app.data_plane.replay.record import StoredLink
from app.data_plane.replay.verify import verify
from app.kernel.facts import (
    ActionAuthorised,
    AnswerRejected,
    CallProposed,
    DeliveryConfirmed,
    OrchestrationStarted,
    Recorded,
    ToolCalled,
    ToolFailed,
    chain_hash,
    decode,
    encode,
)
from app.kernel.release import Budget, Release, ScriptedCall
from interlock.identity import run_id
from tests.calling_workflow import LOOKUP, calling_release, record
from tests.repairing import Workshop, workshop


def run_facts(at: Workshop, orchestration: str) -> list[Recorded]:
    """The facts of the one run's own chain."""
    run = run_id(orchestration, "classify", "alpha")
    return list(at.store.run_chains(["demo"], [run]).get(run) or ())


def test_a_run_looks_something_up_writes_and_then_answers(fresh_database: str) -> None:
    release = calling_release([LOOKUP], [record("routine")])
    with workshop(fresh_database, release) as at:
        at.publish(release)
        subject = at.accept(release.digest[:16])
        at.carry_on()
        kinds = [one.fact.kind for one in run_facts(at, subject.orchestration_id)]
        assert kinds == [
            "model_asked",
            "model_answered",
            "tool_called",
            "tool_answered",
            "model_asked",
            "model_answered",
            "tool_called",
            "tool_answered",
            "model_asked",
            "model_answered",
            "proposal_made",
        ]
        facts = at.facts(subject.orchestration_id)
        assert [fact.kind for fact in facts][-1] == "orchestration_closed"
        assert sum(at.targets.sent.values()) == 1
        (proposed,) = [fact for fact in facts if isinstance(fact, CallProposed)]
        (authorised,) = [fact for fact in facts if isinstance(fact, ActionAuthorised)]
        (confirmed,) = [fact for fact in facts if isinstance(fact, DeliveryConfirmed)]
        assert proposed.action_id == authorised.action_id == confirmed.action_id
        assert at.targets.sent == {authorised.idempotency_key: 1}


def called(at: Workshop, orchestration: str) -> list[ToolCalled]:
    """The verdicts on the run's calls."""
    return [one.fact for one in run_facts(at, orchestration) if isinstance(one.fact, ToolCalled)]


def kinds_of_run(at: Workshop, orchestration: str) -> list[str]:
    """What happened to the run."""
    return [one.fact.kind for one in run_facts(at, orchestration)]


def difference(at: Workshop, orchestration: str) -> str:
    """Where the record does not lead to itself; empty when it does."""
    record = Reading(at.database).views([orchestration])[orchestration].record
    # The test's events are no envelopes: what was erased is not missed.
    started = at.facts(orchestration)[0]
    assert isinstance(started, OrchestrationStarted)
    kept = {digest: body for digest, body in record.contents.items() if digest != started.raw_digest}
    return str(verify(replace(record, contents=kept), at.release).difference or "")


def level(at: Workshop, orchestration: str) -> object:
    """The decision's one field."""
    view = Reading(at.database).views([orchestration])[orchestration]
    return decision_of(view.record).fields["level"]


def run_through(fresh_database: str, release: Release, check: Callable[[Workshop, str], None]) -> None:
    """One event from its acceptance until nothing is due, and its record verified."""
    with workshop(fresh_database, release) as at:
        at.publish(release)
        key = at.accept(release.digest[:16]).orchestration_id
        at.carry_on()
        check(at, key)
        assert difference(at, key) == ""


def test_reads_and_effects_of_one_answer_both_come_back(fresh_database: str) -> None:
    def check(at: Workshop, key: str) -> None:
        assert [one.verdict for one in called(at, key)] == ["permitted", "handed_over"]
        assert kinds_of_run(at, key).count("tool_answered") == 2
        assert sum(at.targets.sent.values()) == 1
        assert level(at, key) == "low"

    run_through(fresh_database, calling_release([LOOKUP, record("routine")]), check)


def test_the_same_call_twice_is_two_effects_with_two_keys(fresh_database: str) -> None:
    def check(at: Workshop, key: str) -> None:
        assert sorted(at.targets.sent.values()) == [1, 1]

    run_through(fresh_database, calling_release([record("routine"), record("routine")]), check)


def test_a_call_that_the_policy_denies_has_no_effect_and_the_model_is_told(fresh_database: str) -> None:
    def check(at: Workshop, key: str) -> None:
        (fact,) = called(at, key)
        assert (fact.verdict, fact.reason) == ("denied", "no policy permits it")
        assert not at.targets.sent
        assert level(at, key) == "low"

    run_through(fresh_database, calling_release([record("forbidden")]), check)


def test_an_invented_tool_is_refused_in_the_record(fresh_database: str) -> None:
    def check(at: Workshop, key: str) -> None:
        (fact,) = called(at, key)
        assert fact.verdict == "denied"
        assert fact.reason.startswith("unknown_tool")
        assert level(at, key) == "low"

    run_through(fresh_database, calling_release([ScriptedCall(tool="shell.run", arguments="{}")]), check)


def test_an_answer_with_more_calls_than_are_left_is_no_answer_and_none_of_them_happens(
    fresh_database: str,
) -> None:
    def check(at: Workshop, key: str) -> None:
        assert not called(at, key)
        assert not at.targets.sent
        facts = [one.fact for one in run_facts(at, key)]
        refused = [fact for fact in facts if isinstance(fact, AnswerRejected)]
        assert {fact.reason for fact in refused} == {"it calls 1000 tools, and 8 calls are left to this run"}
        assert level(at, key) == "high", "the stage's fallback"

    flood = [record("routine")] * 1000
    run_through(fresh_database, calling_release(flood), check)


def test_a_model_that_calls_for_ever_has_to_answer_when_its_calls_are_used_up(fresh_database: str) -> None:
    def check(at: Workshop, key: str) -> None:
        assert len(called(at, key)) == 8
        assert level(at, key) == "low"

    run_through(fresh_database, calling_release(*([LOOKUP] for _ in range(8))), check)


def test_a_model_that_goes_on_calling_after_that_is_left_for_the_fallback(fresh_database: str) -> None:
    def check(at: Workshop, key: str) -> None:
        assert len(called(at, key)) == 8
        assert level(at, key) == "high", "the stage's fallback"

    run_through(fresh_database, calling_release(*([LOOKUP] for _ in range(20))), check)


def with_costly_tools(release: Release, usd: str) -> Release:
    """The same with tools that cost a dollar a call, and so much for the whole orchestration."""
    tools = {name: spec.model_copy(update={"nano_usd": NANO_USD}) for name, spec in release.tools.items()}
    template = release.template.model_copy(update={"budget": Budget(usd=usd)})
    return release.model_copy(update={"tools": tools, "template": template})


def test_what_tools_cost_is_taken_from_the_budgets_and_nothing_is_called_beyond_them(
    fresh_database: str,
) -> None:
    """Two dollars: two calls, of one that reads and one that writes; the third comes to nothing."""

    def check(at: Workshop, key: str) -> None:
        facts = [one.fact for one in run_facts(at, key)]
        assert [fact.code for fact in facts if isinstance(fact, ToolFailed)] == ["out_of_budget"] * 2
        assert sum(at.targets.sent.values()) == 1
        ((spent,),) = at.sql(
            "SELECT spent FROM budget_lines WHERE account_id = %s AND unit = 'nano_usd'", key
        )
        assert spent == 2 * NANO_USD
        assert level(at, key) == "low", "the model is told, and answers"

    release = calling_release([LOOKUP], [record("routine")], [LOOKUP], [record("routine")])
    run_through(fresh_database, with_costly_tools(release, "2"), check)


def test_a_policy_sees_what_a_run_has_spent(fresh_database: str) -> None:
    def check(at: Workshop, key: str) -> None:
        assert [one.verdict for one in called(at, key)] == ["permitted", "permitted", "denied"]

    release = calling_release([LOOKUP], [LOOKUP], [LOOKUP])
    cedar = f'@id("little") permit (principal, action, resource) when {{ context.spend.nano_usd < {2 * NANO_USD} }};'
    policy = release.policy.model_copy(update={"cedar": cedar})
    run_through(fresh_database, with_costly_tools(release, "9").model_copy(update={"policy": policy}), check)


def test_a_journal_that_says_otherwise_than_the_run_what_it_called_for_does_not_verify(
    fresh_database: str,
) -> None:
    """The run's own chain and the orchestration's are written together; each alone could be written anew."""
    release = calling_release([record("routine")])
    with workshop(fresh_database, release) as at:
        at.publish(release)
        subject = at.accept(release.digest[:16])
        at.carry_on()
        kept = Reading(at.database).views([subject.orchestration_id])[subject.orchestration_id].record
    started = decode(kept.chain[0].body).fact
    assert isinstance(started, OrchestrationStarted)
    contents = {digest: body for digest, body in kept.contents.items() if digest != started.raw_digest}
    links: list[StoredLink] = []
    for link in kept.chain:
        told = decode(link.body)
        fact = told.fact
        if isinstance(fact, CallProposed):
            fact = fact.model_copy(update={"made": fact.made + 3})
        body = encode(told.chain_id, told.seq, told.at, fact)
        links.append(StoredLink(body, chain_hash(links[-1].hash if links else b"", body)))
    forged = replace(kept, chain=tuple(links), head_hash=links[-1].hash, contents=contents)
    found = verify(forged, release).difference
    assert found is not None
    assert "made is recorded as 3, and is None" in found.reason
