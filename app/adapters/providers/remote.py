"""What all models behind a vendor's HTTP API share: clients, limits, and what each way to fail means.

The vendors' clients differ in names alone: an adapter makes one, sends a question with it, reads the answer, and
tells here what went wrong. Import this module only when such a provider is opened: it loads ``httpx2``.
"""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar
from urllib.request import getproxies
from weakref import WeakKeyDictionary

import httpx2

from app.adapters.providers.calling import (
    MOST_CALL_CHARACTERS,
    MOST_CALLS,
    TooMuchCalledError,
    Written,
    calls_of,
)
from app.adapters.retry_after import retry_after_seconds
from app.adapters.secrets import Secrets
from app.data_plane.models import (
    ModelAnswer,
    ModelRequest,
    ProviderRefusedError,
    ProviderUnavailableError,
    ToolCall,
)
from app.kernel.clock import Clock, SystemClock
from app.kernel.release import RemoteProvider

CONNECT_SECONDS = 5.0
POOLS = 32
"""Of connections, for each client."""
# How many are open at once is the process's limit of calls in flight: to wait here for another one's end would count as
# the provider's time.
_LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=16)
MAX_ANSWER_BYTES = 8 * 1024 * 1024
"""Of one answer's body: a server without an end must not fill the worker's memory."""
MAX_ERROR_BYTES = 64 * 1024
"""Of the body beside an error's status, which says what it is by itself; the rest is left."""
MAX_TOKENS = 1_000_000_000
"""What a server may say that one answer took; more is no count."""
_LONGEST_NAME = 200

_TRANSIENT = frozenset({408, 409, 425, 429})
_BUSY = frozenset({429, 503, 529})
_CREDENTIALS = frozenset({401, 403})
_PAYMENT_REQUIRED = 402

C = TypeVar("C")


class AnswerTooLargeError(httpx2.RequestError):
    """The server went on after ``MAX_ANSWER_BYTES``; to a vendor's client, a connection that broke."""


class BrokenError(Exception):
    """A vendor's client got no whole answer; its cause says why."""


class StatusError(Exception):
    """A vendor's client got an answer with an error's status."""

    def __init__(self, response: httpx2.Response, *, quota_used_up: bool = False) -> None:
        super().__init__(response.status_code)
        self.status = response.status_code
        self.retry_after = response.headers.get("retry-after")
        self.quota_used_up = quota_used_up or self.status == _PAYMENT_REQUIRED


@dataclass(slots=True)
class _Question:
    """What is known of a question under way. Once it was sent, somebody may be working on it."""

    sent: bool = False


@dataclass(frozen=True, slots=True)
class _Opened(Generic[C]):
    """One event loop's connections, and the vendor's client over them for one address."""

    http: httpx2.AsyncClient
    address: str
    vendor: C


_question: ContextVar[_Question] = ContextVar("question")


