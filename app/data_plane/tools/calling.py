"""Tools are called here: arguments validated before, results after, within a tool's time and size.

A tool that reads is called. One that writes or sends only says what is to be posted: the dispatcher posts it, and
what the target answers is read here again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic import ValidationError

from app.data_plane.tools.declaring import Outgoing, Reading, ReadingFunction, Result, SendingFunction, Tool
from app.data_plane.tools.registry import clauses, find, validated
from app.kernel.errors import DefectError, Fate, InterlockError, PermanentError, TransientError
from interlock.canonical import JsonObject, JsonValue, NotCanonicalError, canonical_bytes

KEY_HEADER = "Idempotency-Key"


class ToolError(InterlockError):
    """A tool's call came to no result. Its ``code`` and ``fate`` say why, and whether to call again."""


class ToolArgumentsError(ToolError, PermanentError):
    """The arguments are not the tool's."""

    fate = Fate.PERMANENT
    code = "tool_arguments_invalid"


class ToolTimedOutError(ToolError, TransientError):
    """It took longer than the tool declares."""

    fate = Fate.TRANSIENT
    code = "tool_timed_out"


class ToolResultInvalidError(ToolError):
    """The result is not what the tool declares: a defect of the tool, or, of a target's answer, permanent."""

    code = "tool_result_invalid"

    def __init__(self, tool: Tool, reason: str, fate: Fate = Fate.DEFECT) -> None:
        remedy = "Correct the tool, or its result model." if fate is Fate.DEFECT else "Correct the target."
        super().__init__(f"What {tool.name} answered is not its result: {reason}.", remedy)
        self.fate = fate


class ToolResultTooLargeError(ToolError, PermanentError):
    """The result is longer than the tool declares."""

    fate = Fate.PERMANENT
    code = "tool_result_too_large"

    def __init__(self, tool: Tool, size: int) -> None:
        super().__init__(
            f"What {tool.name} answered has {size} bytes, and {tool.most_result_bytes} are permitted.",
            "Ask for less, or raise the tool's `most_result_bytes` and its version.",
        )


class ToolFailedError(ToolError):
    """Its function raised an error. The fate is that error's, if it has one; else it is a defect."""

    code = "tool_failed"

    def __init__(self, tool: Tool, error: Exception) -> None:
        # What an unknown error says may hold content; its kind does not.
        told = error.what if isinstance(error, InterlockError) else f"it raised {type(error).__name__}."
        remedy = error.remedy if isinstance(error, InterlockError) else "Correct the tool's function."
        super().__init__(f"{tool.name} failed: {told}", remedy)
        self.fate = error.fate if isinstance(error, InterlockError) else Fate.DEFECT


@dataclass(frozen=True, slots=True)
class Carried:
    """What is posted to a target, its idempotency key included."""

    path: str
    body: bytes
    """Canonical JSON."""
    headers: Mapping[str, str]


async def call_reading_tool(tool: Tool, arguments: JsonObject, reading: Reading) -> bytes:
    """Call a tool that reads; its validated result as canonical JSON.

    Raises:
        ToolError: with the codes ``tool_arguments_invalid``, ``tool_timed_out``, ``tool_failed``,
            ``tool_result_invalid`` or ``tool_result_too_large``.
        DefectError: the tool does not read.
    """
    if tool.effect != "read":
        raise DefectError(f"{tool.name} does not read, and is not called: it goes to its target.")
    given = _arguments(tool, arguments)
    try:
        async with asyncio.timeout(tool.timeout_seconds) as limit:
            result = await cast("ReadingFunction", tool.function)(given, reading)
    except Exception as error:
        if isinstance(error, TimeoutError) and limit.expired():
            raise ToolTimedOutError(
                f"{tool.name} did not answer within {tool.timeout_seconds:g} s.",
                "It may answer later; if it never does, raise its `timeout_seconds`.",
            ) from None
        # A tool's function may raise anything: that is its run's failure, and no other's.
        raise ToolFailedError(tool, error) from error
    return _result_of(tool, result)


def outgoing(name: str, arguments: JsonObject) -> Outgoing[Any]:
    """What a tool that writes or sends wants posted.

    Raises:
        NotFoundError: there is no such tool.
        ToolError: with the codes ``tool_arguments_invalid`` or ``tool_failed``.
        DefectError: the tool only reads.
    """
    tool = find(name)
    if tool.effect == "read":
        raise DefectError(f"{name} only reads, and has nothing to post.")
    given = _arguments(tool, arguments)
    try:
        wanted = cast("SendingFunction", tool.function)(given)
        canonical_bytes(wanted.body)
    except Exception as error:
        raise ToolFailedError(tool, error) from error
    return wanted


def carried(wanted: Outgoing[Any], idempotency: str, key: str) -> Carried:
    """What goes over the wire for one key, which travels as the release says (``ToolSpec.idempotency``).

    Raises:
        DefectError: the body has the key's field already.
    """
    body: dict[str, JsonValue] = dict(wanted.body)
    headers = {KEY_HEADER: key} if idempotency == "header" else {}
    how, _, field = idempotency.partition(":")
    if how == "field":
        if field in body:
            raise DefectError(f"The body has a field {field!r} already, where the key should be.")
        body[field] = key
    return Carried(wanted.path, canonical_bytes(body), headers)


def read_result(name: str, receipt_body: bytes) -> JsonObject | ToolError:
    """What a target answered, as the tool's result: its own fields alone; an empty answer is an empty object.

    Raises:
        NotFoundError: there is no such tool.
    """
    tool = find(name)
    if len(receipt_body) > tool.most_result_bytes:
        return ToolResultTooLargeError(tool, len(receipt_body))
    try:
        told = json.loads(receipt_body) if receipt_body.strip() else {}
        result = tool.result.model_validate(told).model_dump(mode="json")
        size = len(canonical_bytes(result))
    except ValidationError as error:
        return ToolResultInvalidError(tool, "; ".join(clauses(error)), Fate.PERMANENT)
    except (ValueError, RecursionError):
        return ToolResultInvalidError(tool, "it is not JSON", Fate.PERMANENT)
    return result if size <= tool.most_result_bytes else ToolResultTooLargeError(tool, size)


def _arguments(tool: Tool, arguments: JsonObject) -> Any:
    given = validated(tool, arguments)
    if isinstance(given, list):
        raise ToolArgumentsError(
            f"The arguments are not those of {tool.name}: {'; '.join(given)}.", "Correct them."
        )
    return given


def _result_of(tool: Tool, result: Result) -> bytes:
    if not isinstance(result, tool.result):
        raise ToolResultInvalidError(tool, f"it is no {tool.result.__name__}")
    try:
        told = result.model_dump(mode="json", warnings=False)
        # Once more: a model can be made without validation, and its values changed.
        body = canonical_bytes(tool.result.model_validate(told).model_dump(mode="json"))
    except ValidationError as error:
        raise ToolResultInvalidError(tool, "; ".join(clauses(error))) from None
    except (NotCanonicalError, ValueError, TypeError) as error:
        raise ToolResultInvalidError(tool, f"it is not JSON ({type(error).__name__})") from None
    if len(body) > tool.most_result_bytes:
        raise ToolResultTooLargeError(tool, len(body))
    return body
