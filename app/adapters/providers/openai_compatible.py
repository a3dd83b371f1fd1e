"""A model behind a server that speaks OpenAI's chat completions, by way of the official client.

The client's own retries are off: whether to ask again is the run's decision, and each question is recorded.
Import this module only when such a provider is opened: it loads ``openai``, which weighs tens of megabytes.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Annotated, NoReturn
from weakref import WeakKeyDictionary

import httpx2
import openai
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel, Field, ValidationError

from app.adapters.retry_after import retry_after_seconds
from app.adapters.secrets import Secrets
from app.data_plane.agent_runs.prompts import Message, render
from app.data_plane.models import ModelAnswer, ModelRequest, ProviderRefusedError, ProviderUnavailableError
from app.kernel.clock import Clock, SystemClock
from app.kernel.errors import InterlockError
from app.kernel.release import OpenAICompatibleProvider

CONNECT_SECONDS = 5.0
MAX_CONNECTIONS = 256

_TRANSIENT = frozenset({408, 409, 425, 429})
_CREDENTIALS = frozenset({401, 403})


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message


class _Usage(BaseModel):
    prompt_tokens: int = Field(default=0, ge=0)
    completion_tokens: int = Field(default=0, ge=0)


class _Completion(BaseModel):
    """What we need of a chat completion; a server that leaves out the usage counted nothing."""

    model: str = ""
    choices: Annotated[list[_Choice], Field(min_length=1)]
    usage: _Usage | None = None


class OpenAICompatibleModel:
    """Asks one model, over one client for each event loop.

    Args:
        document: the release's provider.
        secrets: resolves the address, when it is a reference, and the key, anew for each question.
    """

    def __init__(
        self, document: OpenAICompatibleProvider, secrets: Secrets, *, clock: Clock | None = None
    ) -> None:
        self._document = document
        self._secrets = secrets
        self._clock = clock or SystemClock()
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, openai.AsyncOpenAI] = WeakKeyDictionary()
        self._lock = threading.Lock()

    async def ask(self, request: ModelRequest) -> ModelAnswer:
        """The model's answer, within ``request.timeout_seconds``; cancelling closes the connection.

        Raises:
            ProviderUnavailableError, ProviderRefusedError: no answer, with its fate.
            SecretUnavailableError: the key or the address is not there.
        """
        try:
            async with asyncio.timeout(request.timeout_seconds):
                body = await self._post(request)
        except (TimeoutError, openai.APITimeoutError) as error:
            raise self._unavailable(
                "provider_timed_out", f"did not answer within {request.timeout_seconds:g} s"
            ) from error
        except openai.APIStatusError as error:
            self._refuse(error)
        except openai.APIConnectionError as error:
            if isinstance(error.__cause__, InterlockError):
                raise error.__cause__ from None
            raise self._unavailable("provider_unreachable", "cannot be reached") from error
        return self._read(body)

    async def _post(self, request: ModelRequest) -> bytes:
        response = await self._client().chat.completions.with_raw_response.create(
            model=request.model,
            messages=[_parameter(message) for message in render(request)],
            temperature=request.temperature,
            max_tokens=request.max_output_tokens,
            response_format={"type": "json_object"} if self._document.json_mode else openai.omit,
            timeout=httpx2.Timeout(request.timeout_seconds, connect=CONNECT_SECONDS),
        )
        content: bytes = response.http_response.content
        return content

    def _read(self, body: bytes) -> ModelAnswer:
        try:
            completion = _Completion.model_validate_json(body)
        except ValidationError as error:
            raise self._unavailable(
                "provider_malformed", "answered something else than a chat completion"
            ) from error
        text = completion.choices[0].message.content
        if text is None:
            raise ProviderRefusedError(
                "provider_no_text",
                f"The model provider {self._document.name!r} answered without text.",
                "The model declined or its filter stopped the answer: look at the agent's instructions.",
            )
        usage = completion.usage or _Usage()
        return ModelAnswer(
            text=text,
            model=completion.model or self._document.model,
            input_tokens=usage.prompt_tokens,
            output_tokens=usage.completion_tokens,
        )

    def _refuse(self, error: openai.APIStatusError) -> NoReturn:
        status = error.status_code
        wait = retry_after_seconds(error.response.headers.get("retry-after"), self._clock.now())
        if status == 429 and error.code == "insufficient_quota":
            raise self._refused(
                "provider_quota", "says that the account's quota is used up", "Raise the quota."
            )
        if status in _TRANSIENT or status >= 500:
            code = "provider_busy" if status in (429, 503) else "provider_failed"
            raise self._unavailable(code, f"answered {status}", wait) from error
        if status in _CREDENTIALS:
            remedy = f"Check the key behind {self._document.api_key}."
            raise self._refused("provider_credentials", f"answered {status}", remedy) from error
        remedy = "Check the provider's model and parameters in its document."
        raise self._refused("provider_refused", f"answered {status}", remedy) from error

    def _unavailable(self, code: str, did: str, wait: float | None = None) -> ProviderUnavailableError:
        return ProviderUnavailableError(
            code,
            f"The model provider {self._document.name!r} {did}.",
            "It is tried again; if it stays so, look at the provider's status.",
            retry_after_seconds=wait,
        )

    def _refused(self, code: str, did: str, remedy: str) -> ProviderRefusedError:
        return ProviderRefusedError(code, f"The model provider {self._document.name!r} {did}.", remedy)

    def _client(self) -> openai.AsyncOpenAI:
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            client = self._new_client()
            with self._lock:
                self._clients[loop] = client
        return client

    def _new_client(self) -> openai.AsyncOpenAI:
        address = self._document.base_url
        if not address.startswith(("http://", "https://")):
            address = self._secrets.resolve(address)
        limits = httpx2.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS)
        return openai.AsyncOpenAI(
            api_key=self._key,
            base_url=address,
            max_retries=0,
            http_client=httpx2.AsyncClient(limits=limits, follow_redirects=False),
        )

    async def _key(self) -> str:
        return self._secrets.resolve(self._document.api_key)


def _parameter(message: Message) -> ChatCompletionMessageParam:
    if message.role == "system":
        return {"role": "system", "content": message.content}
    return {"role": "user", "content": message.content}
