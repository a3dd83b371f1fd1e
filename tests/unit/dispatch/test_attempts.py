"""What is committed before an attempt and after its answer: the rules behind "no effect twice"."""

from __future__ import annotations

from typing import Literal

import pytest

from app.data_plane.dispatch.attempts import AfterReceipt, after_receipt, before_attempt, retry_seconds
from app.data_plane.ports import Delivery, Receipt
from app.kernel.facts import (
    CancelRequested,
    DeliveryConfirmed,
    DeliveryFailed,
    DeliveryInDoubt,
    DeliveryRetried,
    DeliveryStarted,
)
from app.kernel.release import Target
from tests.branching_workflow import ORCHESTRATION, Example

HONOURS = Target(name="tracker", honours_keys=True, max_attempts=3)
FORGETS = Target(name="pager", max_attempts=3)


@pytest.fixture
def example() -> Example:
    """A decision that asks for one action at each kind of target."""
    example = Example()
    example.decide_with("high")
    return example


def action(example: Example, name: str) -> str:
    return next(key for key, one in example.state.actions_by_id.items() if one.proposed.name == name)


def answered(
    target: Target, outcome: Literal["confirmed", "refused", "retry", "unknown"], attempt: int = 1
) -> AfterReceipt:
    delivery = Delivery(
        tenant_id="demo",
        target=target.name,
        action_id="act_1",
        orchestration_id=ORCHESTRATION,
        event_id="1",
        tool="reference.record",
        idempotency_key="key_1",
        arguments=b"{}",
        timeout_seconds=1,
        attempt=attempt,
        traceparent=None,
    )
    return after_receipt(delivery, target, Receipt(outcome, 500))


def test_a_permitted_action_is_started_and_a_denied_one_never(example: Example) -> None:
    key = action(example, "record")
    assert before_attempt(example.state, key) == DeliveryStarted(action_id=key, attempt=1)
    assert before_attempt(example.state, action(example, "forbidden")) is None
    assert before_attempt(example.state, "act_unknown") is None


def test_an_attempt_nobody_heard_of_is_made_again_only_where_keys_are_honoured(example: Example) -> None:
    for name in ("record", "notify"):
        example.happen(DeliveryStarted(action_id=action(example, name), attempt=1))
    again = before_attempt(example.state, action(example, "record"))
    assert isinstance(again, DeliveryStarted)
    assert again.attempt == 2
    assert isinstance(before_attempt(example.state, action(example, "notify")), DeliveryInDoubt)


def test_attempts_are_limited_and_what_may_have_arrived_is_in_doubt(example: Example) -> None:
    key = action(example, "record")
    for attempt in range(1, 6):
        example.happen(DeliveryStarted(action_id=key, attempt=attempt))
    assert isinstance(before_attempt(example.state, key), DeliveryInDoubt)
    example.happen(DeliveryRetried(action_id=key, attempt=5, reason="busy"))
    assert isinstance(before_attempt(example.state, key), DeliveryFailed)


def test_a_cancelled_action_is_not_sent(example: Example) -> None:
    example.happen(DeliveryStarted(action_id=action(example, "notify"), attempt=1))
    example.happen(CancelRequested(actor="alice", reason_digest="0" * 64))
    assert before_attempt(example.state, action(example, "record")) is None


def test_a_closed_orchestration_sends_nothing(example: Example) -> None:
    example.happen(CancelRequested(actor="alice", reason_digest="0" * 64))
    assert example.state.status == "cancelled"
    assert before_attempt(example.state, action(example, "record")) is None


@pytest.mark.parametrize(
    ("target", "outcome", "attempt", "fact"),
    [
        (HONOURS, "confirmed", 1, DeliveryConfirmed),
        (HONOURS, "refused", 1, DeliveryFailed),
        (HONOURS, "retry", 1, DeliveryRetried),
        (HONOURS, "retry", 3, DeliveryFailed),
        (HONOURS, "unknown", 1, DeliveryRetried),
        (HONOURS, "unknown", 3, DeliveryInDoubt),
        (FORGETS, "retry", 1, DeliveryRetried),
        (FORGETS, "unknown", 1, DeliveryInDoubt),
    ],
)
def test_what_an_answer_means(
    target: Target,
    outcome: Literal["confirmed", "refused", "retry", "unknown"],
    attempt: int,
    fact: type[object],
) -> None:
    """Only ``retry`` says that nothing was applied; ``unknown`` may be repeated where the key is honoured."""
    after = answered(target, outcome, attempt)
    assert isinstance(after.fact, fact)
    assert (after.retry_in_seconds is not None) == isinstance(after.fact, DeliveryRetried)


def test_backoff_grows_differs_between_actions_and_honours_what_the_target_asked_for() -> None:
    waits = [retry_seconds("act_1", attempt, None) for attempt in range(1, 12)]
    assert all(0.5 * 2 ** (n - 1) <= wait <= 2 ** (n - 1) for n, wait in enumerate(waits[:8], 1))
    assert max(waits) <= 300
    assert retry_seconds("act_1", 3, None) != retry_seconds("act_2", 3, None)
    assert retry_seconds("act_1", 1, 60.0) == 60.0
