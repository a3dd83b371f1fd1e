"""``decide`` by example: what is to be done after each fact of one life."""

from __future__ import annotations

from app.data_plane.orchestration.decide import (
    Aggregate,
    Authorise,
    Close,
    Conclude,
    ConsiderStage,
    Deliver,
    TakeSnapshot,
    decide,
)
from app.data_plane.orchestration.state import evolve
from app.kernel.facts import (
    ActionAuthorised,
    AnyFact,
    CancelRequested,
    DecisionMade,
    DeliveryConfirmed,
    DeliveryInDoubt,
    DeliveryStarted,
    SnapshotTaken,
    StageDecided,
    StageSkipped,
    StageStarted,
)
from tests.branching_workflow import AGENTS, Example

SNAPSHOT = SnapshotTaken(snapshot_digest="0" * 64)


def sending(example: Example, key: str, attempt: int = 1) -> None:
    example.happen(DeliveryStarted(action_id=key, attempt=attempt))


def confirmed(key: str, attempt: int = 1) -> AnyFact:
    return DeliveryConfirmed(action_id=key, attempt=attempt, http_status=201, receipt_digest="0" * 64)


def actions_of(example: Example) -> dict[str, str]:
    """Action ids by the action's name."""
    return {one.proposed.name: key for key, one in example.state.actions_by_id.items()}


def test_an_accepted_event_asks_for_its_snapshot_and_a_snapshot_for_the_first_stage() -> None:
    example = Example()
    state = example.state
    assert decide(state, example.started()) == (TakeSnapshot(),)
    state = evolve(state, example.started())
    assert decide(state, SNAPSHOT) == (ConsiderStage("classify"),)


def test_a_stage_is_aggregated_when_its_last_member_is_folded_and_not_before() -> None:
    example = Example()
    example.begin()
    for agent in AGENTS[:2]:
        assert decide(example.state, example.folded("classify", agent, "low")) == ()
        example.fold("classify", agent, "low")
    assert decide(example.state, example.folded("classify", AGENTS[2], "low")) == (Aggregate("classify"),)


def test_both_branches_are_considered_and_the_join_waits_for_both() -> None:
    example = Example()
    example.begin()
    state = example.state
    for agent in AGENTS:
        state = evolve(state, example.folded("classify", agent, "low"))
    decided = StageDecided(
        stage="classify",
        rule="majority/1",
        winner="alpha",
        degraded=False,
        outcome_digest="0",
        votes_digest="0",
    )
    assert decide(state, decided) == (ConsiderStage("deep"), ConsiderStage("quick"))
    state = evolve(state, decided)
    skipped = StageSkipped(stage="deep", reason="condition_false")
    assert decide(state, skipped) == ()
    state = evolve(state, skipped)
    state = evolve(state, StageStarted(stage="quick", agents=("gamma",)))
    state = evolve(state, example.folded("quick", "gamma", "low"))
    assert decide(state, decided.model_copy(update={"stage": "quick"})) == (ConsiderStage("settle"),)


def test_when_all_stages_are_settled_it_concludes_then_authorises_then_delivers() -> None:
    example = Example()
    example.decide_with("high")
    kinds = [fact.kind for fact in example.facts]
    assert kinds[-4:] == ["decision_made", "action_authorised", "action_authorised", "action_denied"]
    before = Example().state
    asked: list[object] = []
    for fact in example.facts:
        asked += decide(before, fact)
        before = evolve(before, fact)
    keys = actions_of(example)
    assert asked[-4:] == [Conclude(), Authorise(), Deliver(keys["record"]), Deliver(keys["notify"])]


def test_nothing_is_delivered_before_every_action_has_its_verdict() -> None:
    example = Example()
    example.decide_with("high")
    state = Example().state
    for fact in example.facts[:-3]:
        state = evolve(state, fact)
    assert isinstance(example.facts[-4], DecisionMade)
    assert isinstance(example.facts[-3], ActionAuthorised)
    assert decide(state, example.facts[-3]) == ()


def test_the_last_confirmed_action_completes_it() -> None:
    example = Example()
    example.decide_with("high")
    keys = actions_of(example)
    for name in ("record", "notify"):
        sending(example, keys[name])
    assert decide(example.state, confirmed(keys["record"])) == ()
    example.happen(confirmed(keys["record"]))
    (command,) = decide(example.state, confirmed(keys["notify"]))
    assert isinstance(command, Close)
    assert command.status == "completed"


def test_an_action_in_doubt_ends_as_a_dead_letter_and_is_not_sent_again() -> None:
    """Promise 2: what may have happened is never silently repeated."""
    example = Example()
    example.decide_with("high")
    keys = actions_of(example)
    for name in ("record", "notify"):
        sending(example, keys[name])
    example.happen(confirmed(keys["record"]))
    end = example.happen(DeliveryInDoubt(action_id=keys["notify"], attempt=1, reason="no answer"))
    assert end.effects == ()
    assert example.state.status == "dead_lettered"


def test_a_cancelled_one_closes_at_once_unless_something_is_on_its_way() -> None:
    cancel = CancelRequested(actor="alice", reason_digest="0" * 64)
    idle = Example()
    idle.begin()
    idle.happen(cancel)
    assert idle.state.status == "cancelled"

    busy = Example()
    busy.decide_with("high")
    keys = actions_of(busy)
    sending(busy, keys["record"])
    busy.happen(cancel)
    assert busy.state.closed is None
    busy.happen(confirmed(keys["record"]))
    assert busy.state.status == "cancelled"
    assert busy.state.actions_by_id[keys["notify"]].status == "authorised", "the other was never sent"


def test_a_refused_fact_changes_nothing_and_asks_for_nothing() -> None:
    example = Example()
    example.begin()
    for refused in (
        SNAPSHOT,
        example.started(),
        example.folded("settle", "beta", "low"),
        confirmed("act_none"),
    ):
        assert evolve(example.state, refused) is example.state
        assert decide(example.state, refused) == ()
