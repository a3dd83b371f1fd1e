"""What a release knows of tools: their contracts, who may call them, and what an argument's expression reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import pydantic
from pydantic import Field

from app.kernel.document import Frozen, Name, ToolName, absent, empty
from interlock.canonical import JsonObject, JsonValue

Effect = Literal["read", "write", "egress"]
"""``read`` changes nothing and sends nothing out, ``write`` changes something, ``egress`` sends data out."""

Idempotency = Annotated[str, Field(pattern=r"^(header|none|field:[A-Za-z_][A-Za-z0-9_]{0,62})$")]
"""How an effect's key travels: the header ``Idempotency-Key``, a field of the body, or not at all."""


class Approval(Frozen):
    """How long a person's consent to an action is waited for."""

    expires_seconds: float = Field(default=86_400.0, gt=0, le=31_536_000)
    """After this the action is denied: every wait ends."""


class AgentTool(Frozen):
    """A tool that an agent's models may call; one that writes or sends names the target it goes to."""

    tool: ToolName
    target: Name | None = Field(default=None, exclude_if=absent)
    approval: Approval | None = Field(default=None, exclude_if=absent)


class Reads(Frozen):
    """What an expression reads: paths as ``event.issue.title``, and the literal texts that it holds."""

    paths: tuple[str, ...] = ()
    literals: tuple[str, ...] = ()


class ToolSpec(Frozen):
    """What a release needs to know of a tool: its contract, never its code."""

    name: ToolName
    version: int = Field(ge=1)
    effect: Effect
    input_schema: Mapping[str, pydantic.JsonValue]
    """JSON Schema; ``x-interlock: content`` marks an argument that is text for people, all others are control."""
    output_schema: Mapping[str, pydantic.JsonValue]
    """JSON Schema; ``x-interlock: structured`` marks text that no outsider writes."""
    description: str = Field(default="", exclude_if=empty)
    """What a model is told of it."""
    capabilities: tuple[str, ...] = Field(default=(), exclude_if=empty)
    """What it can do, in words that policies go by, as ``messages.send``."""
    sensitive: bool = Field(default=False, exclude_if=empty)
    """Its results are not for everybody's eyes."""
    trusted: bool = Field(default=False, exclude_if=empty)
    """What its results hold in structured fields was put there by the tenant's own systems."""
    nano_usd: int = Field(default=0, ge=0, exclude_if=empty)
    """What one call costs, in billionths of a US dollar."""
    timeout_seconds: float = Field(default=10.0, gt=0, le=270, exclude_if=lambda value: value == 10.0)
    """Of one call of a tool that reads; an effect's time is its target's."""
    most_result_bytes: int = Field(
        default=65_536, ge=1, le=1_000_000, exclude_if=lambda value: value == 65_536
    )
    """Of a result as JSON; a longer one is refused."""
    idempotency: Idempotency = Field(default="header", exclude_if=lambda value: value == "header")


def argument_schema(schema: Mapping[str, JsonValue]) -> JsonObject:
    """A tool's input schema for checking: closed at its top, and without our own marks."""
    plain_schema = _without_marks(dict(schema))
    assert isinstance(plain_schema, dict)
    return {"type": "object", **plain_schema, "additionalProperties": False}


def _without_marks(value: JsonValue) -> JsonValue:
    if isinstance(value, Mapping):
        return {
            name: _without_marks(item)
            for name, item in value.items()
            # A property may be named so; only beside a schema's own words it is the mark, which is a text.
            if not (name == "x-interlock" and isinstance(item, str))
        }
    if isinstance(value, (list, tuple)):
        return [_without_marks(item) for item in value]
    return value
