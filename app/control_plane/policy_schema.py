"""Cedar's schema of every request that the gateway can ask a policy about, generated from the tools' contracts.

The principal is ``Agent::"<name>"`` by its model's call or ``Workflow::"<name>"`` by its decision (only agents call
tools that read), the action ``Action::"<tool>"``, the resource ``Target::"<target>"``. What Cedar has no type for is
left out of ``context.arguments``; its provenance is there all the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from app.kernel.tool_spec import ToolSpec
from interlock.canonical import JsonObject, JsonValue

_TEXT: JsonObject = {"type": "String"}
_WHOLE: JsonObject = {"type": "Long"}
_FLAG: JsonObject = {"type": "Boolean"}
_TEXTS: JsonObject = {"type": "Set", "element": _TEXT}
_TYPES: Mapping[str, JsonObject] = {
    "string": _TEXT,
    "integer": _WHOLE,
    "boolean": _FLAG,
    "number": {"type": "Extension", "name": "decimal"},
}
_DEFINITION = "#/$defs/"


def cedar_schema(tools: Mapping[str, ToolSpec]) -> str:
    """The schema as Cedar's JSON."""
    actions = {
        tool.name: {
            "appliesTo": {
                "principalTypes": ["Agent"] if tool.effect == "read" else ["Agent", "Workflow"],
                "resourceTypes": ["Target"],
                "context": _context(tool),
            }
        }
        for tool in tools.values()
    }
    entities: JsonObject = {"Agent": {}, "Workflow": {}, "Target": {}}
    return json.dumps({"": {"entityTypes": entities, "actions": actions}})


def _context(tool: ToolSpec) -> JsonObject:
    types = _Types(tool.input_schema)
    return _record(
        {
            "tenant": _TEXT,
            "workflow": _TEXT,
            "arguments": types.record(tool.input_schema),
            "provenance": _record(
                {
                    name: {**_PROVENANCE, "required": required}
                    for name, _, required in types.members(tool.input_schema)
                }
            ),
            "asked": _TEXTS,
            "spend": _record({"calls": _WHOLE, "nano_usd": _WHOLE}),
        }
    )


def _record(attributes: Mapping[str, JsonObject]) -> JsonObject:
    return {"type": "Record", "attributes": attributes}


_PROVENANCE = _record({"origins": _TEXTS, "fields": _TEXTS, "unproven": _TEXTS, "trusted": _FLAG})


class _Types:
    """One tool's input schema as Cedar's types."""

    def __init__(self, schema: JsonObject) -> None:
        definitions = schema.get("$defs", {})
        assert isinstance(definitions, Mapping)
        self._definitions = definitions

    def members(self, schema: JsonObject) -> list[tuple[str, JsonValue, bool]]:
        """Each property's name and schema, and whether a request always has it: null is as good as absent."""
        properties, required = schema.get("properties", {}), schema.get("required", ())
        assert isinstance(properties, Mapping)
        assert isinstance(required, (list, tuple))
        return [
            (name, part, name in required and not self._may_be_null(part, frozenset()))
            for name, part in properties.items()
        ]

    def record(self, schema: JsonObject, within: frozenset[str] = frozenset()) -> JsonObject:
        """An object's record, without the members that Cedar has no type for."""
        attributes: dict[str, JsonObject] = {}
        for name, part, required in self.members(schema):
            kind = self._of(part, within)
            if kind is not None:
                attributes[name] = {**kind, "required": required}
        return _record(attributes)

    def _of(self, part: JsonValue, within: frozenset[str]) -> JsonObject | None:
        """The type of a part, null aside; None when it has none, or not one alone."""
        if not isinstance(part, Mapping):
            return None
        name = _definition(part)
        if name is not None:
            # What refers to itself has no end, and Cedar's types have one.
            return None if name in within else self._of(self._definitions.get(name), within | {name})
        if alternatives := _alternatives(part):
            return self._one_of(alternatives, within)
        values = part["enum"] if "enum" in part else [part["const"]] if "const" in part else None
        if isinstance(values, (list, tuple)):
            return _type_of_values(values)
        kind = _single(part.get("type"))
        if kind == "array":
            return self._set(part, within)
        if kind == "object":
            return self.record(part, within) if part.get("additionalProperties") is False else None
        return _TYPES.get(kind)

    def _one_of(self, alternatives: Sequence[JsonValue], within: frozenset[str]) -> JsonObject | None:
        kinds = [self._of(one, within) for one in alternatives if not _is_null(one)]
        return kinds[0] if kinds and all(kind == kinds[0] for kind in kinds) else None

    def _set(self, part: JsonObject, within: frozenset[str]) -> JsonObject | None:
        prefix, items = part.get("prefixItems", ()), part.get("items")
        assert isinstance(prefix, (list, tuple))
        element = self._one_of([*prefix, *([items] if items else [])], within)
        return None if element is None else {"type": "Set", "element": element}

    def _may_be_null(self, part: JsonValue, within: frozenset[str]) -> bool:
        if not isinstance(part, Mapping):
            return True
        name = _definition(part)
        if name is not None:
            return name not in within and self._may_be_null(self._definitions.get(name), within | {name})
        if alternatives := _alternatives(part):
            return any(self._may_be_null(one, within) for one in alternatives)
        values, kind = part.get("enum", [part.get("const", "")]), part.get("type")
        assert isinstance(values, (list, tuple))
        if "enum" in part or "const" in part:
            return None in values
        return kind is None or kind == "null" or (isinstance(kind, (list, tuple)) and "null" in kind)


def _definition(part: JsonObject) -> str | None:
    reference = part.get("$ref")
    return reference.removeprefix(_DEFINITION) if isinstance(reference, str) else None


def _alternatives(part: JsonObject) -> Sequence[JsonValue]:
    for keyword in ("anyOf", "oneOf"):
        found = part.get(keyword)
        if isinstance(found, (list, tuple)):
            return found
    whole = part.get("allOf")
    return whole if isinstance(whole, (list, tuple)) and len(whole) == 1 else ()


def _is_null(part: JsonValue) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "null"


def _single(kind: JsonValue) -> str:
    """The one type beside null; empty when there are more, or none."""
    kinds = [kind] if isinstance(kind, str) else list(kind) if isinstance(kind, (list, tuple)) else []
    others = [str(one) for one in kinds if one != "null"]
    return others[0] if len(others) == 1 else ""


def _type_of_values(values: Sequence[JsonValue]) -> JsonObject | None:
    given = [value for value in values if value is not None]
    if not given:
        return None
    if all(isinstance(value, str) for value in given):
        return _TEXT
    if all(isinstance(value, bool) for value in given):
        return _FLAG
    if all(isinstance(value, int) and not isinstance(value, bool) for value in given):
        return _WHOLE
    return None
