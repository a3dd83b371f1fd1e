"""Refuses the combination that lets an outsider carry data away: untrusted input, sensitive data and a way out.

A model that reads what an outsider wrote may do what an outsider wants. Where the same workflow also reads sensitive
data and can send something out, a person has to be asked before it is sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from app.control_plane.problems import Problem
from app.control_plane.reads import reads_of
from app.control_plane.statements import Asked, Statement
from app.kernel.release import AgentBundle, WorkflowTemplate
from app.kernel.tool_spec import ToolSpec
from interlock.canonical import JsonObject, JsonValue

_REMEDY = (
    "Put @approval(\"why a person is asked\") on that permit or on a forbid that always applies; or see to it that no"
    " agent reads what an outsider writes (`trusted` names the event's fields that none does), or leave out the"
    " sensitive data or the effect."
)  # fmt: skip


def check_combination(
    template: WorkflowTemplate,
    agents: Mapping[str, AgentBundle],
    tools: Mapping[str, ToolSpec],
    statements: Sequence[Statement],
    path: str,
) -> list[Problem]:
    """A problem for each external effect that would happen without a person, where the other two are there, too.

    It goes by the scopes of the policy's statements alone: what their conditions exclude counts as permitted. Tools
    that are not there are somebody else's problem.
    """
    untrusted = next(_untrusted(template, agents, tools), None)
    sensitive = next(_sensitive(template, agents, tools), None)
    if untrusted is None or sensitive is None:
        return []
    found = []
    for asked, told in _external(template, agents, tools):
        permit = _permit_without_approval(asked, statements)
        if permit is not None:
            reason = (
                f"it combines untrusted input ({untrusted}), sensitive data ({sensitive}) and an external effect"
                f" ({told}), which the statement {permit.name!r} permits without an approval"
            )
            found.append(Problem(path, "policy", reason, _REMEDY))
    return found


def _untrusted(
    template: WorkflowTemplate, agents: Mapping[str, AgentBundle], tools: Mapping[str, ToolSpec]
) -> Iterator[str]:
    """What an outsider may have written and an agent reads."""
    questions = {lookup.name: lookup.tool for lookup in template.lookups}
    for agent in agents.values():
        for name, expression in agent.inputs.items():
            for read in reads_of(expression, {}).paths:
                root, _, rest = read.partition(".")
                lookup = tools.get(questions.get(rest.split(".")[0], ""))
                if root == "event" and not _is_below(read, template.trusted):
                    yield f"the input {name!r} of the agent {agent.name!r} reads {read}"
                elif root == "snapshot" and lookup is not None and _speaks_freely(lookup):
                    yield f"the input {name!r} of the agent {agent.name!r} reads what {lookup.name} found"
        for called in agent.tools:
            tool = tools.get(called.tool)
            if tool is not None and _speaks_freely(tool):
                yield f"the agent {agent.name!r} reads what {tool.name} answers"


def _sensitive(
    template: WorkflowTemplate, agents: Mapping[str, AgentBundle], tools: Mapping[str, ToolSpec]
) -> Iterator[str]:
    for lookup in template.lookups:
        if lookup.tool in tools and tools[lookup.tool].sensitive:
            yield f"the lookup {lookup.name!r} by {lookup.tool}"
    for agent in agents.values():
        for called in agent.tools:
            if called.tool in tools and tools[called.tool].sensitive:
                yield f"the agent {agent.name!r} calls {called.tool}"


def _external(
    template: WorkflowTemplate, agents: Mapping[str, AgentBundle], tools: Mapping[str, ToolSpec]
) -> Iterator[tuple[Asked, str]]:
    """Every request that would send something out, and how a person is told of it."""
    for action in template.actions:
        if action.tool in tools and tools[action.tool].effect == "egress":
            asked = Asked("Workflow", template.name, action.tool, action.target)
            yield asked, f"the action {action.name!r} by {action.tool}"
    for agent in agents.values():
        for called in agent.tools:
            if called.tool in tools and tools[called.tool].effect == "egress":
                asked = Asked("Agent", agent.name, called.tool, called.target or "")
                yield asked, f"the agent {agent.name!r} calls {called.tool}"


def _permit_without_approval(asked: Asked, statements: Sequence[Statement]) -> Statement | None:
    """The first permit by which it may happen and nobody is asked."""
    if any(one.effect == "forbid" and one.always_applies(asked) for one in statements):
        # With @approval a person lifts it; without, it never happens at all.
        return None
    permits = (one for one in statements if one.effect == "permit" and one.may_apply(asked))
    return next((one for one in permits if "approval" not in one.annotations), None)


def _is_below(path: str, trusted: Sequence[str]) -> bool:
    return any(path == one or path.startswith(f"{one}.") for one in trusted)


def _speaks_freely(tool: ToolSpec) -> bool:
    """Whether an outsider may have written something in its results.

    Where its results are trusted, that is text outside of its structured parts; else all that is not one of a few
    values which the tool itself names.
    """
    definitions = tool.output_schema.get("$defs", {})
    assert isinstance(definitions, Mapping)
    return _is_free(tool.output_schema, tool.trusted, definitions, frozenset())


def _is_free(part: JsonValue, trusted: bool, definitions: JsonObject, within: frozenset[str]) -> bool:
    if not isinstance(part, Mapping):
        return part is not False
    if (trusted and part.get("x-interlock") == "structured") or "enum" in part or "const" in part:
        return False
    name = str(part.get("$ref", "")).removeprefix("#/$defs/")
    if name:
        return name not in within and _is_free(definitions.get(name), trusted, definitions, within | {name})
    parts = [item for key in ("anyOf", "oneOf", "allOf", "prefixItems") for item in _listed(part.get(key))]
    if not parts:
        kinds = _listed(part.get("type"))
        if "object" in kinds:
            properties = part.get("properties", {})
            assert isinstance(properties, Mapping)
            # A result model drops what it does not name, so that an object without more says nothing more.
            parts = [*properties.values(), part.get("additionalProperties", False)]
        elif "array" in kinds:
            parts = [part.get("items")]
        else:
            bounded = {"boolean", "null", "integer", "number"} if trusted else {"boolean", "null"}
            return not kinds or not bounded.issuperset(map(str, kinds))
    return any(_is_free(item, trusted, definitions, within) for item in parts)


def _listed(value: JsonValue) -> list[JsonValue]:
    return list(value) if isinstance(value, (list, tuple)) else [] if value is None else [value]
