"""Judging a run's calls of tools again: the recorded answers must lead to the recorded verdicts."""

from __future__ import annotations

from collections.abc import Sequence

from app.data_plane.agent_runs.calls import Caller, PlacedCall, judge_calls, too_many
from app.data_plane.agent_runs.recordings import read_recording
from app.kernel.facts import AnswerRejected, AnyFact, ModelAnswered, Recorded, ToolCalled


def wrong_verdict(caller: Caller, chain: Sequence[Recorded]) -> tuple[Recorded, str] | None:
    """The first recorded verdict that does not follow from the answer before it, and how it differs."""
    facts = [item.fact for item in chain]
    for place, fact in enumerate(facts):
        if isinstance(fact, ModelAnswered) and fact.calls:
            wrong = _wrong_of(caller, _known(facts, place, fact), fact, chain[place + 1 :])
            if wrong is not None:
                return wrong
    return None


def _known(facts: Sequence[AnyFact], place: int, answer: ModelAnswered) -> Sequence[AnyFact]:
    """What the run knew when it judged the answer: what another provider cost may stand between it and its verdicts."""
    for later, fact in enumerate(facts[place + 1 :], place + 1):
        if isinstance(fact, ToolCalled) and fact.position == answer.position:
            return facts[:later]
    return facts[: place + 1]


def _wrong_of(
    caller: Caller, known: Sequence[AnyFact], answer: ModelAnswered, later: Sequence[Recorded]
) -> tuple[Recorded, str] | None:
    _, written = read_recording(caller.contents.body(answer.answer_digest), answer.calls)
    made = sum(isinstance(fact, ToolCalled) for fact in known)
    many = too_many(caller.agent, made, len(written))
    recorded = [item for item in later if getattr(item.fact, "position", None) == answer.position]
    refused = next((item for item in recorded if isinstance(item.fact, AnswerRejected)), None)
    if many or refused is not None:
        return _wrong_refusal(recorded, refused, many)
    told = [item for item in recorded if isinstance(item.fact, ToolCalled)]
    if not told:
        return None  # its worker died before it was interpreted
    placed = [PlacedCall(answer.position, number, call) for number, call in enumerate(written)]
    at = told[0].fact.started_at if isinstance(told[0].fact, ToolCalled) else ""
    again = [judged.fact for judged in judge_calls(caller, known, placed, at)]
    for item, expected in zip(told, again, strict=False):
        if item.fact != expected:
            return item, f"judged again it is {expected.verdict}: {expected.reason or expected.policies}"
    return None if len(told) == len(again) else (told[-1], f"the answer has {len(again)} calls")


def _wrong_refusal(
    recorded: Sequence[Recorded], refused: Recorded | None, many: str
) -> tuple[Recorded, str] | None:
    called = next((item for item in recorded if isinstance(item.fact, ToolCalled)), None)
    if called is not None:
        return called, f"the answer should have been refused: {many}"
    if refused is not None and isinstance(refused.fact, AnswerRejected) and refused.fact.reason != many:
        return refused, "the answer is refused for another reason"
    return None
