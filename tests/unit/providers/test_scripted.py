"""Guards: the same inputs get the same scripted answer, and having none is an error with its fate."""

from __future__ import annotations

import asyncio

import pytest

from app.adapters.providers.scripted import InvalidScriptError, NoScriptedAnswerError, ScriptedModel
from app.data_plane.models import (
    ModelAnswer,
    ModelRequest,
    ProviderUnavailableError,
    ToolCall,
    ToolResult,
    Turn,
)
from app.kernel.errors import Fate
from app.kernel.release import ScriptedCall, ScriptedFailure, ScriptedProvider, ScriptedRule


def model(*rules: ScriptedRule) -> ScriptedModel:
    return ScriptedModel(ScriptedProvider(kind="scripted", name="demo", version=1, rules=rules))


def ask(of: ScriptedModel, agent: str = "triager", **inputs: object) -> ModelAnswer:
    request = ModelRequest(agent, "scripted", "Label it.", inputs, {}, 0.0, 100, 5.0)  # type: ignore[arg-type]
    return asyncio.run(of.ask(request))


def ask_after(of: ScriptedModel, *turns: Turn, **inputs: object) -> ModelAnswer:
    """Ask as ``ask`` does, once tools were called."""
    request = ModelRequest("triager", "scripted", "Label it.", inputs, {}, 0.0, 100, 5.0, turns=turns)  # type: ignore[arg-type]
    return asyncio.run(of.ask(request))


def turn(tool: str, text: str, *, failed: bool = False) -> Turn:
    return Turn("", (ToolResult(ToolCall("", tool, "{}"), text, failed),))


def test_the_first_rule_of_the_agent_that_holds_answers() -> None:
    of = model(
        ScriptedRule(agent="other", answer="not mine"),
        ScriptedRule(agent="triager", when="inputs.title.contains('crash')", answer={"b": 1, "a": [True]}),
        ScriptedRule(agent="triager", answer="anything else"),
    )
    assert ask(of, title="a crash").text == '{"a":[true],"b":1}'
    assert ask(of, title="a typo").text == "anything else"


@pytest.mark.parametrize(
    "condition", ["inputs.absent == 1", "inputs.title + 1", "1 / 0 == 1", "nobody", "'yes'"]
)
def test_a_condition_without_a_true_value_does_not_hold(condition: str) -> None:
    of = model(
        ScriptedRule(agent="triager", when=condition, answer="wrong"),
        ScriptedRule(agent="triager", answer="right"),
    )
    assert ask(of, title="x").text == "right"


def test_without_a_rule_that_holds_the_error_is_permanent() -> None:
    with pytest.raises(NoScriptedAnswerError) as raised:
        ask(model(ScriptedRule(agent="triager", when="false", answer="never")))
    assert raised.value.code == "no_scripted_answer"
    assert raised.value.fate is Fate.PERMANENT


def test_tokens_are_counted_the_same_every_time() -> None:
    of = model(ScriptedRule(agent="triager", answer="four byte"))
    first = ask(of, title="x")
    assert first == ask(of, title="x")
    assert first.output_tokens == 3
    assert first.input_tokens > 1


def test_a_delayed_answer_can_be_cancelled() -> None:
    """A stage's time limit must end a run that waits."""

    async def impatient() -> None:
        of = model(ScriptedRule(agent="triager", answer="late", delay_seconds=600))
        request = ModelRequest("triager", "scripted", "x", {}, {}, 0.0, 100, 5.0)
        await asyncio.wait_for(of.ask(request), 0.01)

    with pytest.raises(TimeoutError):
        asyncio.run(impatient())


def test_a_rule_that_is_not_cel_is_refused_at_once() -> None:
    with pytest.raises(InvalidScriptError):
        model(ScriptedRule(agent="triager", when="1 +", answer="x"))


