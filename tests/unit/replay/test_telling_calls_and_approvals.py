"""Calls of tools and people's consent, told in sentences."""

from __future__ import annotations

import pytest

from app.data_plane.replay.narrate import tell
from app.data_plane.replay.narrate_run import tell_run
from app.kernel.facts import (
    ActionAuthorised,
    ActionDenied,
    AnyFact,
    ApprovalDenied,
    ApprovalExpired,
    ApprovalGranted,
    ApprovalRequested,
    ApprovalSuperseded,
    CallProposed,
    ToolAnswered,
    ToolCalled,
    ToolFailed,
)

DIGEST = "ab" * 32
WHAT: dict[str, object] = {
    "action_id": "act_1",
    "name": "record",
    "position": 0,
    "tool": "reference.record",
    "target": "tracker",
    "arguments_digest": DIGEST,
    "policies": ("risky",),
}


def called(verdict: str, **more: object) -> ToolCalled:
    """One call of the first answer."""
    plain: dict[str, object] = {
        "position": 0,
        "call": 0,
        "tool": "reference.record",
        "target": "tracker",
        "arguments_digest": DIGEST,
        "verdict": verdict,
        "policies": ("routine",),
        "started_at": "2026-01-01T00:00:00.000000Z",
    }
    return ToolCalled.model_validate({**plain, **more})


def asked(persons: int) -> ApprovalRequested:
    """People are asked."""
    more = {"idempotency_key": "key_1", "provenance_digest": DIGEST, "action_digest": DIGEST}
    return ApprovalRequested.model_validate({**WHAT, **more, "persons": persons, "expires_seconds": 60.0})


@pytest.mark.parametrize(
    ("fact", "sentence"),
    [
        (
            CallProposed(
                action_id="act_1",
                run_id="run_1",
                stage="classify",
                agent="alpha",
                position=0,
                call=0,
                tool="reference.record",
                target="tracker",
                arguments_digest=DIGEST,
                provenance_digest=DIGEST,
            ),
            "In stage classify, alpha called reference.record at tracker: if the policy permits it, it is the action"
            " act_1.",
        ),
        (
            asked(1),
            "Action record (reference.record at tracker) needs a person's consent, as risky wants it: it waits for"
            " that, for 60 s.",
        ),
        (
            asked(2),
            "Action record (reference.record at tracker) needs the consent of 2 people, as risky wants it: it waits"
            " for that, for 60 s.",
        ),
        (
            ApprovalGranted(action_id="act_1", action_digest=DIGEST, actor="ines", reason_digest=DIGEST),
            "ines consented to act_1, as it was shown (abababababab).",
        ),
        (ApprovalDenied(action_id="act_1", actor="ines", reason_digest=DIGEST), "ines denied act_1."),
        (ApprovalExpired(action_id="act_1"), "Too few consented to act_1 in time: its approval expired."),
        (
            ApprovalSuperseded(action_id="act_1", reason="another policy"),
            "The approval of act_1 was superseded: another policy.",
        ),
        (
            ActionAuthorised.model_validate(
                {**WHAT, "idempotency_key": "key_1", "approved_by": ("ines", "otto")}
            ),
            "Action record (reference.record at tracker) was authorised after ines and otto consented, as risky wants"
            " it.",
        ),
        (
            ActionDenied.model_validate({**WHAT, "reason": "ines has denied it", "was_asked": True}),
            "Action record (reference.record at tracker) was denied after people were asked: ines has denied it.",
        ),
    ],
    ids=lambda value: value.kind if not isinstance(value, str) else "",
)
def test_each_fact_of_an_approval_is_one_sentence(fact: AnyFact, sentence: str) -> None:
    assert tell(fact) == sentence


@pytest.mark.parametrize(
    ("facts", "sentences"),
    [
        (
            [
                called("permitted", target=""),
                ToolAnswered(position=0, call=0, result_digest=DIGEST, duration_ms=7),
            ],
            [
                "It called reference.record: permitted by routine.",
                "reference.record answered in 7 ms: abababababab.",
            ],
        ),
        (
            [called("denied", policies=(), reason="no policy permits it")],
            ["It called reference.record at tracker: denied, no policy permits it."],
        ),
        (
            [
                called("handed_over", action_id="act_1"),
                ToolFailed(position=0, call=0, code="not_approved", fate="permanent", duration_ms=0),
            ],
            [
                "It called reference.record at tracker: handed over as the action act_1.",
                "reference.record gave no result: people were asked, and did not consent.",
            ],
        ),
        (
            [
                called("permitted"),
                ToolFailed(position=0, call=0, code="timed_out", fate="transient", duration_ms=10_000),
            ],
            [
                "It called reference.record at tracker: permitted by routine.",
                "reference.record gave no result in 10000 ms: timed_out (transient).",
            ],
        ),
    ],
    ids=["answered", "denied", "not approved", "failed"],
)
def test_a_runs_calls_are_told_with_what_became_of_them(facts: list[AnyFact], sentences: list[str]) -> None:
    assert list(tell_run(facts)) == sentences


def test_the_name_that_a_model_wrote_cannot_change_what_a_person_sees() -> None:
    (sentence,) = tell_run([called("denied", tool="shell\x1b[2J\u202e", reason="unknown_tool")])
    assert not {"\x1b", "\u202e"} & set(sentence)
    assert tell(called("permitted")).startswith("It called reference.record"), (
        "also where facts are listed alone"
    )
