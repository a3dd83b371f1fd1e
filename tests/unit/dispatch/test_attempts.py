"""What is committed before an attempt and after its answer: the rules behind "no effect twice"."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest

from app.data_plane.dispatch.attempts import (
    SEND_WITHIN_SECONDS,
    AfterReceipt,
    after_receipt,
    before_attempt,
    first_sent_at,
    last_sent_at,
    retry_seconds,
)
from app.data_plane.orchestration.action_state import ActionState
from app.data_plane.ports import Delivery, Receipt
from app.kernel.facts import (
    ActionAuthorised,
    ActionSettled,
    AnyFact,
    CancelRequested,
    DeliveryConfirmed,
    DeliveryFailed,
    DeliveryInDoubt,
    DeliveryRetried,
    DeliveryStarted,
    OrchestrationResumed,
)
from app.kernel.release import Target
from tests.branching_workflow import ORCHESTRATION, Example

HONOURS = Target(name="tracker", honours_keys=True, max_attempts=3)
FORGETS = Target(name="pager", max_attempts=3)
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
KEPT = timedelta(seconds=Target(name="tracker").key_ttl_seconds)
TAKES = timedelta(seconds=SEND_WITHIN_SECONDS + Target(name="tracker").timeout_seconds)

Outcome = Literal["confirmed", "refused", "retry", "unknown"]


@pytest.fixture
def example() -> Example:
    """A decision that asks for one action at each kind of target."""
    example = Example()
    example.decide_with("high")
    return example


def action(example: Example, name: str) -> str:
    return next(key for key, one in example.state.actions_by_id.items() if one.proposed.name == name)


def before(example: Example, key: str, now: datetime = NOW) -> AnyFact | None:
    """What comes before an attempt ``now``, when everything until here was recorded at ``NOW``."""
    return before_attempt(example.state, key, example.recorded(NOW), now)


def answered(
    target: Target, outcome: Outcome, attempt: int = 1, *, attempts_before: int = 0, ambiguous: bool = False
) -> AfterReceipt:
    delivery = Delivery(
        tenant_id="demo",
        target=target.name,
        action_id="act_1",
        orchestration_id=ORCHESTRATION,
        event_id="1",
        tool="reference.record",
        idempotency_key="key_1",
        path="/v1/effects/reference.record",
        headers={"Idempotency-Key": "key_1"},
        body=b"{}",
        timeout_seconds=1,
        attempt=attempt,
        traceparent=None,
    )
    proposed = ActionAuthorised(
        action_id="act_1",
        name="record",
        position=0,
        tool="reference.record",
        target=target.name,
        arguments_digest="0" * 64,
        idempotency_key="key_1",
        policies=(),
    )
    state = ActionState(proposed, "sending", attempt, attempts_before, ambiguous)
    return after_receipt(delivery, state, target, Receipt(outcome, 500))


def test_a_permitted_action_is_started_and_a_denied_one_never(example: Example) -> None:
    key = action(example, "record")
    assert before(example, key) == DeliveryStarted(action_id=key, attempt=1)
    assert before(example, action(example, "forbidden")) is None
    assert before(example, "act_unknown") is None


def test_an_attempt_nobody_heard_of_is_made_again_only_where_keys_are_honoured(example: Example) -> None:
    for name in ("record", "notify"):
        example.happen(DeliveryStarted(action_id=action(example, name), attempt=1))
    again = before(example, action(example, "record"))
    assert isinstance(again, DeliveryStarted)
    assert again.attempt == 2
    assert isinstance(before(example, action(example, "notify")), DeliveryInDoubt)


def test_attempts_are_limited_and_what_may_have_arrived_is_in_doubt(example: Example) -> None:
    key = action(example, "record")
    for attempt in range(1, 6):
        example.happen(DeliveryStarted(action_id=key, attempt=attempt))
    assert isinstance(before(example, key), DeliveryInDoubt)


def test_attempts_that_were_all_refused_for_now_end_in_failure(example: Example) -> None:
    key = action(example, "record")
    for attempt in range(1, 6):
        example.happen(DeliveryStarted(action_id=key, attempt=attempt))
        example.happen(DeliveryRetried(action_id=key, attempt=attempt, reason="busy"))
    assert isinstance(before(example, key), DeliveryFailed)


class TestKeyTtl:
    """Past ``key_ttl`` the target has forgotten the key, and sending again would apply it again."""

    @pytest.mark.parametrize(
        ("heard_of", "passed", "fact"),
        [
            (False, KEPT - TAKES - timedelta(seconds=1), DeliveryStarted),
            (False, KEPT - TAKES, DeliveryInDoubt),
            (False, KEPT * 7, DeliveryInDoubt),
            (True, KEPT * 7, DeliveryStarted),
        ],
    )
    def test_what_nobody_heard_of_is_sent_again_only_while_the_key_is_kept_until_it_arrives(
        self, example: Example, heard_of: bool, passed: timedelta, fact: type[object]
    ) -> None:
        key = action(example, "record")
        example.happen(DeliveryStarted(action_id=key, attempt=1))
        example.happen(DeliveryRetried(action_id=key, attempt=1, reason="no answer", ambiguous=not heard_of))
        assert isinstance(before(example, key, NOW + passed), fact)

    def test_it_counts_from_the_first_attempt_and_not_from_the_newest(self, example: Example) -> None:
        key = action(example, "record")
        example.happen(DeliveryStarted(action_id=key, attempt=1))
        early = example.recorded(NOW)
        example.happen(DeliveryStarted(action_id=key, attempt=2))
        facts = (*early, *example.recorded(NOW + KEPT)[len(early) :])
        assert (first_sent_at(facts, key), last_sent_at(facts, key)) == (NOW, NOW + KEPT)
        doubt = before_attempt(example.state, key, facts, NOW + KEPT)
        assert isinstance(doubt, DeliveryInDoubt)
        assert "key_ttl_seconds" in doubt.reason

    def test_an_attempt_whose_beginning_is_not_on_record_is_not_made_again(self, example: Example) -> None:
        key = action(example, "record")
        example.happen(DeliveryStarted(action_id=key, attempt=1))
        assert isinstance(before_attempt(example.state, key, (), NOW), DeliveryInDoubt)


def test_a_resumed_action_gets_its_attempts_anew(example: Example) -> None:
    key = action(example, "record")
    notify = action(example, "notify")
    example.happen(DeliveryStarted(action_id=notify, attempt=1))
    example.happen(DeliveryConfirmed(action_id=notify, attempt=1, http_status=201, receipt_digest="0" * 64))
    for attempt in range(1, 6):
        example.happen(DeliveryStarted(action_id=key, attempt=attempt))
        example.happen(DeliveryRetried(action_id=key, attempt=attempt, reason="busy"))
    example.happen(DeliveryFailed(action_id=key, attempt=5, reason="busy"))
    example.happen(OrchestrationResumed(replay_id="rpl_1", actor="alice", reason_digest="0" * 64))
    assert before(example, key) == DeliveryStarted(action_id=key, attempt=6)
    assert isinstance(answered(HONOURS, "retry", 7, attempts_before=5).fact, DeliveryRetried)
    assert isinstance(answered(HONOURS, "retry", 8, attempts_before=5).fact, DeliveryFailed)


def test_what_a_person_says_was_not_applied_is_sent_again_when_resumed_and_not_before(
    example: Example,
) -> None:
    """Also at a target that does not honour keys: a person has said that it is safe."""
    key, record = action(example, "notify"), action(example, "record")
    example.happen(DeliveryStarted(action_id=record, attempt=1))
    example.happen(DeliveryConfirmed(action_id=record, attempt=1, http_status=201, receipt_digest="0" * 64))
    example.happen(DeliveryStarted(action_id=key, attempt=1))
    example.happen(DeliveryInDoubt(action_id=key, attempt=1, reason="no answer"))
    for fact in (
        ActionSettled(action_id=key, attempt=1, applied=False, actor="alice", reason_digest="0" * 64),
        None,
    ):
        assert before(example, key) is None
        if fact is not None:
            example.happen(fact)
    example.happen(OrchestrationResumed(replay_id="rpl_1", actor="alice", reason_digest="0" * 64))
    assert before(example, key) == DeliveryStarted(action_id=key, attempt=2)


def test_a_cancelled_action_is_not_sent(example: Example) -> None:
    example.happen(DeliveryStarted(action_id=action(example, "notify"), attempt=1))
    example.happen(CancelRequested(actor="alice", reason_digest="0" * 64))
    assert before(example, action(example, "record")) is None


def test_a_closed_orchestration_sends_nothing(example: Example) -> None:
    example.happen(CancelRequested(actor="alice", reason_digest="0" * 64))
    assert example.state.status == "cancelled"
    assert before(example, action(example, "record")) is None


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
def test_what_an_answer_means(target: Target, outcome: Outcome, attempt: int, fact: type[object]) -> None:
    """Only ``retry`` says that nothing was applied; ``unknown`` may be repeated where the key is honoured."""
    after = answered(target, outcome, attempt)
    assert isinstance(after.fact, fact)
    assert (after.retry_in_seconds is not None) == isinstance(after.fact, DeliveryRetried)
    if isinstance(after.fact, DeliveryRetried):
        assert after.fact.ambiguous == (outcome == "unknown")


@pytest.mark.parametrize("outcome", ["refused", "retry"])
def test_giving_up_after_an_attempt_that_nobody_heard_of_is_a_doubt_and_no_failure(outcome: Outcome) -> None:
    """The last answer says nothing about the earlier attempt, which may have been applied."""
    assert isinstance(answered(HONOURS, outcome, 3, ambiguous=True).fact, DeliveryInDoubt)


def test_backoff_grows_differs_between_actions_and_honours_what_the_target_asked_for() -> None:
    waits = [retry_seconds("act_1", attempt, None) for attempt in range(1, 12)]
    assert all(0.5 * 2 ** (n - 1) <= wait <= 2 ** (n - 1) for n, wait in enumerate(waits[:8], 1))
    assert max(waits) <= 300
    assert retry_seconds("act_1", 3, None) != retry_seconds("act_2", 3, None)
    assert retry_seconds("act_1", 1, 60.0) == 60.0
