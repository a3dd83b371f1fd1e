"""Guards: a question's worst case counts all that its model reads, also of tools."""

from __future__ import annotations

from dataclasses import replace

from app.data_plane.agent_runs.prompts import prompt_bytes
from app.data_plane.budgets.costs import FRAMING_TOKENS, TOOLS_TOKENS, worst_case
from app.data_plane.models import ModelRequest, ToolCall, ToolOffer, ToolResult, Turn

REQUEST = ModelRequest("triager", "some-model", "Label it.", {}, {"type": "object"}, 0.0, 100, 5.0)
LONG = "x" * 5_000


def tokens(request: ModelRequest) -> int:
    return worst_case(request, prompt_bytes(request), None, is_free=True).tokens


def test_without_tools_it_is_the_prompt_the_answer_and_the_framing() -> None:
    assert tokens(REQUEST) == len(prompt_bytes(REQUEST)) + FRAMING_TOKENS + 100


def test_the_worst_case_counts_what_tools_say_of_themselves() -> None:
    for offer in (ToolOffer("a.b", LONG, {}), ToolOffer("a.b", "", {"description": LONG})):
        assert tokens(replace(REQUEST, tools=(offer,))) > tokens(REQUEST) + len(LONG) + TOOLS_TOKENS


def test_the_worst_case_counts_answers_calls_and_results_of_every_turn() -> None:
    short, long = ToolCall("", "a.b", "{}"), ToolCall("", "a.b", f'{{"text": "{LONG}"}}')
    turns = (
        Turn(LONG, (ToolResult(short, "{}"),)),
        Turn("", (ToolResult(long, "{}"),)),
        Turn("", (ToolResult(short, LONG), ToolResult(short, LONG, failed=True))),
    )
    assert tokens(replace(REQUEST, turns=turns)) > tokens(REQUEST) + 4 * len(LONG) + TOOLS_TOKENS
