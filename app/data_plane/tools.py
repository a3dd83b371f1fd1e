"""The shipped tools, as typed declarations: what they take, what they answer, what they do to the world.

A declaration is a contract, and a release pins it by its declared version and its schemas, never by its code:
raise ``version`` when the meaning changes. Reading tools are answered by ``ports.Lookups``, the others are
carried out by ``ports.Targets``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from app.kernel.errors import NotFoundError
from app.kernel.tool_spec import ToolSpec
from interlock import canonical

ShortText = Annotated[str, Field(max_length=300)]
LongText = Annotated[str, Field(max_length=4000)]
Url = Annotated[str, Field(max_length=2000)]
Severity = Literal["critical", "high", "medium", "low", "unknown"]


class Arguments(BaseModel):
    """What a tool takes: closed and strict, so that nothing is guessed or dropped on the way to an effect."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Result(BaseModel):
    """What a tool answers; a target may say more than we read."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Applied(Result):
    """A target took the effect."""

    applied: bool = True


class LookupArguments(Arguments):
    """Asks for one entry of the tenant's reference data."""

    collection: ShortText
    key: ShortText


class LookupResult(Result):
    """The entry, or an empty one that was not found."""

    found: bool
    entry: dict[str, JsonValue]


class TriageIssue(Arguments):
    """Labels an issue or pull request, gives it a priority, and answers it when ``comment`` is not empty."""

    repository: ShortText
    number: int = Field(ge=0)
    label: ShortText
    priority: Literal["p1", "p2", "p3", "p4"]
    comment: LongText


class NotifyOwner(Arguments):
    """Tells a team that something of theirs needs them."""

    owner: ShortText
    cause: LongText
    url: Url
    urgency: Literal["now", "today", "whenever"]


class RecordCheck(Arguments):
    """Keeps a check's outcome and its likely cause beside the repository."""

    repository: ShortText
    check: LongText
    head_sha: ShortText
    conclusion: ShortText
    cause: ShortText


class OpenIncident(Arguments):
    """Opens a security incident."""

    repository: ShortText
    title: LongText
    severity: Severity
    url: Url
    owner: ShortText


class HoldDependency(Arguments):
    """Blocks a package from being built or released in a repository, until someone lifts it."""

    repository: ShortText
    package: ShortText
    severity: Severity
    reason: LongText


class RecordReference(Arguments):
    """The smallest write: what benchmarks and tests measure the way to an effect with."""

    subject: ShortText
    verdict: ShortText


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool; ``effect``: ``read`` changes nothing, ``write`` changes something, ``egress`` sends data."""

    name: str
    version: int
    effect: Literal["read", "write", "egress"]
    arguments: type[Arguments]
    result: type[Result]

    def spec(self) -> ToolSpec:
        """What a release pins of it."""
        return ToolSpec(
            name=self.name,
            version=self.version,
            effect=self.effect,
            input_schema=_schema(self.arguments, "validation"),
            output_schema=_schema(self.result, "serialization"),
        )


_TOOLS: Mapping[str, Tool] = {
    tool.name: tool
    for tool in (
        Tool("directory.lookup", 1, "read", LookupArguments, LookupResult),
        Tool("tracker.triage_issue", 1, "write", TriageIssue, Applied),
        Tool("tracker.record_check", 1, "write", RecordCheck, Applied),
        Tool("tracker.open_incident", 1, "write", OpenIncident, Applied),
        Tool("pager.notify_owner", 1, "write", NotifyOwner, Applied),
        Tool("repository.hold_dependency", 1, "write", HoldDependency, Applied),
        Tool("reference.record", 1, "write", RecordReference, Applied),
    )
}


@lru_cache(maxsize=1)
def shipped_tools() -> Mapping[str, ToolSpec]:
    """The contracts of all shipped tools, by name: the catalogue that workflows are compiled against."""
    return MappingProxyType({name: tool.spec() for name, tool in sorted(_TOOLS.items())})


def input_model(name: str) -> type[BaseModel]:
    """The model that validates a tool's arguments.

    Raises:
        NotFoundError: there is no such tool.
    """
    return _tool(name).arguments


def output_model(name: str) -> type[BaseModel]:
    """The model that reads a tool's answer.

    Raises:
        NotFoundError: there is no such tool.
    """
    return _tool(name).result


def check_arguments(name: str, arguments: canonical.JsonObject) -> list[str]:
    """What keeps these arguments from being the tool's, a clause each without their values."""
    tool = _TOOLS.get(name)
    if tool is None:
        return [f"there is no tool {name}"]
    try:
        tool.arguments.model_validate(arguments)
    except ValidationError as error:
        return [
            f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
            for fault in error.errors(include_url=False, include_input=False)
        ]
    return []


def _tool(name: str) -> Tool:
    tool = _TOOLS.get(name)
    if tool is None:
        raise NotFoundError(f"There is no tool {name!r}.", f"Name one of {', '.join(sorted(_TOOLS))}.")
    return tool


def _schema(
    model: type[BaseModel], mode: Literal["validation", "serialization"]
) -> dict[str, canonical.JsonValue]:
    schema = _without_titles(model.model_json_schema(mode=mode))
    assert isinstance(schema, dict)
    # The class's docstring is for the reader of this file; rewording it must not make another release.
    schema.pop("description", None)
    return schema


def _without_titles(value: JsonValue) -> canonical.JsonValue:
    """Drops the titles that pydantic derives from names: its next version may derive others."""
    if isinstance(value, dict):
        return {
            key: _without_titles(item)
            for key, item in value.items()
            if key != "title" or not isinstance(item, str)
        }
    if isinstance(value, list):
        return [_without_titles(item) for item in value]
    return value
