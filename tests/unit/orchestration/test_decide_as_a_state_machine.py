"""Any order, repetition and loss of facts ends in a valid state.

Facts reach ``decide`` through queues that repeat, reorder and lose. What must hold whatever comes is written down here
once, and hypothesis looks for facts that break it.
"""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.data_plane.contents import Contents
from app.data_plane.dispatch.attempts import before_attempt
from app.data_plane.orchestration.action_state import SETTLED_ACTION
from app.data_plane.orchestration.cancel import cancelling
from app.data_plane.orchestration.decide import Close, Command, Complete, Deliver, decide, outstanding
from app.data_plane.orchestration.progress import progress
from app.data_plane.orchestration.state import OrchestrationState, evolve, initial, ready
from app.kernel.facts import (
    TERMINAL,
    ActionAuthorised,
    ActionDenied,
    ActionSettled,
    AnyFact,
    CancelRequested,
    DecisionMade,
    DeliveryConfirmed,
    DeliveryFailed,
    DeliveryInDoubt,
    DeliveryProbed,
    DeliveryRetried,
    DeliveryStarted,
    OrchestrationClosed,
    OrchestrationResumed,
    ReviewRequested,
    SnapshotTaken,
    StageDecided,
    StageSkipped,
    StageStarted,
    StepGaveUp,
    StepLapsed,
)
from app.kernel.release import Release
from tests.branching_workflow import AGENTS, ORCHESTRATION, Example, branching_release
from tests.reviewing_workflow import awaiting, expired, resolved, reviewing_release

NOW = datetime(2026, 1, 1, tzinfo=UTC)

MAY_BECOME = {
    "authorised": {"authorised", "sending", "failed", "in_doubt"},
    "sending": {"sending", "authorised", "confirmed", "failed", "in_doubt"},
    "denied": {"denied"},
    "confirmed": {"confirmed"},
    "failed": {"failed"},
    "in_doubt": {"in_doubt", "settled"},
    "settled": {"settled"},
}
WHEN_RESUMED = {**MAY_BECOME, "failed": {"authorised"}, "settled": {"authorised", "settled"}}
REPAIRS = (OrchestrationResumed, ActionSettled, DeliveryProbed)
REPAIRS_AFTER: dict[str, tuple[type, ...]] = {
    "dead_lettered": REPAIRS,
    "cancelled": (ActionSettled, DeliveryInDoubt),
}
STAGE_MAY_BECOME = {
    "pending": {"pending", "running", "skipped"},
    "running": {"running", "in_review", "decided"},
    "in_review": {"in_review", "decided"},
    "skipped": {"skipped"},
    "decided": {"decided"},
}

quick = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def assert_valid(state: OrchestrationState) -> None:
    """What holds of every state, however it came about."""
    template = state.release.template
    for name, stage in state.stages.items():
        if stage.status != "pending":
            assert state.snapshot_digest is not None, "a stage began before the snapshot was taken"
            assert ready(state, name), "a stage began before what it comes after was settled"
        folded = [run.agent for run in stage.runs]
        assert len(folded) == len(set(folded)), "a run was folded twice"
        assert set(folded) <= set(template.stage(name).agents)
        if stage.status == "decided":
            assert not stage.missing(template.stage(name).agents), (
                "a stage was decided without all its members"
            )
        if stage.status == "in_review":
            assert template.stage(name).fallback_review is not None, "a person was asked whom nobody named"
            assert not stage.missing(template.stage(name).agents)
            assert not any(run.proposal_digest for run in stage.runs), "a person was asked beside a proposal"
            assert stage.review is not None
        if stage.decided is not None and stage.decided.fallback == "review":
            assert stage.resolved is not None, "a review was completed by nobody"
            assert stage.decided.outcome_digest == stage.resolved.outcome_digest, "not what the person said"
        assert not (stage.resolved is not None and stage.expired), "answered and expired"
    if state.decision is not None:
        assert all(stage.settled for stage in state.stages.values()), "decided before every stage was settled"
    assert len(state.actions_by_id) <= (state.decision.actions if state.decision is not None else 0)
    for action in state.actions_by_id.values():
        if action.status != "denied":
            assert isinstance(action.proposed, ActionAuthorised), (
                "what was never permitted is being delivered"
            )
        if action.status in {"sending", "confirmed"}:
            assert action.attempts > 0, "sent without an attempt that was committed first"
    if state.closed is not None:
        statuses = {action.status for action in state.actions_by_id.values()}
        assert "sending" not in statuses, "closed with something on its way to a target"
        if state.closed.status in {"completed", "dead_lettered"}:
            assert state.decision is not None
            assert statuses <= SETTLED_ACTION
            assert len(state.actions_by_id) == state.decision.actions


