"""Guards: what is asked in Anthropic's protocol, and what of its answers is read.

What every provider promises is in ``tests/contract/test_model_providers.py``.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from app.adapters.providers.anthropic_messages import AnthropicModel
from app.adapters.secrets import ReferencedSecrets
from app.data_plane.models import ModelAnswer, ModelRequest, ToolCall
from app.kernel.release import AnthropicProvider
from tests.integration.scripted_server import Exchange, scripted_server
from tests.model_faults import Asked, faulty_models

REQUEST = ModelRequest(
    agent="triager",
    model="claude-some-model",
    instructions="Label the issue.",
    inputs={"title": "It crashes"},
    schema={"type": "object"},
    temperature=0.5,
    max_output_tokens=50_000,
    timeout_seconds=10.0,
)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def model_at(url: str, **fields: str) -> AnthropicModel:
    document = AnthropicProvider.model_validate(
        {
            "kind": "anthropic",
            "name": "main",
            "version": 1,
            "model": "claude-some-model",
            "base_url": url,
            "api_key": "env:KEY",
            **fields,
        }
    )
    return AnthropicModel(document, ReferencedSecrets({"KEY": "k3y"}, Path("/nonexistent")))


def asked_of(**fields: str) -> Asked:
    with faulty_models() as models:
        asyncio.run(model_at(models.url("anthropic"), **fields).ask(REQUEST))
    (asked,) = models.history
    return asked


def test_instructions_are_the_system_and_data_is_the_user_and_no_temperature_is_sent() -> None:
    asked = asked_of()
    assert asked.head.startswith("POST /v1/messages ")
    assert asked.body["messages"] == [{"role": "user", "content": asked.user}]
    assert set(asked.body) == {"model", "system", "messages", "max_tokens"}
    assert asked.body["max_tokens"] == 50_000, "however long the answer may be, it is not streamed"


def test_a_document_says_whether_the_model_thinks() -> None:
    assert asked_of(thinking="disabled").body["thinking"] == {"type": "disabled"}
    assert asked_of(thinking="adaptive").body["thinking"] == {"type": "adaptive"}


def answered(*blocks: object, stopped: str = "tool_use") -> ModelAnswer:
    """What is read of a message with these blocks."""
    message = {"type": "message", "model": "claude-1", "content": blocks, "stop_reason": stopped}

    async def answer(exchange: Exchange) -> None:
        await exchange.answer_json("200 OK", json.dumps(message))

    async def run() -> ModelAnswer:
        async with scripted_server(answer) as server:
            return await model_at(server.url).ask(REQUEST)

    return asyncio.run(run())


def use(**members: object) -> dict[str, object]:
    return {"type": "tool_use", "id": "t1", "name": "f", "input": {}, **members}


def test_text_around_calls_is_one_text_and_thoughts_are_none() -> None:
    answer = answered(
        {"type": "thinking", "thinking": "Hm.", "signature": "s"},
        {"type": "text", "text": "First "},
        use(input={"b": 2**70, "a": 1.5}),
        {"type": "text", "text": "last."},
        use(id="t2"),
    )
    assert answer.text == "First last."
    assert answer.calls == (
        ToolCall("t1", "f", f'{{"a":1.5,"b":{2**70}}}'),
        ToolCall("t2", "f", "{}"),
    )


def test_a_call_that_met_the_answers_limit_is_not_taken_for_a_whole_one() -> None:
    """What there is of its input can be read all the same, and may lack what matters."""
    answer = answered(use(input={"a": 1}), use(input={"dry_run": False}), stopped="max_tokens")
    assert [call.arguments for call in answer.calls] == ['{"a":1}', '{"dry_run":false']


def test_a_whole_call_before_the_limit_stays_whole() -> None:
    answer = answered(use(input={"a": 1}), {"type": "text", "text": "And n"}, stopped="max_tokens")
    assert [call.arguments for call in answer.calls] == ['{"a":1}']


def test_a_call_that_no_protocol_has_is_kept_as_far_as_it_can_be_read() -> None:
    answer = answered(
        {"type": "tool_use"}, use(name=None, input=[1]), use(id={"a": 1}, input="x"), use(input=float("inf"))
    )
    assert answer.calls == (
        ToolCall("", "", ""),
        ToolCall("t1", "", "[1]"),
        ToolCall('{"a":1}', "f", "x"),
        ToolCall("t1", "f", "Infinity"),
    )


def test_what_was_read_from_a_cache_counts_as_tokens_that_went_in() -> None:
    message = {
        "type": "message",
        "model": "claude-1",
        "content": [{"type": "text", "text": "yes"}],
        "usage": {"input_tokens": 5, "cache_read_input_tokens": 7, "output_tokens": 2},
    }

    async def answer(exchange: Exchange) -> None:
        await exchange.answer_json("200 OK", json.dumps(message))

    async def run() -> ModelAnswer:
        async with scripted_server(answer) as server:
            return await model_at(server.url).ask(REQUEST)

    assert asyncio.run(run()) == ModelAnswer("yes", "claude-1", input_tokens=12, output_tokens=2)
