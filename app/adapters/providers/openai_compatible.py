"""A model behind a server that speaks OpenAI's chat completions, by way of the official client.

The client's own retries are off: whether to ask again is the run's decision, and each question is recorded.
While tools are offered the server is not asked for its JSON mode: some refuse both together, and others hold the model
to JSON so that it can call none. How many tools are called at once is the server's default, which is any number.
Import this module only when such a provider is opened: it loads ``openai``, which weighs tens of megabytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import httpx2
import openai
from openai.types.chat import (
    ChatCompletionAssistantMessageParam,
    ChatCompletionFunctionToolParam,
    ChatCompletionMessageParam,
)
from pydantic import BaseModel, Field, JsonValue, ValidationError

from app.adapters.providers.calling import Written, wire_name
from app.adapters.providers.remote import MAX_TOKENS, BrokenError, RemoteModel, StatusError, timeout_of
from app.adapters.secrets import Secrets
from app.data_plane.agent_runs.prompts import Message, render
from app.data_plane.models import ModelAnswer, ModelRequest, ToolOffer
from app.kernel.clock import Clock
from app.kernel.release import OpenAICompatibleProvider


class _Message(BaseModel):
    content: str | None = None
    tool_calls: list[JsonValue] | None = None
    """Servers differ in what they write here, and a call that is none is the gateway's to refuse."""


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int = Field(default=0, ge=0, le=MAX_TOKENS)
    completion_tokens: int = Field(default=0, ge=0, le=MAX_TOKENS)


class _Completion(BaseModel):
    """What we need of a chat completion; a server that leaves out the usage counted nothing."""

    model: str = ""
    choices: Annotated[list[_Choice], Field(min_length=1)]
    usage: _Usage | None = None


class OpenAICompatibleModel(RemoteModel[openai.AsyncOpenAI]):
    """Asks one model, over one client for each event loop.

    Args:
        document: the release's provider.
        secrets: resolves the address, when it is a reference, and the key, anew for each question.
    """

    def __init__(
        self, document: OpenAICompatibleProvider, secrets: Secrets, *, clock: Clock | None = None
    ) -> None:
        super().__init__(document, secrets, clock=clock)
        self._document = document

    def _make(self, address: str, http: httpx2.AsyncClient) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(
            api_key="each question has its own", base_url=address, max_retries=0, http_client=http
        )

    async def _send(
        self, client: openai.AsyncOpenAI, request: ModelRequest, headers: Mapping[str, str]
    ) -> bytes:
        effort = self._document.reasoning_effort
        limit = request.max_output_tokens
        json_mode = self._document.json_mode and not request.tools
        try:
            response = await client.chat.completions.with_raw_response.create(
                model=request.model,
                messages=[_parameter(message) for message in render(request)],
                tools=[_function(tool) for tool in request.tools] or openai.omit,
                response_format={"type": "json_object"} if json_mode else openai.omit,
                # A reasoning model refuses a temperature, and knows its limit by another name.
                temperature=request.temperature if effort is None else openai.omit,
                max_tokens=limit if effort is None else openai.omit,
                max_completion_tokens=openai.omit if effort is None else limit,
                reasoning_effort=effort or openai.omit,
                extra_headers=headers,
                timeout=timeout_of(request),
            )
        except openai.APIStatusError as error:
            raise StatusError(
                error.response, quota_used_up=error.status_code == 429 and error.code == "insufficient_quota"
            ) from error
        except openai.APIConnectionError as error:
            raise BrokenError from error.__cause__
        content: bytes = response.http_response.content
        return content

    def _read(self, body: bytes, request: ModelRequest) -> ModelAnswer:
        try:
            completion = _Completion.model_validate_json(body)
        except ValidationError as error:
            raise self._malformed("a chat completion") from error
        usage = completion.usage
        tokens = (usage.prompt_tokens, usage.completion_tokens) if usage is not None else None
        choice = completion.choices[0]
        text, called = choice.message.content, choice.message.tool_calls or []
        # What a filter left of an answer is no answer.
        if (text is None and not called) or choice.finish_reason == "content_filter":
            raise self._no_text(tokens)
        calls = self._calls([_written(call) for call in called], request)
        return self._answer(text or "", completion.model, tokens, calls)


def _function(tool: ToolOffer) -> ChatCompletionFunctionToolParam:
    return {
        "type": "function",
        "function": {
            "name": wire_name(tool.name),
            "description": tool.description,
            "parameters": dict(tool.schema),
        },
    }


def _parameter(message: Message) -> ChatCompletionMessageParam:
    if message.role == "system":
        return {"role": "system", "content": message.content}
    if message.role == "assistant":
        return _assistant(message)
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.result_of or "", "content": message.content}
    return {"role": "user", "content": message.content}


def _assistant(message: Message) -> ChatCompletionAssistantMessageParam:
    if not message.calls:
        return {"role": "assistant", "content": message.content}
    return {
        "role": "assistant",
        "content": message.content or None,
        "tool_calls": [
            {
                "id": call.call_id,
                "type": "function",
                "function": {"name": wire_name(call.tool), "arguments": call.arguments},
            }
            for call in message.calls
        ],
    }


def _written(call: JsonValue) -> Written:
    members = call if isinstance(call, dict) else {}
    function = members.get("function")
    if not isinstance(function, dict):
        function = {}
    return members.get("id"), function.get("name"), function.get("arguments")
