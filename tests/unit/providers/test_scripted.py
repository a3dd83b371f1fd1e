"""Guards: the same inputs get the same scripted answer, and having none is an error with its fate."""

from __future__ import annotations

import asyncio

import pytest

from app.adapters.providers.scripted import InvalidScriptError, NoScriptedAnswerError, ScriptedModel
from app.data_plane.models import ModelAnswer, ModelRequest, ProviderUnavailableError
from app.kernel.errors import Fate
from app.kernel.release import ScriptedFailure, ScriptedProvider, ScriptedRule


def model(*rules: ScriptedRule) -> ScriptedModel:
    return ScriptedModel(ScriptedProvider(kind="scripted", name="demo", version=1, rules=rules))


def ask(of: ScriptedModel, agent: str = "triager", **inputs: object) -> ModelAnswer:
    request = ModelRequest(agent, "scripted", "Label it.", inputs, {}, 0.0, 100, 5.0)  # type: ignore[arg-type]
    return asyncio.run(of.ask(request))


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