def assert_follows(before: OrchestrationState, fact: AnyFact, after: OrchestrationState) -> None:
    """What holds of every step: what is known stays known."""
    if before.status in TERMINAL and not isinstance(fact, REPAIRS_AFTER.get(before.status, ())):
        assert after is before, "something happened after the end"
    for name in ("started", "snapshot_digest", "decision", "cancelled_by", "gave_up", "closed"):
        known = getattr(before, name)
        repaired = name in {"gave_up", "closed"} and isinstance(fact, REPAIRS)
        assert known is None or getattr(after, name) == known or repaired, f"a second {name}"
    resumed = isinstance(fact, OrchestrationResumed) and after is not before
    for name, stage in before.stages.items():
        assert after.stages[name].status in STAGE_MAY_BECOME[stage.status], f"{name} was settled twice"
        assert after.stages[name].runs[: len(stage.runs)] == stage.runs, "a folded run changed"
        if stage.settled:
            assert after.stages[name] == stage
        assert stage.resolved is None or after.stages[name].resolved == stage.resolved, "a second answer"
        assert after.stages[name].expired >= stage.expired
    for key, action in before.actions_by_id.items():
        now = after.actions_by_id[key]
        assert now.proposed == action.proposed, "an action was proposed twice"
        may_become = (WHEN_RESUMED if resumed else MAY_BECOME)[action.status]
        assert now.status in may_become, f"{action.status} became {now.status} by {fact.kind}"
        if action.status == "in_doubt":
            assert now.status == "in_doubt" or isinstance(fact, (ActionSettled, DeliveryProbed)), (
                "what was in doubt was settled by nobody"
            )
        assert now.attempts >= action.attempts
        if isinstance(fact, DeliveryStarted) and now != action:
            assert now.attempts > action.attempts, "one attempt was begun twice"


def assert_commands(
    before: OrchestrationState, after: OrchestrationState, commands: tuple[Command, ...]
) -> None:
    """What holds of every answer of ``decide``."""
    assert len(commands) == len(set(commands)), "one thing was asked for twice"
    assert set(commands) == set(outstanding(after)) - set(outstanding(before))
    if after is before or after.status in TERMINAL:
        assert commands == ()
    for command in commands:
        if isinstance(command, Deliver):
            assert after.actions_by_id[command.action_id].status == "authorised"
            assert after.cancelled_by is None, "delivered after it was cancelled"
            assert after.gave_up is None, "delivered after a step gave up"
        if isinstance(command, Complete):
            assert after.stages[command.stage].resolved is not None
        if isinstance(command, Close):
            assert all(action.status != "sending" for action in after.actions_by_id.values())


def play(state: OrchestrationState, facts: list[AnyFact]) -> OrchestrationState:
    """Let the facts come in this order, and check everything at every step."""
    for fact in facts:
        commands = decide(state, fact)
        assert decide(state, fact) == commands, "the same question had two answers"
        after = evolve(state, fact)
        assert_valid(after)
        assert_follows(state, fact, after)
        assert_commands(state, after, commands)
        state = after
    return state


