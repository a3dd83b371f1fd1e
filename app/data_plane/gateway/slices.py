"""A policy cut into one parsed set for each tool, and what the statements of each read of a request.

Converting a request's context costs more than evaluating fifty statements (about two microseconds for every value), so
a context is built from what is read and nothing else. That changes no verdict: a path that no statement reads
cannot matter, and one that is read in an unusual way is given as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import cedarpy

from interlock.canonical import JsonObject, JsonValue


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


@dataclass(slots=True)
class Wanted:
    """What of one part of a context is read: all of it, some members, or of a set whether it has some texts."""

    whole: bool = False
    members: dict[str, Wanted] = field(default_factory=dict)
    texts: set[str] | None = None
    """Of a set that is only asked whether it contains these."""

    @property
    def is_read(self) -> bool:
        """Whether a value is read, and not only asked for with ``has``."""
        return self.whole or bool(self.members) or self.texts is not None


@dataclass(frozen=True, slots=True)
class Slice:
    """The statements of a policy that can speak about one tool."""

    statements: Mapping[str, Statement]
    """By Cedar's own name for them."""
    plain: cedarpy.PolicySet
    """Without the permits that count only with a person's consent."""
    consented: cedarpy.PolicySet | None
    """With a person's consent; None where no statement asks for one."""
    wanted: Wanted


@lru_cache(maxsize=1024)
def slice_of(cedar: str, tool: str) -> Slice:
    """The slice of a policy for a tool.

    Raises:
        ValueError: the text is not Cedar.
    """
    documents = {
        name: document for name, document in _documents(cedar).items() if _can_be_about(document, tool)
    }
    statements = {name: _statement(name, document) for name, document in documents.items()}
    wanted = Wanted()
    for document in documents.values():
        for condition in _list(document.get("conditions")):
            _note_reads(condition, wanted)
    asks = any(statement.approval is not None for statement in statements.values())
    plain = {
        name: document
        for name, document in documents.items()
        if statements[name].approval is None or not statements[name].permits
    }
    consented = {
        name: document
        for name, document in documents.items()
        if statements[name].approval is None or statements[name].permits
    }
    return Slice(statements, _parsed(plain), _parsed(consented) if asks else None, wanted)


@lru_cache(maxsize=64)
def _documents(cedar: str) -> dict[str, JsonObject]:
    parsed: dict[str, dict[str, JsonObject]] = json.loads(cedarpy.policies_to_json_str(cedar))
    return parsed["staticPolicies"]


def _parsed(documents: Mapping[str, JsonObject]) -> cedarpy.PolicySet:
    return cedarpy.PolicySet.from_json_str(
        json.dumps({"templates": {}, "staticPolicies": documents, "templateLinks": []})
    )


def _can_be_about(document: JsonObject, tool: str) -> bool:
    """Whether a statement's action constraint can match; there are no groups of actions, so ``in`` is equality."""
    action = document.get("action")
    if not isinstance(action, Mapping) or action.get("op") not in ("==", "in"):
        return True
    entities = [*_list(action.get("entities")), *([action["entity"]] if "entity" in action else [])]
    return any(isinstance(one, Mapping) and one.get("id") == tool for one in entities)


def _statement(name: str, document: JsonObject) -> Statement:
    annotations = document.get("annotations")
    notes = annotations if isinstance(annotations, Mapping) else {}
    told = str(notes.get("id") or name)
    approval = str(notes["approval"] or f"{told} asks for a person") if "approval" in notes else None
    persons = 0 if approval is None else 2 if "four_eyes" in notes else 1
    return Statement(told, document.get("effect") == "permit", approval, persons)


def _note_reads(node: JsonValue, wanted: Wanted) -> None:
    """Note what an expression, in Cedar's JSON form, reads of the context."""
    if isinstance(node, (list, tuple)):
        for item in node:
            _note_reads(item, wanted)
        return
    if not isinstance(node, Mapping) or "Value" in node:
        return
    path = _path(node)
    if path is not None:
        _at(wanted, path).whole = True
        return
    for operator, operands in node.items():
        if not _note_special(operator, operands, wanted):
            _note_reads(
                list(operands.values())
                if operator == "Record" and isinstance(operands, Mapping)
                else operands,
                wanted,
            )


def _note_special(operator: str, operands: JsonValue, wanted: Wanted) -> bool:
    """``has`` reads no value, and ``contains`` only whether one is there."""
    if not isinstance(operands, Mapping):
        return False
    path = _path(operands.get("left"))
    if path is None:
        return False
    attribute = operands.get("attr")
    if operator == "has" and isinstance(attribute, str):
        _at(wanted, (*path, attribute))
        return True
    texts = _texts(operator, operands.get("right"))
    if texts is None:
        return False
    place = _at(wanted, path)
    place.texts = (place.texts or set()).union(texts)
    return True


def _texts(operator: str, node: JsonValue) -> list[str] | None:
    """The texts that a set is asked for; None when they are not all written in the policy."""
    if operator not in ("contains", "containsAny", "containsAll") or not isinstance(node, Mapping):
        return None
    listed = [node] if operator == "contains" else node.get("Set")
    found = [item.get("Value") if isinstance(item, Mapping) else None for item in _list(listed)]
    texts = [text for text in found if isinstance(text, str)]
    return texts if isinstance(listed, (list, tuple)) and len(texts) == len(found) else None


def _path(node: JsonValue) -> tuple[str, ...] | None:
    """``("arguments", "url")`` for ``context.arguments.url``; None for any other expression."""
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


def _at(wanted: Wanted, path: tuple[str, ...]) -> Wanted:
    for part in path:
        wanted = wanted.members.setdefault(part, Wanted())
    return wanted


def _list(value: JsonValue) -> list[JsonValue]:
    return list(value) if isinstance(value, (list, tuple)) else []
