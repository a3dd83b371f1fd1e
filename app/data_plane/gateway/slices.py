"""A policy cut into one parsed set for each tool, rewritten to read a flat context of what it reads and nothing else.

Cedar spends more on a request's context than on fifty statements: two microseconds for a value, six for a record. So
every ``context.provenance.url.trusted`` becomes ``context.r3``, and so does ``context.asked.contains("send")``, which
then is a boolean; a request brings ``r3`` alone. That changes no verdict: what is not read cannot matter, and what is
missing where it is read is an error in both forms.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import cedarpy

from interlock.canonical import JsonObject, JsonValue

Path = tuple[str, ...]
"""``("arguments", "url")`` for ``context.arguments.url``; the empty one is the context itself."""
Operator = Literal["whole", "has", "contains", "containsAny", "containsAll", "isEmpty", "isNothing"]
"""What is asked of a path: its value, whether it is there, or something about the set that it is.

``isNothing`` is ``== []``, which of what is no set is false and not an error.
"""

# What always is a record, so that ``has`` on it cannot fail, and may be asked of the flat context instead.
_RECORDS: frozenset[Path] = frozenset({(), ("arguments",), ("provenance",), ("spend",)})


@dataclass(frozen=True, slots=True)
class Statement:
    """What the gateway needs to know of one statement."""

    name: str
    """Its ``@id``."""
    permits: bool
    approval: str | None
    """Why a person is asked, when it has ``@approval``."""
    persons: int
    """How many must consent, where it wants consent."""


@dataclass(frozen=True, slots=True)
class Read:
    """One thing that is read of the context; its value has one name in the flat context."""

    path: Path
    operator: Operator
    texts: tuple[str, ...] = ()
    """That the set is asked for."""


@dataclass(frozen=True, slots=True)
class Slice:
    """The statements of a policy that can speak about one tool."""

    statements: Mapping[str, Statement]
    """By Cedar's own name for them."""
    plain: cedarpy.PolicySet
    """Without the permits that count only with a person's consent."""
    consented: cedarpy.PolicySet | None
    """With a person's consent; None where no statement asks for one."""
    reads: Mapping[str, Read]
    """What the flat context consists of, by its names there."""


@lru_cache(maxsize=1024)
def slice_of(cedar: str, tool: str) -> Slice:
    """The slice of a policy for a tool.

    Raises:
        ValueError: the text is not Cedar.
    """
    chosen = {
        name: {**found, "action": {"op": "All"}}
        for name, found in _documents(cedar).items()
        if _can_be_about(found, tool)
    }
    statements = {name: _statement(name, document) for name, document in chosen.items()}
    reads = dict.fromkeys(
        read
        for document in chosen.values()
        for condition in _conditions(document)
        for read in _reads(condition["body"])
    )
    names = {read: f"r{position}" for position, read in enumerate(reads)}
    flat = {
        name: {**document, "conditions": [_flat_condition(one, names) for one in _conditions(document)]}
        for name, document in chosen.items()
    }
    asking = {name for name, statement in statements.items() if statement.approval is not None}
    permits = {name for name, statement in statements.items() if statement.permits}
    return Slice(
        statements,
        _parsed({name: document for name, document in flat.items() if name not in asking & permits}),
        _parsed({name: document for name, document in flat.items() if name not in asking - permits})
        if asking
        else None,
        {name: read for read, name in names.items()},
    )


@lru_cache(maxsize=64)
def _documents(cedar: str) -> dict[str, JsonObject]:
    parsed: dict[str, dict[str, JsonObject]] = json.loads(cedarpy.policies_to_json_str(cedar))
    return parsed["staticPolicies"]


def _parsed(documents: Mapping[str, JsonObject]) -> cedarpy.PolicySet:
    return cedarpy.PolicySet.from_json_str(
        json.dumps({"templates": {}, "staticPolicies": documents, "templateLinks": []})
    )


def _can_be_about(document: JsonObject, tool: str) -> bool:
    """Whether a statement's action constraint matches; there are no groups of actions, so ``in`` is equality.

    With that settled the constraint is dropped: Cedar would look at it again for every statement and request.
    """
    action = document.get("action")
    if not isinstance(action, Mapping) or action.get("op") not in ("==", "in"):
        return True
    entities = [*_list(action.get("entities")), *([action["entity"]] if "entity" in action else [])]
    return {"type": "Action", "id": tool} in entities


