"""A model behind Anthropic's messages API, by way of the official client.

The agent's temperature is not sent: the API refuses any since its version of October 2026, which the client speaks.
Import this module only when such a provider is opened: it loads ``anthropic``, which weighs tens of megabytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import anthropic
import httpx2
from anthropic.types import MessageParam, ThinkingConfigParam
from pydantic import BaseModel, Field, ValidationError

from app.adapters.providers.remote import MAX_TOKENS, BrokenError, RemoteModel, StatusError, timeout_of
from app.adapters.secrets import Secrets
from app.data_plane.agent_runs.prompts import Message, render
from app.data_plane.models import ModelAnswer, ModelRequest
from app.kernel.clock import Clock
from app.kernel.release import AnthropicProvider


class _Block(BaseModel):
    type: str
    text: str = ""


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
    content: list[_Block]
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
                messages=[_parameter(message) for message in others],
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

    def _read(self, body: bytes) -> ModelAnswer:
        try:
            answer = _Answer.model_validate_json(body)
        except ValidationError as error:
            raise self._malformed("a message") from error
        tokens = answer.usage.tokens if answer.usage is not None else None
        blocks = [block.text for block in answer.content if block.type == "text"]
        # What is left of an answer that was stopped as a refusal is no answer; one that met its limit is the parser's.
        if not blocks or answer.stop_reason == "refusal":
            raise self._no_text(tokens)
        return self._answer("".join(blocks), answer.model, tokens)


def _parameter(message: Message) -> MessageParam:
    if message.role == "assistant":
        return {"role": "assistant", "content": message.content}
    return {"role": "user", "content": message.content}


def _thinking(document: AnthropicProvider) -> ThinkingConfigParam | anthropic.Omit:
    if document.thinking is None:
        return anthropic.omit
    return {"type": "disabled"} if document.thinking == "disabled" else {"type": "adaptive"}