@st.composite
def journals(draw: st.DrawFn) -> Example:
    """A whole valid life of an orchestration: whatever agents, targets and people do."""
    example = Example(draw(st.sampled_from(RELEASES)))
    example.begin()
    towards_a_decision(example, draw)
    cancel_at = draw(st.none() | st.integers(0, 6))
    for turn in range(12):
        if turn == cancel_at:
            for fact in cancelling(example.state, "alice", "0" * 64):
                example.happen(fact)
        open_ones = [
            key for key, one in example.state.actions_by_id.items() if one.status in {"authorised", "sending"}
        ]
        if example.state.closed is not None or not open_ones:
            break
        deliver(example, draw(st.sampled_from(sorted(open_ones))), draw)
    for turn in range(draw(st.integers(0, 3))):
        repair(example, f"rpl_{turn}", draw)
    return example


def towards_a_decision(example: Example, draw: st.DrawFn) -> None:
    """What agents say, and people where no agent does; nobody may ever come to complete a stage."""
    while running := [name for name, one in example.state.stages.items() if one.status == "running"]:
        for name in running:
            agents = example.state.release.template.stage(name).agents
            nobody = draw(st.integers(0, 2)) == 0
            for agent in draw(st.permutations(agents)):
                said = None if nobody else draw(st.sampled_from(["high", "low", "high", None]))
                example.fold(name, agent, said)
        for name in awaiting(example):
            if (fact := draw(st.sampled_from([*reviews(example, name), None]))) is not None:
                example.happen(fact)


def reviews(example: Example, stage: str) -> list[AnyFact]:
    """What may become of a review; the last outcome is no valid proposal."""
    return [
        *(resolved(example, stage, level) for level in ("high", "low", "high", "huge")),
        expired(stage),
    ]


def repair(example: Example, replay_id: str, draw: st.DrawFn) -> None:
    """What people and probes do about what gave up."""
    for key, one in sorted(example.state.actions_by_id.items()):
        if one.status == "in_doubt" and draw(st.booleans()):
            example.happen(draw(st.sampled_from(settlements(key, one.attempts, one.probes + 1))))
    example.happen(OrchestrationResumed(replay_id=replay_id, actor="alice", reason_digest="0" * 64))
    for key, one in sorted(example.state.actions_by_id.items()):
        if one.status == "authorised":
            deliver(example, key, draw)


def settlements(key: str, attempt: int, probe: int) -> list[AnyFact]:
    """What a person or a probe may say of an action that is in doubt."""
    return [
        *(
            ActionSettled(
                action_id=key, attempt=attempt, applied=applied, actor="alice", reason_digest="0" * 64
            )
            for applied in (True, False)
        ),
        *(
            DeliveryProbed(
                action_id=key, attempt=attempt, probe=probe, answer=answer, reason="", receipt_digest="0" * 64
            )
            for answer in ("applied", "not_applied", "unknown")
        ),
    ]


def deliver(example: Example, key: str, draw: st.DrawFn) -> None:
    """One attempt, as a dispatcher would make it; the answer may never come."""
    first = before_attempt(example.state, key, example.recorded(NOW), NOW)
    if first is None:
        return
    example.happen(first)
    if not isinstance(first, DeliveryStarted) or draw(st.integers(0, 4)) == 0:
        return
    example.happen(draw(st.sampled_from(answers(key, first.attempt))))


def answers(key: str, attempt: int) -> list[AnyFact]:
    """What a target may answer to an attempt."""
    return [
        DeliveryConfirmed(action_id=key, attempt=attempt, http_status=201, receipt_digest="0" * 64),
        DeliveryRetried(action_id=key, attempt=attempt, reason="busy"),
        DeliveryRetried(action_id=key, attempt=attempt, reason="no answer", ambiguous=True),
        DeliveryFailed(action_id=key, attempt=attempt, reason="refused"),
        DeliveryInDoubt(action_id=key, attempt=attempt, reason="no answer"),
    ]


