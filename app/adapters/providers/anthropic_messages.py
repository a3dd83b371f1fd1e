"""A model behind Anthropic's messages API, by way of the official client.

The agent's temperature is not sent: the API refuses any since its version of October 2026, which the client speaks.
What a model thought before it called tools is not kept, and so not shown to it again.
Import this module only when such a provider is opened: it loads ``anthropic``, which weighs tens of megabytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import groupby
from typing import Annotated, Literal

import anthropic
import httpx2
from anthropic.types import (
    MessageParam,
    TextBlockParam,
    ThinkingConfigParam,
    ToolParam,
    ToolResultBlockParam,
    ToolUseBlockParam,
)
from pydantic import BaseModel, Field, JsonValue, ValidationError

from app.adapters.providers.calling import MOST_CALLS, wire_name
from app.adapters.providers.remote import MAX_TOKENS, BrokenError, RemoteModel, StatusError, timeout_of
from app.adapters.secrets import Secrets
from app.data_plane.agent_runs.prompts import Message, render
from app.data_plane.models import ModelAnswer, ModelRequest, ToolCall, ToolOffer
from app.kernel.clock import Clock
from app.kernel.release import AnthropicProvider


class _Block(BaseModel):
    """What a block that calls a tool holds may be anything: a call that is none is the gateway's to refuse."""

    type: str
    text: str = ""
    id: JsonValue = None
    name: JsonValue = None
    input: JsonValue = None


class _Usage(BaseModel):
    """What was read from a cache or written to it is not in ``input_tokens``."""

    input_tokens: int = Field(default=0, ge=0, le=MAX_TOKENS)
    cache_creation_input_tokens: int | None = Field(default=None, ge=0, le=MAX_TOKENS)
    cache_read_input_tokens: int | None = Field(default=None, ge=0, le=MAX_TOKENS)
    output_tokens: int = Field(default=0, ge=0, le=MAX_TOKENS)

    @property
    def tokens(self) -> tuple[int, int]:
        """In and out."""
        cached = (self.cache_creation_input_tokens or 0) + (self.cache_read_input_tokens or 0)
        return self.input_tokens + cached, self.output_tokens


class _Answer(BaseModel):
    """What we need of a message; a server that leaves out the usage counted nothing."""

    type: Literal["message"]
    model: str = ""
    content: Annotated[list[_Block], Field(max_length=4 * MOST_CALLS)]
    stop_reason: str | None = None
    usage: _Usage | None = None


class AnthropicModel(RemoteModel[anthropic.AsyncAnthropic]):
    """Asks one model, over one client for each event loop.

    Args:
        document: the release's provider.
        secrets: resolves the address, when it is a reference, and the key, anew for each question.
    """

    def __init__(self, document: AnthropicProvider, secrets: Secrets, *, clock: Clock | None = None) -> None:
        super().__init__(document, secrets, clock=clock)
        self._document = document

    def _make(self, address: str, http: httpx2.AsyncClient) -> anthropic.AsyncAnthropic:
        return anthropic.AsyncAnthropic(
            api_key="each question has its own",
            base_url=address,
            max_retries=0,
            http_client=http,
            open_telemetry=False,
        )

    async def _send(
        self, client: anthropic.AsyncAnthropic, request: ModelRequest, headers: Mapping[str, str]
    ) -> bytes:
        system, *others = render(request)
        try:
            response = await client.messages.with_raw_response.create(
                model=request.model,
                system=system.content,
                messages=_parameters(others),
                tools=_tools(request) or anthropic.omit,
                tool_choice={"type": "none"} if request.turns and not request.tools else anthropic.omit,
                max_tokens=request.max_output_tokens,
                thinking=_thinking(self._document),
                extra_headers=headers,
                timeout=timeout_of(request),
            )
        except anthropic.APIStatusError as error:
            raise StatusError(error.response) from error
        except anthropic.APIConnectionError as error:
            raise BrokenError from error.__cause__
        content: bytes = response.http_response.content
        return content

    def _read(self, body: bytes, request: ModelRequest) -> ModelAnswer:
        try:
            answer = _Answer.model_validate_json(body)
        except ValidationError as error:
            raise self._malformed("a message") from error
        tokens = answer.usage.tokens if answer.usage is not None else None
        blocks = [block.text for block in answer.content if block.type == "text"]
        written = [
            (block.id, block.name, block.input) for block in answer.content if block.type == "tool_use"
        ]
        # What is left of an answer that was stopped as a refusal is no answer; one that met its limit is the parser's.
        if not (blocks or written) or answer.stop_reason == "refusal":
            raise self._no_text(tokens)
        calls = self._calls(written, request)
        if answer.stop_reason == "max_tokens" and answer.content[-1].type == "tool_use":
            calls = (*calls[:-1], _cut(calls[-1]))
        return self._answer("".join(blocks), answer.model, tokens, calls)


def _cut(call: ToolCall) -> ToolCall:
    """The call that met the answer's limit: what there is of its input looks whole, and must not be taken for it."""
    return replace(call, arguments=call.arguments[:-1])


def _tools(request: ModelRequest) -> list[ToolParam]:
    """The offered tools; where there are none any more, those that were called, as the API wants to know them."""
    if request.tools:
        return [_tool(tool) for tool in request.tools]
    names = {wire_name(result.call.tool) for turn in request.turns for result in turn.results}
    return [{"name": name, "input_schema": {"type": "object"}} for name in sorted(names)]


def _tool(tool: ToolOffer) -> ToolParam:
    return {
        "name": wire_name(tool.name),
        "description": tool.description,
        "input_schema": dict(tool.schema),
    }


def _parameters(messages: Iterable[Message]) -> list[MessageParam]:
    """The messages; the results of one answer's calls are one message, as the API wants them."""
    parameters: list[MessageParam] = []
    for are_results, group in groupby(messages, key=lambda message: message.role == "tool"):
        if are_results:
            parameters.append({"role": "user", "content": [_result(message) for message in group]})
        else:
            parameters.extend(map(_parameter, group))
    return parameters


def _parameter(message: Message) -> MessageParam:
    if message.role != "assistant":
        return {"role": "user", "content": message.content}
    if not message.calls:
        return {"role": "assistant", "content": message.content}
    # The API refuses text that is only white space.
    texts: list[TextBlockParam] = (
        [{"type": "text", "text": message.content}] if message.content.strip() else []
    )
    return {"role": "assistant", "content": [*texts, *map(_use, message.calls)]}


def _use(call: ToolCall) -> ToolUseBlockParam:
    return {
        "type": "tool_use",
        "id": call.call_id,
        "name": wire_name(call.tool),
        "input": json.loads(call.arguments),
    }


def _result(message: Message) -> ToolResultBlockParam:
    return {
        "type": "tool_result",
        "tool_use_id": message.result_of or "",
        "content": message.content,
        "is_error": message.failed,
    }


def _thinking(document: AnthropicProvider) -> ThinkingConfigParam | anthropic.Omit:
    if document.thinking is None:
        return anthropic.omit
    return {"type": "disabled"} if document.thinking == "disabled" else {"type": "adaptive"}
