"""Tools are declared here: a decorator over a typed Python function, and what its annotations are made of.

A declaration is a contract, and a release pins it by its declared version and its schemas, never by its code:
raise ``version`` when the meaning changes. The first paragraph of the function's docstring is a part of the contract,
because a model reads it; what the classes' docstrings say is not.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Generic, Protocol, TypeVar, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema

from app.data_plane.tools.schemas import MARK, open_objects, schema_of
from app.kernel.errors import DefectError
from app.kernel.tool_spec import Effect, ToolSpec
from interlock.canonical import JsonObject

R = TypeVar("R", bound="Result")

_PATH = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")
_USD = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
_CAPABILITY = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)*")
_LONGEST_DESCRIPTION = 1000


class ToolDeclarationError(DefectError):
    """A tool is declared in a way that no release could pin, or no worker could call."""

    code = "invalid_tool"


@dataclass(frozen=True, slots=True)
class Mark:
    """A word about a part of a schema, as ``Annotated[LongText, Content]``: the gateway reads it in the release."""

    word: str

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(core), MARK: self.word}


Content = Mark("content")
"""Of an argument that is text for people; all others say what is done, and to what."""
Structured = Mark("structured")
"""Of a part of a result that no outsider writes. It counts where the tool is ``trusted``."""


class Arguments(BaseModel):
    """What a tool takes: closed and strict, so that nothing is guessed or dropped on the way to an effect."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Result(BaseModel):
    """What a tool answers; a target may say more than we read."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Reading(Protocol):
    """What a tool that reads may look at: one tenant's data, and nothing else."""

    async def entry(self, collection: str, key: str) -> JsonObject | None:
        """An entry of the tenant's reference data; None when there is none. Raises InterlockError."""
        ...


@dataclass(frozen=True)  # without slots: with them, Python 3.11 cannot make an `Outgoing[R](...)`
class Outgoing(Generic[R]):
    """What a tool that writes or sends wants posted to its target; the dispatcher sends it, and ``R`` is answered.

    Args:
        path: below the target's address, as ``/v1/effects/tracker.open_incident``.
        body: a JSON object.
    """

    path: str
    body: JsonObject

    def __post_init__(self) -> None:
        if not _PATH.fullmatch(self.path):
            raise ToolDeclarationError(
                "A tool wants to post to a path that is no plain one.",
                "Begin it with /, and use letters, digits and . _ ~ - in its parts.",
            )


ReadingFunction = Callable[[Any, Reading], Coroutine[Any, Any, Result]]
SendingFunction = Callable[[Any], Outgoing[Any]]
ToolFunction = ReadingFunction | SendingFunction
"""``async def f(arguments: A, reading: Reading) -> R`` reads; ``def f(arguments: A) -> Outgoing[R]`` does the rest."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One declared tool: its contract, and the function behind it. Made by :func:`tool`."""

    name: str
    version: int
    effect: Effect
    arguments: type[Arguments]
    result: type[Result]
    function: ToolFunction
    description: str
    capabilities: tuple[str, ...] = ()
    cost: str = "0"
    timeout_seconds: float = 10.0
    idempotency: str = "header"
    trusted: bool = False
    sensitive: bool = False
    most_result_bytes: int = 65_536

    def spec(self) -> ToolSpec:
        """What a release pins of it."""
        return ToolSpec(
            name=self.name,
            version=self.version,
            effect=self.effect,
            input_schema=schema_of(self.arguments, "validation"),
            output_schema=schema_of(self.result, "serialization"),
            description=self.description,
            capabilities=self.capabilities,
            sensitive=self.sensitive,
            trusted=self.trusted,
            nano_usd=int(Decimal(self.cost).scaleb(9)),
            timeout_seconds=self.timeout_seconds,
            most_result_bytes=self.most_result_bytes,
            idempotency=self.idempotency,
        )


def tool(
    name: str,
    *,
    version: int,
    effect: Effect,
    capabilities: Sequence[str] = (),
    cost: str = "0",
    timeout_seconds: float = 10.0,
    idempotency: str = "header",
    trusted: bool = False,
    sensitive: bool = False,
    most_result_bytes: int = 65_536,
) -> Callable[[ToolFunction], Tool]:
    """Declares a tool; the function becomes a :class:`Tool`, which a module of tools holds by any name.

    Args:
        name: two words with a dot, as ``tracker.open_incident``.
        version: raised when the meaning changes; releases pin it.
        effect: ``read`` changes and sends nothing, ``write`` changes something, ``egress`` sends data out.
        capabilities: what it can do, in words that policies go by, as ``messages.send``.
        cost: of one call, in US dollars as text.
        timeout_seconds: of one call of a tool that reads; an effect's time is its target's.
        idempotency: how an effect's key travels: ``header``, ``field:NAME`` of the body, or ``none``.
        trusted: what the structured parts of its results hold was put there by the tenant's own systems.
        sensitive: its results are not for everybody's eyes.
        most_result_bytes: of a result as JSON; a longer one is refused.

    Raises:
        ToolDeclarationError: at import, with what is wrong and what to do.
    """

    def declare(function: ToolFunction) -> Tool:
        arguments, result = _annotated(name, effect, function)
        declared = Tool(
            name=name,
            version=version,
            effect=effect,
            arguments=arguments,
            result=result,
            function=function,
            description=_description(name, function),
            capabilities=tuple(capabilities),
            cost=cost,
            timeout_seconds=timeout_seconds,
            idempotency=idempotency,
            trusted=trusted,
            sensitive=sensitive,
            most_result_bytes=most_result_bytes,
        )
        _check(declared)
        return declared

    return declare