class RemoteModel(ABC, Generic[C]):
    """Asks one model over a vendor's client of type ``C``, one for each event loop.

    Args:
        document: the release's provider.
        secrets: resolves the address, when it is a reference, and the key, anew for each question.
    """

    def __init__(self, document: RemoteProvider, secrets: Secrets, *, clock: Clock | None = None) -> None:
        self._provider = document
        self._secrets = secrets
        self._clock = clock or SystemClock()
        self._opened: WeakKeyDictionary[asyncio.AbstractEventLoop, _Opened[C]] = WeakKeyDictionary()
        self._lock = threading.Lock()

    async def ask(self, request: ModelRequest) -> ModelAnswer:
        """The model's answer, within ``request.timeout_seconds``; cancelling closes the connection.

        Raises:
            ProviderUnavailableError, ProviderRefusedError: no answer, with its fate.
            SecretUnavailableError: the key or the address is not there.
        """
        client = self._client()
        key = self._key()
        question = _Question()
        marker = _question.set(question)
        try:
            async with asyncio.timeout(request.timeout_seconds):
                body = await self._send(client, request, key)
        except StatusError as error:
            raise self._with_status(error) from error.__cause__
        except (TimeoutError, BrokenError) as error:
            raise self._without_answer(error, question, request.timeout_seconds) from error
        finally:
            _question.reset(marker)
        return self._read(body, request)

    @abstractmethod
    def _make(self, address: str, http: httpx2.AsyncClient) -> C:
        """A vendor's client without retries; each question brings its own key."""

    @abstractmethod
    async def _send(self, client: C, request: ModelRequest, headers: Mapping[str, str]) -> bytes:
        """The body of an answer. Raises StatusError or BrokenError for the client's own errors."""

    @abstractmethod
    def _read(self, body: bytes, request: ModelRequest) -> ModelAnswer:
        """What the body says. Raises what ``_malformed`` and ``_no_text`` make."""

    def _answer(
        self, text: str, model: str, tokens: tuple[int, int] | None, calls: tuple[ToolCall, ...] = ()
    ) -> ModelAnswer:
        """The model's name is what the server says that it is, as far as it is a name."""
        name = "".join(character for character in model[:_LONGEST_NAME] if character.isprintable())
        return ModelAnswer(
            text, name or self._provider.model, *(tokens or (0, 0)), counted=tokens is not None, calls=calls
        )

    def _calls(self, written: Sequence[Written], request: ModelRequest) -> tuple[ToolCall, ...]:
        try:
            return calls_of(written, request)
        except TooMuchCalledError as error:
            most = f"at most {MOST_CALLS} calls of tools, of {MOST_CALL_CHARACTERS} characters in all"
            raise self._malformed(most) from error

    def _malformed(self, expected: str) -> ProviderUnavailableError:
        return self._unavailable(
            "provider_malformed", f"answered something else than {expected}", billed=True
        )

    def _no_text(self, tokens: tuple[int, int] | None) -> ProviderRefusedError:
        return ProviderRefusedError(
            "provider_no_text",
            f"The model provider {self._provider.name!r} answered without text.",
            "The model declined or its filter stopped the answer: look at the agent's instructions.",
            tokens=tokens or (0, 0),
        )

    def _with_status(self, error: StatusError) -> ProviderRefusedError | ProviderUnavailableError:
        """What an answered status means: such an answer was not worked on, so it costs nothing."""
        did = f"answered {error.status}"
        if error.quota_used_up:
            return self._refused(
                "provider_quota", "says that the account's quota is used up", "Raise the quota."
            )
        if error.status in _TRANSIENT or error.status >= 500:
            code = "provider_busy" if error.status in _BUSY else "provider_failed"
            wait = retry_after_seconds(error.retry_after, self._clock.now())
            return self._unavailable(code, did, wait=wait)
        if error.status in _CREDENTIALS:
            remedy = f"Check the key behind {self._provider.api_key}."
            return self._refused("provider_credentials", did, remedy)
        return self._refused(
            "provider_refused", did, "Check the provider's model and parameters in its document."
        )

    def _without_answer(
        self, error: TimeoutError | BrokenError, question: _Question, limit: float
    ) -> ProviderUnavailableError:
        cause = error.__cause__
        if isinstance(cause, AnswerTooLargeError):
            code, did = "provider_malformed", f"answered more than {MAX_ANSWER_BYTES} bytes"
        elif isinstance(error, TimeoutError) or (
            isinstance(cause, httpx2.TimeoutException) and not isinstance(cause, httpx2.ConnectTimeout)
        ):
            code, did = "provider_timed_out", f"did not answer within {limit:g} s"
        elif question.sent:
            code, did = "provider_failed", "closed the connection before its answer was complete"
        else:
            code, did = "provider_unreachable", "cannot be reached"
        return self._unavailable(code, did, billed=question.sent)

    def _unavailable(
        self, code: str, did: str, *, wait: float | None = None, billed: bool = False
    ) -> ProviderUnavailableError:
        return ProviderUnavailableError(
            code,
            f"The model provider {self._provider.name!r} {did}.",
            "It is tried again; if it stays so, look at the provider's status.",
            retry_after_seconds=wait,
            may_be_billed=billed,
        )

    def _refused(self, code: str, did: str, remedy: str) -> ProviderRefusedError:
        return ProviderRefusedError(code, f"The model provider {self._provider.name!r} {did}.", remedy)

    def _key(self) -> Mapping[str, str]:
        key = self._secrets.resolve(self._provider.api_key)
        if not (key.isascii() and key.isprintable()):
            remedy = f"Write the key alone into {self._provider.api_key}."
            raise self._refused("provider_credentials", "has a key that no header can hold", remedy)
        return {"Authorization": f"Bearer {key}"}

    def _client(self) -> C:
        loop = asyncio.get_running_loop()
        address = self._address()
        opened = self._opened.get(loop)
        if opened is None or opened.address != address:
            http = _pool() if opened is None else opened.http
            opened = _Opened(http, address, self._make(address, http))
            with self._lock:
                self._opened[loop] = opened
        return opened.vendor

    def _address(self) -> str:
        address = self._provider.base_url
        if not address.startswith(("http://", "https://")):
            address = self._secrets.resolve(address)
        try:
            usable = httpx2.URL(address).scheme in ("http", "https")
        except httpx2.InvalidURL:
            usable = False
        if not usable:
            raise self._refused(
                "provider_refused",
                "has an address that is none",
                f"Write http:// or https:// and a host into {self._provider.base_url}.",
            )
        return address


