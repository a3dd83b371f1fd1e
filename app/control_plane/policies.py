"""Checks a Cedar policy against a schema that is generated from the tools' own contracts.

The request that the data plane asks about an action is: principal ``Workflow::"<name>"``, action
``Action::"<tool>"``, resource ``Target::"<target>"``, context ``{tenant: String, arguments: {...}}``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import cedarpy

from app.kernel.release import Policy
from app.kernel.tool_spec import ToolSpec
from interlock.canonical import JsonObject, JsonValue

_TYPES: Mapping[str, JsonObject] = {
    "string": {"type": "String"},
    "integer": {"type": "Long"},
    "boolean": {"type": "Boolean"},
}


def check_policy(policy: Policy, tools: Mapping[str, ToolSpec]) -> list[str]:
    """Why ``policy`` cannot be published, a clause for each reason; empty when it can.

    Each statement has a unique ``@id``, which is how facts name it; templates with slots are refused, because
    nothing links them.
    """
    try:
        parsed = cedarpy.PolicySet.from_str(policy.cedar)
    except ValueError as error:
        return [f"it is not Cedar: {str(error).splitlines()[0][:300]}"]
    found = list(_shape_problems(policy, parsed))
    result = cedarpy.validate_policies(policy.cedar, cedar_schema(tools))
    if not result.validation_passed:
        found.extend(f"it is not valid: {str(error)[:300]}" for error in result.errors)
    return found


def cedar_schema(tools: Mapping[str, ToolSpec]) -> str:
    """Cedar's JSON schema of every request that the writing tools can lead to."""
    actions = {
        tool.name: {
            "appliesTo": {
                "principalTypes": ["Workflow"],
                "resourceTypes": ["Target"],
                "context": _record({"tenant": {"type": "String"}, "arguments": _arguments(tool)}),
            }
        }
        for tool in tools.values()
        if tool.effect != "read"
    }
    return json.dumps({"": {"entityTypes": {"Workflow": {}, "Target": {}}, "actions": actions}})


def _shape_problems(policy: Policy, parsed: cedarpy.PolicySet) -> Iterator[str]:
    if parsed.templates():
        yield "it has a template with slots, which nothing fills"
    if len(parsed) == 0:
        yield "it has no statement, so that every action would be denied"
        return
    statements = json.loads(cedarpy.policies_to_json_str(policy.cedar))["staticPolicies"]
    ids: set[str] = set()
    for statement in statements.values():
        name = statement.get("annotations", {}).get("id")
        if not name:
            yield f'a {statement["effect"]} statement has no @id("...")'
        elif name in ids:
            yield f"two statements have the @id {name!r}"
        ids.add(name or "")


def _record(attributes: Mapping[str, JsonObject]) -> JsonObject:
    return {"type": "Record", "attributes": attributes}


def _arguments(tool: ToolSpec) -> JsonObject:
    properties = tool.input_schema.get("properties", {})
    required = tool.input_schema.get("required", [])
    assert isinstance(properties, Mapping)
    assert isinstance(required, (list, tuple))
    attributes: dict[str, JsonObject] = {}
    for name, schema in properties.items():
        kind = _cedar_type(schema)
        if kind is not None:
            attributes[name] = {**kind, "required": name in required}
    return _record(attributes)


def _cedar_type(schema: JsonValue) -> JsonObject | None:
    """The attribute's type; None for what Cedar has no type for: no policy can read fractions and objects."""
    if not isinstance(schema, Mapping):
        return None
    kind = schema.get("type")
    if kind == "array":
        element = _cedar_type(schema.get("items"))
        return None if element is None else {"type": "Set", "element": element}
    return _TYPES.get(str(kind))