def test_a_rule_may_rehearse_an_outage_as_a_real_provider_would_have_it() -> None:
    busy = ScriptedFailure(code="provider_busy", retry_after_seconds=7)
    late = ScriptedFailure(code="provider_timed_out")
    of = model(
        ScriptedRule(agent="triager", when="inputs.title == 'busy'", failure=busy),
        ScriptedRule(agent="triager", when="inputs.title == 'late'", failure=late),
        ScriptedRule(agent="triager", answer="fine"),
    )
    told = []
    for title in ("busy", "late"):
        with pytest.raises(ProviderUnavailableError) as raised:
            ask(of, title=title)
        told.append((raised.value.code, raised.value.retry_after_seconds, raised.value.may_be_billed))
    assert told == [("provider_busy", 7.0, False), ("provider_timed_out", None, True)]
    assert ask(of, title="else").text == "fine"


def test_a_rule_calls_tools_with_arguments_from_the_inputs() -> None:
    read = ScriptedCall(tool="issues.read", arguments={"number": "inputs.number + 1", "all": "true"})
    broken = ScriptedCall(tool="No Such Tool", arguments='{"number": ')
    answer = ask(model(ScriptedRule(agent="triager", answer="Wait.", calls=(read, broken))), number=6)
    assert answer.text == "Wait."
    assert answer.calls == (
        ToolCall("call-0-0", "issues.read", '{"all":true,"number":7}'),
        ToolCall("call-0-1", "No Such Tool", '{"number": '),
    )


def test_a_rule_with_a_turn_answers_at_that_turn_alone() -> None:
    read = ScriptedCall(tool="issues.read")
    of = model(
        ScriptedRule(agent="triager", turn=0, calls=(read,)),
        ScriptedRule(agent="triager", turn=1, calls=(read, read)),
        ScriptedRule(agent="triager", answer="done"),
    )
    turns = [turn("issues.read", "{}")] * 2
    answers = [ask_after(of, *turns[:count]) for count in range(3)]
    assert [len(answer.calls) for answer in answers] == [1, 2, 0]
    assert [answer.text for answer in answers] == ["", "", "done"]
    assert len({call.call_id for answer in answers for call in answer.calls}) == 3


def test_conditions_and_arguments_see_the_results_of_all_turns_the_oldest_first() -> None:
    last = ScriptedCall(tool="issues.close", arguments={"number": "results[0].result.number"})
    of = model(
        ScriptedRule(
            agent="triager", when="results.exists(r, r.failed && r.result == 'gone')", answer="gone"
        ),
        ScriptedRule(agent="triager", when="results[1].tool == 'b.c'", calls=(last,)),
        ScriptedRule(agent="triager", when="size(results) == 0", answer="nothing yet"),
    )
    found = turn("issues.find", '{"number": 9}')
    assert ask(of).text == "nothing yet"
    assert ask_after(of, found, turn("b.c", "7")).calls == (
        ToolCall("call-2-0", "issues.close", '{"number":9}'),
    )
    assert ask_after(of, found, turn("b.c", "gone", failed=True)).text == "gone"


@pytest.mark.parametrize("expression", ["results[0].result", "1 / 0", "b'x'", "1.0 / 0.0"])
def test_an_argument_without_a_value_is_an_error_of_the_script(expression: str) -> None:
    call = ScriptedCall(tool="issues.read", arguments={"number": expression})
    with pytest.raises(InvalidScriptError) as raised:
        ask(model(ScriptedRule(agent="triager", calls=(call,))))
    assert raised.value.fate is Fate.PERMANENT


def test_an_argument_that_is_not_cel_is_refused_at_once() -> None:
    call = ScriptedCall(tool="issues.read", arguments={"number": "1 +"})
    with pytest.raises(InvalidScriptError):
        model(ScriptedRule(agent="triager", calls=(call,)))


def test_tools_and_turns_count_as_tokens() -> None:
    of = model(ScriptedRule(agent="triager", calls=(ScriptedCall(tool="issues.read"),)))
    first, second = ask(of), ask_after(of, turn("issues.read", '{"text": "' + "x" * 4000 + '"}'))
    assert second.input_tokens > first.input_tokens + 1000
    assert first.output_tokens > len("issues.read") // 4
