"""The gateway as one object: the only way from a model's call to a tool.

It needs nothing else of Interlock: a policy, the tools' contracts, and who may call what.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from app.data_plane.gateway.hidden import check_hidden
from app.data_plane.gateway.judge import Principal, Question, Spend, Verdict, judge
from app.data_plane.gateway.provenance import Sources
from app.data_plane.gateway.schema_leaves import plain
from app.data_plane.gateway.slices import slice_of
from app.kernel.errors import PermanentError
from app.kernel.proposal_schema import Node, compiled
from app.kernel.release import Policy, Release
from app.kernel.schema_check import Misfit, misfit
from app.kernel.schema_words import misfits
from app.kernel.tool_spec import ToolSpec, argument_schema
from interlock.canonical import JsonObject, JsonValue, NotCanonicalError, canonical_bytes

MAX_ARGUMENTS = 65_536
"""Bytes of a call's arguments as JSON."""

_NOTHING_SPENT = Spend()


MOST_KEPT = 256
"""Gateways of releases that a process keeps."""


class UnusablePolicyError(PermanentError):
    """The policy is not Cedar. Remedy: let ``cedarpy.validate_policies`` tell where."""

    code = "unusable_policy"


@dataclass(frozen=True, slots=True)
class Setting:
    """In what a call happens, as far as policies go by it."""

    tenant_id: str = ""
    workflow: str = ""
    spend: Spend = _NOTHING_SPENT


ANY_SETTING = Setting()


class Gateway:
    """Judges calls by a policy, by the tools' contracts, and by where the arguments came from.

    Args:
        allowed: for each agent the names of the tools that its models may call.

    Raises:
        UnusablePolicyError: the policy is not Cedar.
        UnsupportedSchemaError: a tool's input schema says what arguments cannot be checked for.
    """

    def __init__(
        self, policy: Policy, tools: Mapping[str, ToolSpec], allowed: Mapping[str, Collection[str]]
    ) -> None:
        self._policy = policy
        self._tools = dict(tools)
        self._allowed = {agent: frozenset(names) for agent, names in allowed.items()}
        self._schemas = {name: argument_schema(spec.input_schema) for name, spec in tools.items()}
        self._nodes: dict[str, Node] = {name: compiled(schema) for name, schema in self._schemas.items()}
        self._decimals = {name: decimals_of(schema) for name, schema in self._schemas.items()}
        try:
            for name in self._tools:
                slice_of(policy.cedar, name)
        except ValueError as error:
            raise UnusablePolicyError(
                f"The policy {policy.name} is not Cedar: {str(error)[:300]}.", "Correct it."
            ) from error

    def decide(
        self,
        agent: str,
        tool: str,
        arguments: JsonObject | str,
        sources: Sources,
        target: str = "none",
        setting: Setting = ANY_SETTING,
    ) -> Verdict:
        """The verdict on a call. What is not known, not allowed, malformed or not permitted is denied; nothing raises.

        Args:
            arguments: an object, or the very text that a model wrote.
            sources: all that the run has seen so far.
            target: where an effect goes; a tool that reads has none.
        """
        question = self.question(agent, tool, arguments, sources, target, setting)
        return question if isinstance(question, Verdict) else judge(self._policy, question)

    def question(
        self,
        agent: str,
        tool: str,
        arguments: JsonObject | str,
        sources: Sources,
        target: str = "none",
        setting: Setting = ANY_SETTING,
    ) -> Question | Verdict:
        """What the policy is asked about a call, with provenance; or why it is denied without being asked."""
        spec = self._tools.get(tool)
        if spec is None:
            return _denied("unknown_tool")
        if tool not in self._allowed.get(agent, frozenset()):
            return _denied("not_allowed: the agent's allowlist does not have this tool")
        read = _read(arguments)
        if isinstance(read, str):
            return _denied(f"arguments: {read}")
        if (found := misfit(self._nodes[tool], read)) is not None:
            told = misfits(self._schemas[tool], read) or (found,)
            return _denied(f"arguments: {'; '.join(map(_told, told))}")
        provenance = sources.trace(read, spec)
        if hiding := check_hidden(spec, read, provenance):
            return _denied(f"arguments: {'; '.join(hiding)}")
        return Question(
            principal=Principal("Agent", agent),
            workflow=setting.workflow,
            tool=tool,
            target=target,
            tenant_id=setting.tenant_id,
            arguments=read,
            provenance=provenance,
            asked=sources.asked,
            spend=setting.spend,
            decimals=self._decimals[tool],
        )


def gateway_of(release: Release) -> Gateway:
    """The gateway of a release, made once in a process: by its policy, its tools, and what its agents may call."""
    found = _made.get(release.digest)
    if found is None:
        allowed = {name: [one.tool for one in agent.tools] for name, agent in release.agents.items()}
        if len(_made) >= MOST_KEPT:
            _made.clear()
        found = _made[release.digest] = Gateway(release.policy, release.tools, allowed)
    return found


_made: dict[str, Gateway] = {}


def decimals_of(schema: JsonObject) -> frozenset[str]:
    """The arguments of an input schema that are fractions, whatever else they may be."""
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return frozenset()
    return frozenset(name for name, part in properties.items() if _is_decimal(part))


def _is_decimal(schema: JsonValue) -> bool:
    if not isinstance(schema, Mapping):
        return False
    parts = [
        schema.get("items"),
        *(part for word in ("anyOf", "oneOf") for part in _listed(schema.get(word))),
    ]
    return "number" in (schema.get("type"), *_listed(schema.get("type"))) or any(map(_is_decimal, parts))


def _listed(value: JsonValue) -> list[JsonValue]:
    return list(value) if isinstance(value, (list, tuple)) else []


def _read(arguments: JsonObject | str) -> dict[str, JsonValue] | str:
    """The arguments as plain JSON, or why they are none, without quoting them."""
    if isinstance(arguments, str) and len(arguments) > MAX_ARGUMENTS:
        return f"they are longer than {MAX_ARGUMENTS} bytes"
    try:
        value = _parsed(arguments) if isinstance(arguments, str) else arguments
        body = canonical_bytes(value)
    except NotCanonicalError:
        return "they are not JSON, or are nested too deep"
    except ValueError as error:
        return str(error) if isinstance(error, _RepeatedError) else "they are not JSON"
    except RecursionError:
        return "they are nested too deep"
    if len(body) > MAX_ARGUMENTS:
        return f"they are longer than {MAX_ARGUMENTS} bytes"
    found = json.loads(body)
    return found if isinstance(found, dict) else "they are no JSON object"


class _RepeatedError(ValueError):
    """Two readers of the same text would see two values."""


def _parsed(text: str) -> JsonValue:
    def once(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise _RepeatedError("an object has a member twice")
        return found

    value: JsonValue = json.loads(text, object_pairs_hook=once)
    return value


def _told(found: Misfit) -> str:
    """A misfit with its path; a member's name is told only when it is a plain word, for a model may have made it up."""
    path = ".".join(plain(part) if isinstance(part, str) else str(part) for part in found.path)
    return f"{path}: {found.reason}" if path else found.reason


def _denied(reason: str) -> Verdict:
    return Verdict("denied", (), reason[:500])
