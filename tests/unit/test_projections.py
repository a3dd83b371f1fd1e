"""Read models are pure functions of the facts: dropped and rebuilt, the rows are identical."""

from __future__ import annotations

from app.data_plane.projections import read_model
from app.kernel.facts import AnyFact, DeliveryConfirmed, DeliveryRetried, DeliveryStarted, Recorded
from tests.branching_workflow import ORCHESTRATION, Example

AT = "2026-01-01T00:00:00.000000Z"


def chain(facts: list[AnyFact]) -> list[Recorded]:
    return [Recorded(ORCHESTRATION, seq, AT, fact) for seq, fact in enumerate(facts)]


def test_before_a_decision_there_are_no_rows() -> None:
    example = Example()
    example.begin()
    model = read_model(chain(example.facts))
    assert (model.decision, model.actions) == (None, ())


def test_the_decision_and_its_actions_in_their_order_with_their_verdicts() -> None:
    example = Example()
    example.decide_with("high")
    model = read_model(chain(example.facts))
    assert model.decision is not None
    assert example.state.decision is not None
    assert model.decision.decision_digest == example.state.decision.decision_digest
    assert (model.decision.actions, model.decision.decided_at) == (3, AT)
    assert [(row.name, row.state) for row in model.actions] == [
        ("record", "authorised"),
        ("notify", "authorised"),
        ("forbidden", "denied"),
    ]
    assert model.actions[2].reason
    assert model.actions[2].idempotency_key == ""


def test_an_actions_row_tells_its_newest_fact() -> None:
    example = Example()
    example.decide_with("high")
    key = read_model(chain(example.facts)).actions[0].action_id
    example.happen(DeliveryStarted(action_id=key, attempt=1))
    assert read_model(chain(example.facts)).actions[0].state == "sending"
    example.happen(DeliveryRetried(action_id=key, attempt=1, reason="busy"))
    example.happen(DeliveryStarted(action_id=key, attempt=2))
    example.happen(DeliveryConfirmed(action_id=key, attempt=2, http_status=201, receipt_digest="ab"))
    row = read_model(chain(example.facts)).actions[0]
    assert (row.state, row.attempts, row.receipt_digest, row.reason) == ("confirmed", 2, "ab", "")


def test_the_rows_agree_with_the_state_that_decides() -> None:
    """Two readers of one journal never disagree about what became of an action."""
    example = Example()
    example.decide_with("low")
    key = next(iter(example.state.actions_by_id))
    example.happen(DeliveryStarted(action_id=key, attempt=1))
    rows = {row.action_id: row.state for row in read_model(chain(example.facts)).actions}
    assert rows == {key: one.status for key, one in example.state.actions_by_id.items()}
