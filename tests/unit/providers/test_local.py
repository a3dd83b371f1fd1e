"""Guards: one question at a time, stopped when nobody wants its answer, within what the proposal's schema allows."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from app.adapters.providers import local
from app.adapters.providers.local import (
    LONGEST_STRING,
    MOST_ITEMS,
    LocalModel,
    LocalModelAbsentError,
    short,
)
from app.data_plane.models import ModelAnswer, ModelRequest, ToolCall, ToolOffer, ToolResult, Turn
from app.kernel.errors import Fate, InterlockError
from app.kernel.release import LocalProvider
from interlock.canonical import JsonObject

REQUEST = ModelRequest(
    agent="triager",
    model="small",
    instructions="Label the issue.",
    inputs={"title": "It crashes"},
    schema={"type": "object", "properties": {"why": {"type": "string"}}},
    temperature=0.0,
    max_output_tokens=100,
    timeout_seconds=10.0,
)
DOCUMENT = LocalProvider(kind="local", name="local", version=1, model="small", context_tokens=512)


class Engine:
    """Writes ``parts``; one that says so goes on until it is stopped."""

    def __init__(self, *parts: Mapping[str, object], endless: bool = False) -> None:
        self.parts = parts
        self.endless = endless
        self.asked: list[JsonObject] = []
        self.writing = threading.Event()
        self.stopped = threading.Event()

    def handle_chat_completions(
        self, body: JsonObject, hear: Callable[[Mapping[str, object]], bool], /
    ) -> object:
        self.asked.append(body)
        self.writing.set()
        for part in self.parts:
            hear(part)
        while self.endless:
            if hear(wrote("x")):
                self.stopped.set()
                break
        return None


def wrote(text: str | None) -> Mapping[str, object]:
    return {"choices": [{"delta": {"content": text}, "finish_reason": None}]}


def model(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> LocalModel:
    monkeypatch.setattr(local, "weights_of", lambda name: Path(f"{name}.gguf"))
    return LocalModel(DOCUMENT, lambda weights, tokens: engine)


def failing(of: LocalModel, request: ModelRequest = REQUEST) -> InterlockError:
    with pytest.raises(InterlockError) as raised:
        asyncio.run(of.ask(request))
    return raised.value


def test_what_it_writes_is_the_answer_with_its_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 30, "completion_tokens": 2}}
    engine = Engine(wrote(None), wrote('{"why":'), wrote(' "x"}'), {"prompt_progress": {}}, usage)
    answer = asyncio.run(model(engine, monkeypatch).ask(REQUEST))
    assert answer == ModelAnswer('{"why": "x"}', "small", 30, 2)
    (asked,) = engine.asked
    assert [message["role"] for message in asked["messages"]] == ["system", "user"]  # type: ignore[index, union-attr, call-overload]
    assert (asked["max_tokens"], asked["temperature"]) == (100, 0.0)
    assert asked["json_schema"] == short(REQUEST.schema)


def test_an_answer_that_is_late_is_written_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(endless=True)
    error = failing(model(engine, monkeypatch), replace(REQUEST, timeout_seconds=0.05))
    assert (error.code, error.fate) == ("provider_timed_out", Fate.TRANSIENT)
    assert engine.stopped.wait(10)


def test_a_question_that_waits_and_is_given_up_is_never_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(endless=True)
    of = model(engine, monkeypatch)

    async def give_up_the_second() -> None:
        first = asyncio.create_task(of.ask(REQUEST))
        assert await asyncio.to_thread(engine.writing.wait, 10)
        second = asyncio.create_task(of.ask(REQUEST))
        await asyncio.sleep(0)
        second.cancel()
        first.cancel()
        await asyncio.gather(first, second, return_exceptions=True)

    asyncio.run(give_up_the_second())
    assert engine.stopped.wait(10)
    assert len(engine.asked) == 1


def test_a_prompt_beyond_its_context_is_refused_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine({"error": {"code": 400, "type": "exceed_context_size_error", "message": "..."}})
    error = failing(model(engine, monkeypatch))
    assert (error.code, error.fate) == ("provider_refused", Fate.PERMANENT)
    assert "512 tokens" in error.remedy


def test_weights_that_are_not_there_are_said_with_what_installs_them() -> None:
    error = failing(LocalModel(DOCUMENT))
    assert isinstance(error, LocalModelAbsentError)
    assert "make local-model" in error.remedy


def test_strings_and_lists_get_a_near_end_within_what_the_schema_allows() -> None:
    schema: JsonObject = {
        "type": "object",
        "properties": {
            "label": {"type": "string", "enum": ["a" * 500]},
            "why": {"type": "string", "maxLength": 2000},
            "code": {"type": "string", "maxLength": 3},
            "essay": {"type": "string", "minLength": 500},
            "names": {"type": "array", "items": {"type": "string"}},
            "count": {"type": "integer"},
        },
        "required": ["label"],
    }
    assert short(schema) == {
        "type": "object",
        "properties": {
            "label": {"type": "string", "enum": ["a" * 500]},
            "why": {"type": "string", "maxLength": LONGEST_STRING},
            "code": {"type": "string", "maxLength": 3},
            "essay": {"type": "string", "minLength": 500, "maxLength": 500},
            "names": {
                "type": "array",
                "items": {"type": "string", "maxLength": LONGEST_STRING},
                "maxItems": MOST_ITEMS,
            },
            "count": {"type": "integer"},
        },
        "required": ["label"],
    }


def test_offered_tools_are_not_shown_to_it_and_results_are_data_of_the_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It calls none; another model of the agent's chain may have, before it failed."""
    engine = Engine(wrote("{}"))
    of = model(engine, monkeypatch)
    offered = replace(REQUEST, tools=(ToolOffer("issues.read", "Reads one issue.", {"type": "object"}),))
    result = ToolResult(ToolCall("call_1", "issues.read", "{}"), '{"open":true}')
    for request in (REQUEST, offered, replace(offered, turns=(Turn("", (result,)),))):
        asyncio.run(of.ask(request))
    plain, without_tools, after_turns = engine.asked
    assert without_tools == plain
    assert "tools" not in after_turns
    messages = after_turns["messages"]
    assert isinstance(messages, list)
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[-1]["content"] == '<untrusted_data>\n{"result":{"open":true}}\n</untrusted_data>'
