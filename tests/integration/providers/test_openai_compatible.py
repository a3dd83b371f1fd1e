"""Guards: what is asked in OpenAI's protocol, and each status and body that its servers answer with.

What every provider promises is in ``tests/contract/test_model_providers.py``.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.adapters.providers.openai_compatible import OpenAICompatibleModel
from app.adapters.secrets import ReferencedSecrets
from app.data_plane.models import ModelAnswer, ModelRequest, ToolCall
from app.kernel.errors import Fate, InterlockError
from app.kernel.release import OpenAICompatibleProvider
from tests.integration.scripted_server import Behaviour, Exchange, ScriptedServer, scripted_server

REQUEST = ModelRequest(
    agent="triager",
    model="some-model",
    instructions="Label the issue.",
    inputs={"title": "It crashes"},
    schema={"type": "object"},
    temperature=0.5,
    max_output_tokens=100,
    timeout_seconds=10.0,
)
COMPLETION = json.dumps(
    {
        "id": "c1",
        "object": "chat.completion",
        "model": "some-model-2026",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": '{"a":1}'}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15},
    }
)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def model_at(url: str, json_mode: bool = True, effort: str | None = None) -> OpenAICompatibleModel:
    document = OpenAICompatibleProvider.model_validate(
        {
            "kind": "openai_compatible",
            "name": "main",
            "version": 1,
            "model": "some-model",
            "base_url": "env:MODEL_URL",
            "api_key": "env:MODEL_KEY",
            "json_mode": json_mode,
            "reasoning_effort": effort,
        }
    )
    environment = {"MODEL_URL": f"{url}/v1", "MODEL_KEY": "k3y"}
    return OpenAICompatibleModel(document, ReferencedSecrets(environment, Path("/nonexistent")))


def ask(behaviour: Behaviour, **options: Any) -> tuple[ModelAnswer, ScriptedServer]:
    async def run() -> tuple[ModelAnswer, ScriptedServer]:
        async with scripted_server(behaviour) as server:
            return await model_at(server.url, **options).ask(REQUEST), server

    return asyncio.run(run())


def fail(behaviour: Behaviour) -> tuple[InterlockError, ScriptedServer]:
    async def run() -> tuple[InterlockError, ScriptedServer]:
        async with scripted_server(behaviour) as server:
            with pytest.raises(InterlockError) as raised:
                await model_at(server.url).ask(REQUEST)
            return raised.value, server

    return asyncio.run(run())


def answers(status: str, body: str, *headers: str) -> Behaviour:
    async def answer(exchange: Exchange) -> None:
        await exchange.answer_json(status, body, *headers)

    return answer


def test_the_answer_is_the_exact_text_with_its_model_and_its_tokens() -> None:
    answer, server = ask(answers("200 OK", COMPLETION))
    assert answer == ModelAnswer(text='{"a":1}', model="some-model-2026", input_tokens=12, output_tokens=3)
    assert server.heads[0].startswith("POST /v1/chat/completions ")
    assert "authorization: bearer k3y" in server.heads[0].lower()
    asked = json.loads(server.bodies[0])
    assert [message["role"] for message in asked["messages"]] == ["system", "user"]
    assert asked["model"] == "some-model"
    assert asked["temperature"] == 0.5
    assert asked["max_tokens"] == 100
    assert asked["response_format"] == {"type": "json_object"}


def test_a_server_without_json_mode_is_not_asked_for_it() -> None:
    _, server = ask(answers("200 OK", COMPLETION), json_mode=False)
    assert "response_format" not in json.loads(server.bodies[0])


def test_a_reasoning_model_is_told_its_limit_by_its_name_for_it_and_no_temperature() -> None:
    _, server = ask(answers("200 OK", COMPLETION), effort="low")
    asked = json.loads(server.bodies[0])
    assert (asked["max_completion_tokens"], asked["reasoning_effort"]) == (100, "low")
    assert not {"temperature", "max_tokens"} & set(asked)


def test_a_models_name_that_is_none_is_kept_out_of_the_record() -> None:
    named = json.dumps({**json.loads(COMPLETION), "model": "m\0o\n" + "x" * 1000})
    answer, _ = ask(answers("200 OK", named))
    assert answer.model == "mo" + "x" * 196


def test_a_server_that_leaves_out_the_usage_is_understood() -> None:
    answer, _ = ask(answers("200 OK", json.dumps({"choices": [{"message": {"content": "hello"}}]})))
    assert answer == ModelAnswer("hello", "some-model", input_tokens=0, output_tokens=0, counted=False)


@pytest.mark.parametrize(
    ("status", "body", "code", "fate"),
    [
        ("500 Oops", "{}", "provider_failed", Fate.TRANSIENT),
        ("502 Bad Gateway", "<html>", "provider_failed", Fate.TRANSIENT),
        ("503 Down", "{}", "provider_busy", Fate.TRANSIENT),
        ("408 Slow", "{}", "provider_failed", Fate.TRANSIENT),
        ("429 Busy", '{"error": {"code": "insufficient_quota"}}', "provider_quota", Fate.PERMANENT),
        ("401 Who", "{}", "provider_credentials", Fate.PERMANENT),
        ("400 Bad", '{"error": {"message": "k3y"}}', "provider_refused", Fate.PERMANENT),
        ("307 Elsewhere", "{}", "provider_refused", Fate.PERMANENT),
        ("200 OK", "{", "provider_malformed", Fate.TRANSIENT),
        ("200 OK", "[]", "provider_malformed", Fate.TRANSIENT),
        ("200 OK", '{"choices": []}', "provider_malformed", Fate.TRANSIENT),
        ("200 OK", '{"choices": [{"message": {"content": 7}}]}', "provider_malformed", Fate.TRANSIENT),
        ("200 OK", '{"choices": [{"message": {"content": null}}]}', "provider_no_text", Fate.PERMANENT),
        ("200 OK", '{"choices": [{"message": {"tool_calls": []}}]}', "provider_no_text", Fate.PERMANENT),
        ("200 OK", '{"choices": [{"message": {"tool_calls": {}}}]}', "provider_malformed", Fate.TRANSIENT),
    ],
)
def test_each_bad_answer_has_a_code_and_a_fate_and_is_asked_for_once(
    status: str, body: str, code: str, fate: Fate
) -> None:
    error, server = fail(answers(status, body))
    assert (error.code, error.fate) == (code, fate)
    assert len(server.heads) == 1, "the client's own retries are off"
    assert "k3y" not in str(error)
    assert error.remedy


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ({"id": "c", "function": {"name": "f", "arguments": '{ "a": 1.0 }'}}, ("c", "f", '{ "a": 1.0 }')),
        ({"id": "c", "function": {"name": "f", "arguments": {"a": 2**70}}}, ("c", "f", f'{{"a":{2**70}}}')),
        ({"id": 7, "function": {"name": ["f"], "arguments": None}}, ("7", '["f"]', "")),
        ({"function": {"name": "f"}}, ("", "f", "")),
        ({"id": "c", "function": None}, ("c", "", "")),
        ({"id": "c", "type": "custom", "custom": {"name": "f", "input": "x"}}, ("c", "", "")),
        ("f()", ("", "", "")),
        (None, ("", "", "")),
        ([], ("", "", "")),
    ],
)
def test_a_call_that_no_protocol_has_is_kept_as_far_as_it_can_be_read(
    written: object, read: tuple[str, str, str]
) -> None:
    body = json.dumps({"choices": [{"message": {"content": None, "tool_calls": [written]}}]})
    answer, _ = ask(answers("200 OK", body))
    assert (answer.text, answer.calls) == ("", (ToolCall(*read),))


def test_a_number_that_is_none_makes_arguments_that_nobody_can_read() -> None:
    called = '{"function": {"name": "f", "arguments": {"a": 1e999}}}'
    answer, _ = ask(answers("200 OK", f'{{"choices": [{{"message": {{"tool_calls": [{called}]}}}}]}}'))
    assert answer.calls == (ToolCall("", "f", '{"a": Infinity}'),)


def test_a_cancelled_question_closes_the_connection() -> None:
    async def run() -> None:
        async with scripted_server(Exchange.wait_until_the_client_closes) as server:
            question = asyncio.create_task(model_at(server.url).ask(REQUEST))
            await asyncio.wait_for(server.asked.wait(), 5)
            question.cancel()
            await asyncio.wait_for(server.closed_by_client.wait(), 5)

    asyncio.run(run())


def test_opening_scripted_providers_loads_no_vendors_client() -> None:
    """A worker's memory: the vendors' clients weigh tens of megabytes."""
    program = (
        "import sys; import app.adapters.providers.open; "
        "print([name for name in ('openai', 'httpx2', 'anthropic', 'xllamacpp') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
