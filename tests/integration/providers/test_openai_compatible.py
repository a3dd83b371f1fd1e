"""Guards: one question is one request, and whatever a model's server does becomes an error with its fate."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from app.adapters.providers.openai_compatible import OpenAICompatibleModel
from app.adapters.secrets import ReferencedSecrets
from app.data_plane.models import ModelAnswer, ModelRequest
from app.kernel.errors import Fate, InterlockError, TransientError
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


def model_at(url: str, json_mode: bool = True, key: str = "env:MODEL_KEY") -> OpenAICompatibleModel:
    document = OpenAICompatibleProvider(
        kind="openai_compatible",
        name="main",
        version=1,
        model="some-model",
        base_url="env:MODEL_URL",
        api_key=key,
        json_mode=json_mode,
    )
    environment = {"MODEL_URL": f"{url}/v1", "MODEL_KEY": "k3y"}
    return OpenAICompatibleModel(document, ReferencedSecrets(environment, Path("/nonexistent")))


def ask(behaviour: Behaviour, **options: bool) -> tuple[ModelAnswer, ScriptedServer]:
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


def test_a_server_that_leaves_out_the_usage_is_understood() -> None:
    answer, _ = ask(answers("200 OK", json.dumps({"choices": [{"message": {"content": "hello"}}]})))
    assert answer == ModelAnswer(text="hello", model="some-model", input_tokens=0, output_tokens=0)


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


def test_a_busy_server_says_when_to_come_back() -> None:
    error, _ = fail(answers("429 Busy", "{}", "Retry-After: 7"))
    assert isinstance(error, TransientError)
    assert (error.code, error.retry_after_seconds) == ("provider_busy", 7.0)


def test_a_server_that_hangs_is_left_in_time_and_sees_the_connection_close() -> None:
    async def run() -> InterlockError:
        async with scripted_server(Exchange.wait_until_the_client_closes) as server:
            with pytest.raises(TransientError) as raised:
                await model_at(server.url).ask(replace(REQUEST, timeout_seconds=0.3))
            await asyncio.wait_for(server.closed_by_client.wait(), 5)
            return raised.value

    assert asyncio.run(run()).code == "provider_timed_out"


def test_a_server_that_drips_is_left_in_time_too() -> None:
    """The limit is on the whole answer: a byte every now and then must not extend it."""

    async def drip(exchange: Exchange) -> None:
        await exchange.answer("HTTP/1.1 200 OK\nContent-Type: application/json\nContent-Length: 100000\n\n")
        while not exchange.writer.is_closing():
            exchange.writer.write(b" ")
            await exchange.writer.drain()
            await asyncio.sleep(0.02)

    async def run() -> str:
        async with scripted_server(drip) as server:
            with pytest.raises(TransientError) as raised:
                await model_at(server.url).ask(replace(REQUEST, timeout_seconds=0.3))
            return raised.value.code

    assert asyncio.run(run()) == "provider_timed_out"


def test_a_cancelled_question_closes_the_connection() -> None:
    async def run() -> None:
        async with scripted_server(Exchange.wait_until_the_client_closes) as server:
            question = asyncio.create_task(model_at(server.url).ask(REQUEST))
            await asyncio.wait_for(server.asked.wait(), 5)
            question.cancel()
            await asyncio.wait_for(server.closed_by_client.wait(), 5)

    asyncio.run(run())


def test_nobody_listening_is_transient() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(TransientError) as raised:
            asyncio.run(model_at(url).ask(REQUEST))
    assert raised.value.code == "provider_unreachable"


def test_an_absent_key_is_said_by_its_reference_and_nothing_is_sent() -> None:
    async def run() -> tuple[str, str, list[str]]:
        async with scripted_server(answers("200 OK", COMPLETION)) as server:
            with pytest.raises(InterlockError) as raised:
                await model_at(server.url, key="env:ABSENT").ask(REQUEST)
            return raised.value.code, str(raised.value), server.heads

    code, text, heads = asyncio.run(run())
    assert code == "secret_unavailable"
    assert "env:ABSENT" in text
    assert heads == []


def test_opening_scripted_providers_loads_no_vendors_client() -> None:
    """A worker's memory: the vendors' clients weigh tens of megabytes."""
    program = (
        "import sys; import app.adapters.providers.open; "
        "print([name for name in ('openai', 'httpx2', 'anthropic') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