def _facts_that_may_fit() -> list[AnyFact]:
    """Of stages, agents and actions that exist or do not, in any number."""
    example = Example()
    facts: list[AnyFact] = [
        example.started(),
        SnapshotTaken(snapshot_digest="0" * 64),
        CancelRequested(actor="alice", reason_digest="0" * 64),
        StepGaveUp(step_id="adv_1", queue="orchestration", code="defect", attempts=5),
        StepLapsed(step_id="adv_1", queue="orchestration", lapses=1),
        OrchestrationResumed(replay_id="rpl_0", actor="alice", reason_digest="0" * 64),
    ]
    for stage in ("classify", "deep", "quick", "settle", "unknown"):
        facts += [
            StageStarted(stage=stage, agents=AGENTS),
            StageSkipped(stage=stage, reason="condition_false"),
        ]
        facts += [example.folded(stage, agent, "low") for agent in (*AGENTS, "nobody")]
        facts.append(
            StageDecided(
                stage=stage,
                rule="majority/1",
                winner=None,
                degraded=True,
                outcome_digest="0",
                votes_digest="0",
            )
        )
        facts += [ReviewRequested(stage=stage, expires_seconds=60), *reviews(example, stage)]
        facts.append(
            StageDecided(
                stage=stage,
                rule="majority/1",
                winner=None,
                degraded=True,
                outcome_digest=resolved(example, stage, "high").outcome_digest,
                votes_digest="0",
                fallback="review",
            )
        )
    for count in range(4):
        facts.append(DecisionMade(decision_digest="0", outcome_digest="0", degraded=False, actions=count))
    for status in ("completed", "failed", "dead_lettered", "cancelled"):
        facts.append(OrchestrationClosed(status=status, reason="?"))
    for key in ("act_1", "act_2", "act_3"):
        facts += _facts_of_an_action(key)
    return facts


def _facts_of_an_action(key: str) -> list[AnyFact]:
    proposed = {
        "action_id": key,
        "name": "record",
        "position": 0,
        "tool": "reference.record",
        "target": "tracker",
        "arguments_digest": "0" * 64,
        "policies": (),
    }
    facts: list[AnyFact] = [
        ActionAuthorised.model_validate({**proposed, "idempotency_key": "key"}),
        ActionDenied.model_validate({**proposed, "reason": "no policy permits it"}),
    ]
    for attempt in range(4):
        facts += [DeliveryStarted(action_id=key, attempt=attempt), *answers(key, attempt)]
        facts += settlements(key, attempt, 1)
    return facts


RELEASES = (branching_release(), reviewing_release())
FOREIGN = _facts_that_may_fit()
DECIDED = Example()
DECIDED.decide_with("high")


def empty(release: Release) -> OrchestrationState:
    return initial(ORCHESTRATION, "demo", release)


@quick
@given(journals())
def test_a_valid_life_is_valid_at_every_step(example: Example) -> None:
    """The journal, told again, ends where the orchestration ended."""
    assert play(empty(example.state.release), example.facts) == example.state


@quick
@given(journals(), st.data())
def test_any_order_repetition_and_loss_of_facts_ends_in_a_valid_state(
    example: Example, data: st.DataObject
) -> None:
    """Promise 1 and 2: whatever the transport does to facts, nothing impossible comes of it."""
    some = data.draw(st.lists(st.sampled_from(example.facts), max_size=60))
    play(empty(example.state.release), some)


@quick
@given(journals(), st.data())
def test_facts_of_another_life_mixed_in_change_nothing_that_is_known(
    example: Example, data: st.DataObject
) -> None:
    """Forged or foreign facts anywhere in a valid life: the state stays valid."""
    facts = list(example.facts)
    for fact in data.draw(st.lists(st.sampled_from(FOREIGN), max_size=15)):
        facts.insert(data.draw(st.integers(0, len(facts))), fact)
    play(empty(example.state.release), facts)


@quick
@given(st.sampled_from(RELEASES), st.lists(st.sampled_from(FOREIGN), max_size=40))
def test_arbitrary_facts_alone_end_in_a_valid_state(release: Release, facts: list[AnyFact]) -> None:
    """Even facts that no orchestration ever had."""
    play(empty(release), facts)


