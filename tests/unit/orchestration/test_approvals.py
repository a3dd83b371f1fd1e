"""Whatever people say, in whatever order: an action goes out with the consent that the policy wants, or not at all."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.data_plane.orchestration.action_state import ActionState, person
from app.data_plane.orchestration.decide import Deliver, outstanding
from app.data_plane.orchestration.state import evolve
from app.kernel.facts import (
    ActionAuthorised,
    ActionDenied,
    AnyFact,
    ApprovalDenied,
    ApprovalExpired,
    ApprovalGranted,
    ApprovalRequested,
    ApprovalSuperseded,
)
from tests.branching_workflow import Example
from tests.calling_workflow import calling_release

NAMES = ("ines", "  INES ", "ｉnes", "omar", "Omar", "alpha", "calling", "")
"""Two people in several spellings, the agent, the workflow, and nobody."""
GRANT = st.tuples(st.just("grant"), st.sampled_from(NAMES), st.booleans())
"""The last part: whether it is the digest that was shown."""
OTHERS = st.sampled_from([("deny", "omar", True), ("expire", "", True), ("supersede", "", True)])
Said = tuple[str, str, bool]


def waiting(subject: str) -> tuple[Example, ApprovalRequested]:
    """A decision whose one action waits for people's consent."""
    example = Example(calling_release(action=subject))
    example.decide_with("low")
    asked = action_of(example).proposed
    assert isinstance(asked, ApprovalRequested)
    return example, asked


def action_of(example: Example) -> ActionState:
    """The one action."""
    (action,) = example.state.actions_by_id.values()
    return action


def fact_of(said: Said, asked: ApprovalRequested) -> AnyFact:
    """What was said, as a fact."""
    kind, name, shown = said
    match kind:
        case "grant":
            digest = asked.action_digest if shown else "0" * 64
            return ApprovalGranted(
                action_id=asked.action_id, action_digest=digest, actor=name, reason_digest=""
            )
        case "deny":
            return ApprovalDenied(action_id=asked.action_id, actor=name, reason_digest="")
        case "expire":
            return ApprovalExpired(action_id=asked.action_id)
    return ApprovalSuperseded(action_id=asked.action_id, reason="another policy is in force")


def expected(said: Sequence[Said], persons: int) -> str:
    """What a reader of the rules would say that it comes to."""
    people: set[str] = set()
    for kind, name, shown in said:
        if kind != "grant":
            return "denied"
        if shown and person(name) not in {"", "alpha", "calling"}:
            people.add(person(name))
        if len(people) == persons:
            return "authorised"
    return "awaiting_approval"


@settings(deadline=None)
@given(st.sampled_from([("risky", 1), ("grave", 2)]), st.lists(st.one_of(GRANT, GRANT, OTHERS), max_size=8))
def test_an_action_goes_out_with_enough_peoples_consent_before_anybody_said_no_and_else_never(
    case: tuple[str, int], said: list[Said]
) -> None:
    subject, persons = case
    example, asked = waiting(subject)
    assert asked.persons == persons
    for one in said:
        example.happen(fact_of(one, asked))
    action = action_of(example)
    assert action.status == expected(said, persons)
    assert (Deliver(asked.action_id) in outstanding(example.state)) == (action.status == "authorised")
    verdicts = [fact for fact in example.facts if isinstance(fact, (ActionAuthorised, ActionDenied))]
    assert len(verdicts) == (action.status != "awaiting_approval"), "an approval is used once"
    for verdict in verdicts:
        assert verdict.arguments_digest == asked.arguments_digest
        if isinstance(verdict, ActionAuthorised):
            assert verdict.idempotency_key == asked.idempotency_key
            assert len({person(name) for name in verdict.approved_by}) == persons


@pytest.mark.parametrize(
    "letter", ["\u200b", "\u00ad", "\ufe0f", "\u034f", "\u3164", "\u115f", "\U000e0101", "\x7f", "\x08"]
)
def test_what_nobody_sees_in_a_name_makes_nobody_a_second_person(letter: str) -> None:
    example, asked = waiting("grave")
    for name in ("ines", f"in{letter}es", f"INES{letter}"):
        example.happen(fact_of(("grant", name, True), asked))
    assert action_of(example).granted_by == ("ines",)
    assert action_of(example).status == "awaiting_approval"


def test_an_orchestration_waits_for_people_and_ends_with_their_answer() -> None:
    example, asked = waiting("risky")
    assert example.state.status == "awaiting_approval"
    assert outstanding(example.state) == ()
    example.happen(fact_of(("deny", "ines", True), asked))
    assert example.state.status == "completed"


def test_a_verdict_on_other_arguments_than_people_consented_to_does_not_follow() -> None:
    """A journal that says so was written by somebody else; nothing is sent by it."""
    example, asked = waiting("grave")
    example.happen(fact_of(("grant", "ines", True), asked))
    before = example.state
    example.happen(fact_of(("grant", "omar", True), asked))
    verdict = example.facts[-1]
    assert isinstance(verdict, ActionAuthorised)
    consented = before._replace(
        actions={asked.action_id: before.actions_by_id[asked.action_id]._replace(granted_by=("ines", "omar"))}
    )
    assert evolve(consented, verdict) is not consented
    for changed in (
        {"arguments_digest": "0" * 64},
        {"idempotency_key": "key_other"},
        {"approved_by": ("ines",)},
    ):
        assert evolve(consented, verdict.model_copy(update=changed)) is consented
