"""A policy's statements, as far as their scopes and annotations tell what they are about."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import cedarpy

from app.kernel.release import Policy
from interlock.canonical import JsonObject, JsonValue

PrincipalKind = Literal["Agent", "Workflow"]


@dataclass(frozen=True, slots=True)
class Asked:
    """One kind of request: who calls which tool at which target; of a tool that reads, the target is empty."""

    kind: PrincipalKind
    name: str
    tool: str
    target: str


@dataclass(frozen=True, slots=True)
class Statement:
    """One ``permit`` or ``forbid``. An annotation without a value has the value None."""

    effect: str
    annotations: Mapping[str, str | None]
    principal: JsonObject
    action: JsonObject
    resource: JsonObject
    unconditional: bool
    """It has no ``when`` and no ``unless``."""

    @property
    def name(self) -> str:
        """Its ``@id``; empty when it has none."""
        return self.annotations.get("id") or ""

    def may_apply(self, asked: Asked) -> bool:
        """Whether its scope takes in such a request. Nothing is in anything else here: no entity has a parent."""
        return (
            _takes(self.principal, asked.kind, asked.name)
            and _takes(self.action, "Action", asked.tool)
            and _takes(self.resource, "Target", asked.target)
        )

    def always_applies(self, asked: Asked) -> bool:
        """Whether it decides every such request, whatever its arguments are."""
        return self.unconditional and self.may_apply(asked)


def statements_of(policy: Policy) -> tuple[Statement, ...]:
    """The policy's statements, in its order; those with slots are not among them. Raises ValueError: no Cedar."""
    told = json.loads(cedarpy.policies_to_json_str(policy.cedar))["staticPolicies"]
    # Cedar numbers them, and lists them by their numbers' text.
    return tuple(_statement(told[key]) for key in sorted(told, key=lambda key: (len(key), key)))


def _statement(told: Mapping[str, JsonValue]) -> Statement:
    annotations = told.get("annotations", {})
    assert isinstance(annotations, Mapping)
    return Statement(
        effect=str(told["effect"]),
        annotations={name: None if text is None else str(text) for name, text in annotations.items()},
        principal=_scope(told["principal"]),
        action=_scope(told["action"]),
        resource=_scope(told["resource"]),
        unconditional=not told.get("conditions"),
    )


def _scope(told: JsonValue) -> JsonObject:
    assert isinstance(told, Mapping)
    return told


def _takes(scope: JsonObject, kind: str, name: str) -> bool:
    """Whether a part of a scope takes in the entity ``kind::"name"``."""
    operator = scope["op"]
    if operator == "All":
        return True
    if operator == "is":
        within = scope.get("in")
        inside = within is None or (isinstance(within, Mapping) and _is(within.get("entity"), kind, name))
        return scope.get("entity_type") == kind and inside
    entities = scope.get("entities", [scope.get("entity")])
    assert isinstance(entities, (list, tuple))
    return any(_is(entity, kind, name) for entity in entities)


def _is(entity: JsonValue, kind: str, name: str) -> bool:
    return isinstance(entity, Mapping) and entity.get("type") == kind and entity.get("id") == name
