"""What agent runs need of models, as narrow protocols: a question, an answer, and whether it may be asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from app.kernel.errors import PermanentError, TransientError
from app.kernel.release import Release, RemoteProvider
from interlock.canonical import JsonObject


@dataclass(frozen=True, slots=True)
class Correction:
    """Why the answer before was no proposal, for the one re-ask."""

    answer: str
    """The answer as it was recorded."""
    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class ToolOffer:
    """A tool that a model may call."""

    name: str
    description: str
    schema: JsonObject
    """JSON Schema of its arguments."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call as a model wrote it: nothing of it was checked."""

    call_id: str
    """The provider's name for it."""
    tool: str
    arguments: str
    """Exact text, which should be a JSON object."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a call came to, as the model is told: a result as JSON, or why there is none."""

    call: ToolCall
    text: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """An answer that called tools, and what the calls came to."""

    text: str
    results: tuple[ToolResult, ...]


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One question to one model: no retries hide behind it."""

    agent: str
    model: str
    instructions: str
    inputs: JsonObject
    """What the agent sees; untrusted data, to be marked as such in the prompt."""
    schema: JsonObject
    """JSON Schema of the proposal."""
    temperature: float
    max_output_tokens: int
    timeout_seconds: float
    correction: Correction | None = None
    tools: tuple[ToolOffer, ...] = ()
    turns: tuple[Turn, ...] = ()
    """The answers before this question that called tools, the oldest first."""


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """The exact text that a model answered, and which model that was."""

    text: str
    model: str
    input_tokens: int
    output_tokens: int
    counted: bool = True
    """Whether the provider said what it counted; else the numbers say nothing."""
    calls: tuple[ToolCall, ...] = ()


class ProviderUnavailableError(TransientError):
    """The provider gave no answer now and may later.

    ``code``: ``provider_unreachable``, ``provider_timed_out``, ``provider_busy`` (it said so),
    ``provider_failed`` or ``provider_malformed`` (what came back is no answer in its protocol).
    ``may_be_billed``: whether the question may have been worked on, so that its cost is not known.
    """

    def __init__(
        self,
        code: str,
        what: str,
        remedy: str = "",
        *,
        retry_after_seconds: float | None = None,
        may_be_billed: bool = False,
    ) -> None:
        super().__init__(what, remedy, retry_after_seconds=retry_after_seconds)
        self.code = code
        self.may_be_billed = may_be_billed


class ProviderRefusedError(PermanentError):
    """The provider will refuse the same question again.

    ``code``: ``provider_credentials``, ``provider_quota``, ``provider_refused`` or ``provider_no_text``.
    ``tokens``: what it counted all the same, in and out, where it said so.
    """

    def __init__(self, code: str, what: str, remedy: str = "", *, tokens: tuple[int, int] = (0, 0)) -> None:
        super().__init__(what, remedy)
        self.code = code
        self.tokens = tokens


class ModelProvider(Protocol):
    """One request, one answer. Cancelling the call closes the connection."""

    async def ask(self, request: ModelRequest) -> ModelAnswer:
        """Raises ProviderUnavailableError, ProviderRefusedError, or another InterlockError with its fate."""
        ...


class Providers(Protocol):
    """Makes a provider from a release's document."""

    def open(self, release: Release, name: str) -> ModelProvider:
        """The provider of that name; one client for each, pooled in the process."""
        ...


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a breaker lets a question through."""

    admitted: bool
    probe: bool = False
    """It is the one that a half-open breaker tries."""
    token: str = ""
    """Of the breaker's state when it was admitted, so that what comes of it too late is known as such."""
    reason: str = ""
    """Why not: ``open``, ``half-open`` (another question probes), or ``forced_open`` by an operator."""


Told = Literal["answered", "failed", "neither"]
"""What came of a question, to a breaker. ``neither``: it was cancelled, or failed for a reason of ours."""


class Breakers(Protocol):
    """One circuit breaker for each (provider, model), shared by all processes.

    It never raises: where what they share cannot be read, breakers are closed.
    """

    async def admit(self, provider: RemoteProvider) -> Admission:
        """Whether a question may be asked now."""
        ...

    async def tell(self, provider: RemoteProvider, admission: Admission, told: Told) -> None:
        """What came of an admitted question."""
        ...