def _check(declared: Tool) -> None:
    """Raises ToolDeclarationError for what no release could pin."""
    name = declared.name
    if not _USD.fullmatch(declared.cost):
        raise _wrong(name, "its cost is no amount", 'Write US dollars as text, as cost="0.002".')
    if not all(_CAPABILITY.fullmatch(word) for word in declared.capabilities):
        raise _wrong(
            name, "a capability is no word", "Use small letters, digits and _, with dots between words."
        )
    if len(set(declared.capabilities)) != len(declared.capabilities):
        raise _wrong(name, "a capability is named twice", "Name each once.")
    if declared.effect == "read" and declared.idempotency != "header":
        raise _wrong(name, "it reads, and a reading has no key", "Leave `idempotency` out.")
    config = declared.arguments.model_config
    if config.get("extra") != "forbid" or not config.get("strict"):
        reason = f"its arguments ({declared.arguments.__name__}) are not closed and strict"
        raise _wrong(name, reason, "Leave `extra` and `strict` as Arguments has them.")
    try:
        spec = declared.spec()
    except ValidationError as error:
        clauses = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
            for fault in error.errors(include_url=False, include_input=False)
        )
        raise _wrong(name, clauses, "Correct what the decorator is given.") from None
    for place in open_objects(spec.input_schema):
        reason = (
            f"its argument {place} holds an object that is open, so that a misspelt member would be dropped"
        )
        raise _wrong(name, reason, "Make its class a subclass of Arguments, too.")


def _annotated(name: str, effect: str, function: ToolFunction) -> tuple[type[Arguments], type[Result]]:
    """The argument and the result model that the function's annotations name."""
    shape = _READING if effect == "read" else _SENDING
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError as error:
        reason = f"an annotation names {error.name!r}, which the module does not know"
        raise _wrong(name, reason, "Import it at the top, and not only for type checkers.") from None
    parameters = list(inspect.signature(function).parameters)
    if effect == "read" and not inspect.iscoroutinefunction(function):
        raise _wrong(name, "it reads, and its function is not async", shape)
    if effect != "read" and inspect.iscoroutinefunction(function):
        raise _wrong(name, "it writes or sends, and its function is async", shape)
    if len(parameters) != (2 if effect == "read" else 1):
        raise _wrong(name, f"its function takes {len(parameters)} arguments", shape)
    arguments = hints.get(parameters[0])
    if not (isinstance(arguments, type) and issubclass(arguments, Arguments)) or arguments is Arguments:
        raise _wrong(name, f"{parameters[0]!r} is not annotated with a subclass of Arguments", shape)
    if effect == "read" and hints.get(parameters[1]) is not Reading:
        raise _wrong(name, f"{parameters[1]!r} is not annotated with Reading", shape)
    return arguments, _result(name, effect, hints.get("return"), shape)


def _result(name: str, effect: str, annotation: object, shape: str) -> type[Result]:
    told = annotation
    if effect != "read":
        if get_origin(annotation) is not Outgoing:
            raise _wrong(name, "its function is not annotated to return Outgoing[...]", shape)
        (told,) = get_args(annotation)
    if not (isinstance(told, type) and issubclass(told, Result)) or told is Result:
        raise _wrong(name, "what it answers is not annotated with a subclass of Result", shape)
    return told


_READING = "Write it as `async def f(arguments: A, reading: Reading) -> R`, with A(Arguments) and R(Result)."
_SENDING = "Write it as `def f(arguments: A) -> Outgoing[R]`, with A(Arguments) and R(Result)."


def _description(name: str, function: ToolFunction) -> str:
    paragraph = " ".join((inspect.getdoc(function) or "").split("\n\n", 1)[0].split())
    if not paragraph or len(paragraph) > _LONGEST_DESCRIPTION:
        reason = (
            "its function has no docstring"
            if not paragraph
            else "its docstring's first paragraph is too long"
        )
        remedy = (
            f"Tell a model in at most {_LONGEST_DESCRIPTION} characters what it does, and when to call it."
        )
        raise _wrong(name, reason, remedy)
    return paragraph


def _wrong(name: str, reason: str, remedy: str) -> ToolDeclarationError:
    return ToolDeclarationError(f"The tool {name!r} cannot be declared: {reason}.", remedy)
