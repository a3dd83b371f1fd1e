"""Checks the tools that an agent's models may call, against the tools there are and the workflow's targets."""

from __future__ import annotations

from collections.abc import Mapping

from app.control_plane.problems import Problem
from app.kernel.proposal_schema import UnsupportedSchemaError, compiled
from app.kernel.release import AgentBundle, LocalProvider, Provider, WorkflowTemplate
from app.kernel.tool_spec import AgentTool, ToolSpec, argument_schema


def check_agent_tools(
    agent: AgentBundle, path: str, template: WorkflowTemplate, tools: Mapping[str, ToolSpec]
) -> list[Problem]:
    """What is wrong with them in this workflow."""
    targets = sorted(target.name for target in template.targets)
    names = [one.tool for one in agent.tools]
    found = [
        Problem(path, "tools", f"{name!r} is there twice", "Name each tool once, at one target.")
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    for position, one in enumerate(agent.tools):
        place = f"tools.{position}"
        tool = tools.get(one.tool)
        if tool is None:
            known = f"Name one of {', '.join(sorted(tools))}."
            found.append(Problem(path, f"{place}.tool", f"there is no tool {one.tool!r}", known))
        elif (unclear := _unclear(tool)) is not None:
            remedy = "Declare its arguments with what app/kernel/proposal_schema.py supports."
            found.append(Problem(path, f"{place}.tool", unclear, remedy))
        elif tool.effect == "read":
            found += _reading(one, tool, place, path)
        elif one.target is None:
            remedy = (
                f"Add `target:` and one of {', '.join(targets) or 'the targets that the workflow declares'}."
            )
            reason = f"{tool.name!r} has the effect {tool.effect!r}, and no target is named for it"
            found.append(Problem(path, place, reason, remedy))
        elif one.target not in targets:
            reason = f"the workflow {template.name!r} declares no target {one.target!r}"
            remedy = f"Name one of {', '.join(targets)}." if targets else "Declare it in the workflow."
            found.append(Problem(path, f"{place}.target", reason, remedy))
        elif (keyless := without_key(tool, one.target, template)) is not None:
            found.append(Problem(path, f"{place}.target", keyless, USE_ANOTHER_TARGET))
    return found


USE_ANOTHER_TARGET = (
    "Let the key travel (`idempotency` of the tool), or declare another target for it, without `honours_keys` and"
    " `probe_path`."
)


def without_key(tool: ToolSpec, target: str, template: WorkflowTemplate) -> str | None:
    """Why an effect of this tool would be sent again to a target that cannot know it again, if so.

    What a target promises rests on the key: it is asked again, and believed, by the key alone.
    """
    one = next((one for one in template.targets if one.name == target), None)
    if one is None or tool.effect == "read" or tool.idempotency != "none":
        return None
    if not one.honours_keys and one.probe_path is None:
        return None
    promise = "honours keys" if one.honours_keys else "tells what became of a key"
    return f"{tool.name!r} sends no key (its idempotency is 'none'), and the target {target!r} {promise}"


def check_first_provider(agent: AgentBundle, path: str, providers: Mapping[str, Provider]) -> list[Problem]:
    """An agent with tools begins with a provider that can call them.

    Further on in the chain, one that cannot is a fallback like others: it answers with what was found out so far.
    """
    first = providers.get(agent.providers[0])
    if not agent.tools or not isinstance(first, LocalProvider):
        return []
    reason = f"the agent has tools, and {first.name!r} runs a local model, which calls none"
    remedy = "Begin with a provider that can call tools, or remove `tools`."
    return [Problem(path, "providers.0", reason, remedy)]


def _unclear(tool: ToolSpec) -> str | None:
    """Why a model's arguments could not be held against the tool's contract, if so."""
    try:
        compiled(argument_schema(tool.input_schema))
    except UnsupportedSchemaError as error:
        return f"the arguments of {tool.name!r} cannot be checked: {error.what}"
    return None


def _reading(one: AgentTool, tool: ToolSpec, place: str, path: str) -> list[Problem]:
    found = []
    if one.target is not None:
        reason = f"{tool.name!r} only reads, and goes to no target"
        found.append(Problem(path, f"{place}.target", reason, "Remove it."))
    if one.approval is not None:
        reason = f"{tool.name!r} only reads, and nobody is asked about that"
        found.append(Problem(path, f"{place}.approval", reason, "Remove it."))
    return found