def _statement(name: str, document: JsonObject) -> Statement:
    annotations = document.get("annotations")
    notes = annotations if isinstance(annotations, Mapping) else {}
    told = str(notes.get("id") or name)
    approval = str(notes["approval"] or f"{told} asks for a person") if "approval" in notes else None
    persons = 0 if approval is None else 2 if "four_eyes" in notes else 1
    return Statement(told, document.get("effect") == "permit", approval, persons)


def _reads(node: JsonValue) -> Iterator[Read]:
    """What an expression, in Cedar's JSON form, reads of the context."""
    read = _read(node)
    if read is not None:
        yield read
    elif isinstance(node, (list, tuple)):
        for item in node:
            yield from _reads(item)
    elif isinstance(node, Mapping) and "Value" not in node:
        for item in node.values():
            yield from _reads(list(item.values()) if isinstance(item, Mapping) else item)


def _flat_condition(condition: JsonObject, names: Mapping[Read, str]) -> JsonObject:
    return {**condition, "body": _flat(condition["body"], names)}


def _flat(node: JsonValue, names: Mapping[Read, str]) -> JsonValue:
    """The same expression over the flat context."""
    read = _read(node)
    if read is not None:
        operator = "has" if read.operator == "has" else "."
        return {operator: {"left": {"Var": "context"}, "attr": names[read]}}
    if isinstance(node, (list, tuple)):
        return [_flat(item, names) for item in node]
    if not isinstance(node, Mapping) or "Value" in node:
        return node
    return {
        operator: {name: _flat(item, names) for name, item in operands.items()}
        if isinstance(operands, Mapping)
        else _flat(operands, names)
        for operator, operands in node.items()
    }


def _read(node: JsonValue) -> Read | None:
    """What this node itself reads of the context, if it is an access, or a question about one that is answered here."""
    path = _path(node)
    if path is not None:
        return Read(path, "whole")
    if not isinstance(node, Mapping) or len(node) != 1:
        return None
    ((operator, operands),) = node.items()
    if not isinstance(operands, Mapping):
        return None
    path = _path(operands.get("arg" if operator == "isEmpty" else "left"))
    if path is None:
        return None
    attribute, right = operands.get("attr"), operands.get("right")
    if operator == "has" and isinstance(attribute, str) and path in _RECORDS:
        return Read((*path, attribute), "has")
    if operator == "isEmpty":
        return Read(path, "isEmpty")
    if operator == "==" and right == {"Set": []}:
        return Read(path, "isNothing")
    if operator == "contains":
        text = right.get("Value") if isinstance(right, Mapping) else None
        return Read(path, "contains", (text,)) if isinstance(text, str) else None
    texts = _texts(right) if operator in ("containsAny", "containsAll") else None
    return (
        None
        if texts is None
        else Read(path, "containsAny" if operator == "containsAny" else "containsAll", texts)
    )


def _texts(node: JsonValue) -> tuple[str, ...] | None:
    """The texts of a set that is written in the policy; None when it holds anything else."""
    items = node.get("Set") if isinstance(node, Mapping) else None
    if not isinstance(items, (list, tuple)):
        return None
    found = [item.get("Value") if isinstance(item, Mapping) else None for item in items]
    texts = tuple(text for text in found if isinstance(text, str))
    return texts if len(texts) == len(found) else None


def _path(node: JsonValue) -> Path | None:
    parts: list[str] = []
    while isinstance(node, Mapping):
        if node.get("Var") == "context":
            return tuple(reversed(parts))
        access = node.get(".")
        if not isinstance(access, Mapping) or not isinstance(access.get("attr"), str):
            return None
        parts.append(str(access["attr"]))
        node = access.get("left")
    return None


def _conditions(document: JsonObject) -> list[JsonObject]:
    return [one for one in _list(document.get("conditions")) if isinstance(one, Mapping)]


def _list(value: JsonValue) -> list[JsonValue]:
    return list(value) if isinstance(value, (list, tuple)) else []