def timeout_of(request: ModelRequest) -> httpx2.Timeout:
    """A question's limits for the client; the one on the whole answer is ``RemoteModel.ask``'s."""
    return httpx2.Timeout(request.timeout_seconds, connect=CONNECT_SECONDS)


class _Capped(httpx2.AsyncByteStream):
    """The body of an answer, which must have an end, or of an error, which is cut."""

    def __init__(self, stream: httpx2.AsyncByteStream, *, of_error: bool) -> None:
        self._stream = stream
        self._of_error = of_error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = 0
        async for part in self._stream:
            read += len(part)
            if self._of_error and read > MAX_ERROR_BYTES:
                return
            if read > MAX_ANSWER_BYTES:
                raise AnswerTooLargeError(str(read))
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


def _pool() -> httpx2.AsyncClient:
    # A proxy of the environment is used only by a client that makes its own connections.
    proxied = {"http", "https", "all"} & set(getproxies())
    return httpx2.AsyncClient(
        transport=None if proxied else _SpreadConnections(),
        limits=_LIMITS,
        follow_redirects=False,
        event_hooks={"request": [_watch], "response": [_cap]},
    )


class _SpreadConnections(httpx2.AsyncBaseTransport):
    """Connections in several small pools; the first of the least busy ones has the next request.

    One pool looks at every idle connection for each request and each answer: with 256 calls in flight that took 8 ms a
    call (httpcore2/_async/connection_pool.py, ``_assign_requests_to_connections``).
    """

    def __init__(self) -> None:
        context = httpx2.create_ssl_context()
        self._pools = [httpx2.AsyncHTTPTransport(verify=context, limits=_LIMITS) for _ in range(POOLS)]
        self._busy = [0] * POOLS

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        place = min(range(POOLS), key=self._busy.__getitem__)
        self._busy[place] += 1
        try:
            response = await self._pools[place].handle_async_request(request)
        except BaseException:
            self._busy[place] -= 1
            raise
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _Released(response.stream, partial(self._release, place))
        return response

    async def aclose(self) -> None:
        for pool in self._pools:
            await pool.aclose()

    def _release(self, place: int) -> None:
        self._busy[place] -= 1


class _Released(httpx2.AsyncByteStream):
    """A body; when it is closed, its pool has one request less."""

    def __init__(self, stream: httpx2.AsyncByteStream, release: Callable[[], None]) -> None:
        self._stream = stream
        self._release: Callable[[], None] | None = release

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            yield part

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            if self._release is not None:
                self._release()
                self._release = None


async def _watch(request: httpx2.Request) -> None:
    # A compressed answer could be a thousand times what was counted of it.
    request.headers["accept-encoding"] = "identity"
    question = _question.get()

    async def traced(event: str, _: Mapping[str, object]) -> None:
        if event.endswith(".send_request_headers.started"):
            question.sent = True

    request.extensions["trace"] = traced


async def _cap(response: httpx2.Response) -> None:
    # Whoever compresses it all the same has its bytes taken as they are, which are no JSON.
    response.headers.pop("content-encoding", None)
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    response.stream = _Capped(response.stream, of_error=not response.is_success)