@quick
@given(st.data())
def test_reviews_told_of_in_any_order_are_answered_once_or_expire(data: st.DataObject) -> None:
    """Promise 3: two people, an expiry and a cancellation meet, each perhaps twice: one of them counts."""
    example = Example(reviewing_release())
    example.begin()
    for agent in AGENTS:
        example.fold("classify", agent, None)
    before = example.state
    cancel: AnyFact = CancelRequested(actor="alice", reason_digest="0" * 64)
    # What follows from each answer, told of before and after it.
    followed = [
        fact
        for answer in reviews(example, "classify")
        for fact in progress(before, answer, example.contents).facts
    ]
    play(before, data.draw(st.lists(st.sampled_from([*followed, cancel]), max_size=30)))


@quick
@given(st.data())
def test_deliveries_told_of_in_any_order_send_nothing_twice_and_confirm_only_what_was_sent(
    data: st.DataObject,
) -> None:
    """Promise 2, where late and repeated answers meet: an answer counts for the attempt under way alone."""
    keys = sorted(DECIDED.state.actions_by_id)
    told = [fact for key in keys for fact in _facts_of_an_action(key)]
    cancel: AnyFact = CancelRequested(actor="alice", reason_digest="0" * 64)
    play(DECIDED.state, data.draw(st.lists(st.sampled_from([*told, cancel]), max_size=40)))
    # Few facts about one action meet each other more often.
    near = [fact for fact in _facts_of_an_action(keys[0]) if getattr(fact, "attempt", 1) == 1]
    play(DECIDED.state, data.draw(st.lists(st.sampled_from(near), max_size=12)))


@quick
@given(journals(), st.data())
def test_folding_a_journal_twice_gives_the_same_state(example: Example, data: st.DataObject) -> None:
    """Repeats of all of it, and of single facts at once, change nothing: redelivery is harmless."""
    once = play(empty(example.state.release), example.facts)
    assert play(once, example.facts) == once
    stuttering = [fact for fact in example.facts for _ in range(data.draw(st.integers(1, 3)))]
    assert play(empty(example.state.release), stuttering) == once


@quick
@given(journals())
def test_every_recorded_fact_is_what_pure_code_derives_again(example: Example) -> None:
    """Replaying the outside facts gives the identical derived ones: what ``verify`` rests on."""
    contents = Contents({**example.contents.added})
    state = empty(example.state.release)
    again: list[AnyFact] = []
    for fact in example.facts:
        if not fact.outside:
            continue
        step = progress(state, fact, contents)
        state = step.state
        again += step.facts
    assert again == example.facts
    assert state == example.state


@quick
@given(journals())
def test_a_life_whose_deliveries_are_all_heard_of_comes_to_its_end(example: Example) -> None:
    """Nothing is left waiting for nobody: what is not over yet asks for something or has something under way."""
    for name in awaiting(example):
        example.happen(expired(name))
    state = example.state
    if state.closed is None:
        sending = [key for key, one in state.actions_by_id.items() if one.status == "sending"]
        asked = {command.action_id for command in outstanding(state) if isinstance(command, Deliver)}
        assert sending or asked
        for key in asked:
            attempt = state.actions_by_id[key].attempts + 1
            example.happen(DeliveryStarted(action_id=key, attempt=attempt))
        state = example.state
        for key in {*sending, *asked}:
            example.happen(
                DeliveryFailed(action_id=key, attempt=state.actions_by_id[key].attempts, reason="gave up")
            )
    assert example.state.status in TERMINAL
    assert outstanding(example.state) == ()


def test_the_checks_above_see_a_second_decision() -> None:
    """The invariants are able to fail."""
    example = Example()
    example.decide_with("high")
    assert example.state.decision is not None
    other = example.state._replace(decision=example.state.decision.model_copy(update={"actions": 9}))
    with pytest.raises(AssertionError, match="a second decision"):
        assert_follows(example.state, example.state.decision, other)


def test_a_folded_run_is_known_by_its_agent_alone() -> None:
    """A run that is told of twice, with other words the second time, counts once and as first told."""
    example = Example()
    example.begin()
    example.fold("classify", "alpha", "high")
    second = example.fold("classify", "alpha", "low")
    assert second.facts == ()
    (run,) = example.state.stages["classify"].runs
    assert run.proposal_digest == example.folded("classify", "alpha", "high").proposal_digest
