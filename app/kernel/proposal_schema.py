"""The part of JSON Schema that an answer may be described with, compiled once.

What a schema says beyond this is an error at publishing, so that no keyword is ever silently ignored. Both planes
read it here: the control plane asks for ``problems``, the data plane for ``compiled``. The words are those of JSON
Schema 2020-12, and one of ours: ``x-aliases`` beside ``enum`` gives further names for its values.

A proposal is one closed object at the top; below that, all that is supported may stand.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from app.kernel.errors import PermanentError
from app.kernel.linear_pattern import LinearPattern, UnsupportedPatternError
from interlock.canonical import JsonObject, JsonValue, NotCanonicalError, canonical_bytes

MAX_PROPERTIES = 64
MAX_ENUM = 1000
MAX_NODES = 2000
MAX_SCHEMA_DEPTH = 24
TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")
LOWEST, HIGHEST = -(2**63), 2**63 - 1

_PROPERTY = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")
_NUL_OR_SURROGATE = re.compile("[\x00\ud800-\udfff]")
_DEFINITION = "#/$defs/"
_IGNORED = frozenset(
    ("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$schema", "$comment",
     "$id", "format", "discriminator", "contentMediaType", "contentEncoding", "$defs")
)  # fmt: skip
_LENGTHS = {
    "minLength": "min_length", "maxLength": "max_length", "minItems": "min_items", "maxItems": "max_items",
    "minProperties": "min_properties", "maxProperties": "max_properties",
}  # fmt: skip
_BOUNDS = {
    "minimum": "minimum", "maximum": "maximum",
    "exclusiveMinimum": "above", "exclusiveMaximum": "below",
}  # fmt: skip
_PARTS = frozenset(
    ("type", "enum", "const", "x-aliases", "properties", "required", "additionalProperties", "items", "prefixItems",
     "uniqueItems", "multipleOf", "pattern", "anyOf", "oneOf", "allOf", "$ref")
)  # fmt: skip


class UnsupportedSchemaError(PermanentError):
    """The schema says something that answers cannot be checked for."""

    code = "unsupported_proposal_schema"


@dataclass(frozen=True, slots=True)
class Choice:
    """One allowed value and the names that a model may use for it."""

    value: JsonValue
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One schema, or one part of one. What it does not restrict is None, or empty."""

    types: tuple[str, ...] = ()
    title: str = ""
    description: str = ""
    choices: tuple[Choice, ...] | None = None
    properties: Mapping[str, Node] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    additional: Node | Literal[True, False] = True
    items: Node | None = None
    prefix: tuple[Node, ...] = ()
    closed_items: bool = False
    unique: bool = False
    min_length: int | None = None
    max_length: int | None = None
    min_items: int | None = None
    max_items: int | None = None
    min_properties: int | None = None
    max_properties: int | None = None
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    multiple: int | None = None
    pattern: LinearPattern | None = None
    any_of: tuple[Node, ...] = ()
    one_of: tuple[Node, ...] = ()
    all_of: tuple[Node, ...] = ()
    reference: str = ""
    definitions: Mapping[str, Node] = field(default_factory=dict, repr=False)

    @property
    def target(self) -> Node | None:
        """The definition that this part refers to."""
        return self.definitions[self.reference] if self.reference else None


def compiled(schema: JsonObject) -> Node:
    """``schema`` in a form to read and check answers by; compiled once for each distinct schema.

    Raises:
        UnsupportedSchemaError: it says something that is not supported.
    """
    try:
        found, node = _compiled(canonical_bytes(schema))
    except NotCanonicalError as error:
        raise UnsupportedSchemaError(
            f"The schema is not JSON: {error}.", "Write it as plain JSON."
        ) from error
    if found:
        raise UnsupportedSchemaError(
            f"The schema is not supported: {'; '.join(found)}.",
            "Use what app/kernel/proposal_schema.py describes.",
        )
    return node


def problems(schema: JsonValue) -> list[str]:
    """What is wrong with ``schema`` as that of a proposal, as ``where: what``; empty when it is supported."""
    try:
        canonical = canonical_bytes(schema)
    except NotCanonicalError as error:
        return [f"schema: {error}"]
    if not isinstance(schema, Mapping):
        return ["schema: it is no object"]
    return [*_beyond_a_proposal(schema), *_compiled(canonical)[0]]


def is_storable(text: str) -> bool:
    """Whether PostgreSQL keeps this text: it has no NUL and no lone surrogate."""
    return _NUL_OR_SURROGATE.search(text) is None


def _beyond_a_proposal(schema: JsonObject) -> Iterator[str]:
    """What a proposal is at its top: one closed object with properties that expressions can name."""
    if schema.get("type") != "object":
        yield 'schema.type: a proposal is an "object"'
    if schema.get("additionalProperties") is not False:
        yield "schema.additionalProperties: a proposal is closed, so this is false"
    properties = schema.get("properties")
    if not isinstance(properties, Mapping) or not properties:
        yield "schema.properties: a proposal has at least one property"
        return
    for name in properties:
        if not _PROPERTY.fullmatch(name):
            yield f"schema.properties.{name}: it is no name of letters, digits and _"


@lru_cache(maxsize=512)
def _compiled(canonical: bytes) -> tuple[tuple[str, ...], Node]:
    compiler = _Compiler()
    node = compiler.root(json.loads(canonical))
    return tuple(compiler.found), node


class _Compiler:
    """Makes nodes of one schema and collects what it cannot."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.definitions: dict[str, Node] = {}
        self.references: list[tuple[str, str]] = []
        self.nodes = 0

    def root(self, schema: JsonValue) -> Node:
        definitions = schema.get("$defs", {}) if isinstance(schema, Mapping) else {}
        if isinstance(definitions, Mapping):
            for name, part in definitions.items():
                self.definitions[name] = self.node(part, f"schema.$defs.{name}", 1)
        else:
            self.say("schema.$defs", "it is no object")
        root = self.node(schema, "schema", 0)
        for place, name in self.references:
            if name not in self.definitions:
                self.say(place, f"there is no definition {name[:60]!r}")
        if not self.found:
            self._refuse_circles(root)
        return root

    def say(self, place: str, reason: str) -> None:
        self.found.append(f"{place}: {reason}")

    def _refuse_circles(self, root: Node) -> None:
        """A definition that stands for itself, with no object or list between, describes nothing."""
        for name, node in [("", root), *self.definitions.items()]:
            seen: set[int] = set()
            waiting = list(_same_value(node))
            while waiting:
                other = waiting.pop()
                if other is node:
                    self.say(
                        f"schema.$defs.{name}" if name else "schema", "it refers to itself for the same value"
                    )
                    return
                if id(other) not in seen:
                    seen.add(id(other))
                    waiting.extend(_same_value(other))

    def node(self, schema: JsonValue, place: str, depth: int) -> Node:
        if schema is True:
            return Node()
        if not isinstance(schema, Mapping):
            self.say(place, "it is no schema")
            return Node()
        self.nodes += 1
        if self.nodes > MAX_NODES or depth > MAX_SCHEMA_DEPTH:
            if not self.found or self.found[-1] != f"{place}: the schema is too large or too deep":
                self.say(place, "the schema is too large or too deep")
            return Node()
        for keyword in schema:
            if (
                keyword not in _PARTS
                and keyword not in _IGNORED
                and keyword not in _LENGTHS
                and keyword not in _BOUNDS
            ):
                self.say(f"{place}.{keyword}", "this keyword is not supported")
        items, prefix, closed = self._items(schema, place, depth)
        lengths, bounds = self._lengths(schema, place), self._bounds(schema, place)
        return Node(
            types=self._types(schema, place),
            title=self._text(schema, "title", place),
            description=self._text(schema, "description", place),
            choices=self._choices(schema, place),
            properties=self._properties(schema, place, depth),
            required=self._required(schema, place),
            additional=self._additional(schema, place, depth),
            items=items,
            prefix=prefix,
            closed_items=closed,
            unique=self._flag(schema, "uniqueItems", place),
            multiple=self._multiple(schema, place),
            pattern=self._pattern(schema, place),
            any_of=self._several(schema, "anyOf", place, depth),
            one_of=self._several(schema, "oneOf", place, depth),
            all_of=self._several(schema, "allOf", place, depth),
            reference=self._reference(schema, place),
            definitions=self.definitions,
            minimum=bounds["minimum"],
            maximum=bounds["maximum"],
            above=bounds["above"],
            below=bounds["below"],
            **lengths,
        )

    def _text(self, schema: JsonObject, keyword: str, place: str) -> str:
        text = schema.get(keyword, "")
        if isinstance(text, str):
            return text
        self.say(f"{place}.{keyword}", "it is no text")
        return ""

    def _flag(self, schema: JsonObject, keyword: str, place: str) -> bool:
        flag = schema.get(keyword, False)
        if not isinstance(flag, bool):
            self.say(f"{place}.{keyword}", "it is neither true nor false")
        return flag is True

    def _types(self, schema: JsonObject, place: str) -> tuple[str, ...]:
        told = schema.get("type", ())
        types = (told,) if isinstance(told, str) else told
        if not isinstance(types, (list, tuple)) or ("type" in schema and not types):
            self.say(f"{place}.type", "it is no type")
            return ()
        for name in types:
            if name not in TYPES:
                self.say(f"{place}.type", f"{str(name)[:60]!r} is no type")
        return tuple(name for name in types if isinstance(name, str) and name in TYPES)

    def _choices(self, schema: JsonObject, place: str) -> tuple[Choice, ...] | None:
        aliases = self._aliases(schema, place)
        if "const" in schema:
            title = schema.get("title")
            return (Choice(schema["const"], (title,) if isinstance(title, str) else ()),)
        if "enum" not in schema:
            return None
        values = schema["enum"]
        if not isinstance(values, (list, tuple)) or not 0 < len(values) <= MAX_ENUM:
            self.say(f"{place}.enum", f"it is no list of 1 to {MAX_ENUM} values")
            return None
        for name in aliases:
            if name not in values:
                self.say(f"{place}.x-aliases", f"{name[:60]!r} is no value of the enum")
        return tuple(
            Choice(value, aliases.get(value, ()) if isinstance(value, str) else ()) for value in values
        )

    def _aliases(self, schema: JsonObject, place: str) -> dict[str, tuple[str, ...]]:
        told = schema.get("x-aliases", {})
        found: dict[str, tuple[str, ...]] = {}
        if not isinstance(told, Mapping) or ("x-aliases" in schema and "enum" not in schema):
            self.say(f"{place}.x-aliases", "it is no object beside an enum")
            return found
        for value, names in told.items():
            if isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names):
                found[value] = tuple(str(name) for name in names)
            else:
                self.say(f"{place}.x-aliases", "the aliases of a value are a list of texts")
        return found

    def _properties(self, schema: JsonObject, place: str, depth: int) -> dict[str, Node]:
        told = schema.get("properties", {})
        if not isinstance(told, Mapping) or len(told) > MAX_PROPERTIES:
            self.say(f"{place}.properties", f"it is no object of at most {MAX_PROPERTIES} properties")
            return {}
        return {
            name: self.node(part, f"{place}.properties.{name[:60]}", depth + 1) for name, part in told.items()
        }

    def _required(self, schema: JsonObject, place: str) -> tuple[str, ...]:
        told = schema.get("required", ())
        if not isinstance(told, (list, tuple)) or not all(isinstance(name, str) for name in told):
            self.say(f"{place}.required", "it is no list of names")
            return ()
        properties = schema.get("properties", {})
        for name in told:
            if isinstance(properties, Mapping) and name not in properties:
                self.say(f"{place}.required", f'"required" names {str(name)[:60]!r}, which is no property')
        return tuple(str(name) for name in told)

    def _additional(self, schema: JsonObject, place: str, depth: int) -> Node | Literal[True, False]:
        told = schema.get("additionalProperties", True)
        if isinstance(told, bool):
            return told
        return self.node(told, f"{place}.additionalProperties", depth + 1)

    def _items(
        self, schema: JsonObject, place: str, depth: int
    ) -> tuple[Node | None, tuple[Node, ...], bool]:
        prefix = self._several(schema, "prefixItems", place, depth)
        told = schema.get("items", True)
        if told is False:
            return None, prefix, True
        if told is True:
            return None, prefix, False
        return self.node(told, f"{place}.items", depth + 1), prefix, False

    def _several(self, schema: JsonObject, keyword: str, place: str, depth: int) -> tuple[Node, ...]:
        told = schema.get(keyword, ())
        if keyword not in schema:
            return ()
        if not isinstance(told, (list, tuple)) or not 0 < len(told) <= MAX_PROPERTIES:
            self.say(f"{place}.{keyword}", f"it is no list of 1 to {MAX_PROPERTIES} schemas")
            return ()
        return tuple(
            self.node(part, f"{place}.{keyword}.{position}", depth + 1) for position, part in enumerate(told)
        )

    def _reference(self, schema: JsonObject, place: str) -> str:
        told = schema.get("$ref")
        if told is None:
            return ""
        if not isinstance(told, str) or not told.startswith(_DEFINITION):
            self.say(f"{place}.$ref", f"only {_DEFINITION}<name> is supported")
            return ""
        name = told[len(_DEFINITION) :]
        self.references.append((f"{place}.$ref", name))
        return name

    def _pattern(self, schema: JsonObject, place: str) -> LinearPattern | None:
        told = schema.get("pattern")
        if told is None:
            return None
        try:
            if not isinstance(told, str):
                raise UnsupportedPatternError("it is no text")
            return LinearPattern(told)
        except UnsupportedPatternError as error:
            self.say(f"{place}.pattern", f"it is not supported: {error}")
            return None

    def _multiple(self, schema: JsonObject, place: str) -> int | None:
        told = schema.get("multipleOf")
        if told is None:
            return None
        if isinstance(told, bool) or not isinstance(told, int) or told < 1:
            self.say(f"{place}.multipleOf", "it is no whole number above 0")
            return None
        return told

    def _lengths(self, schema: JsonObject, place: str) -> dict[str, int | None]:
        found: dict[str, int | None] = {}
        for keyword, name in _LENGTHS.items():
            told = schema.get(keyword)
            if told is not None and (isinstance(told, bool) or not isinstance(told, int) or told < 0):
                self.say(f"{place}.{keyword}", "it is no whole number from 0")
                told = None
            found[name] = told
        for what in ("Length", "Items", "Properties"):
            low, high = found[f"min_{what.lower()}"], found[f"max_{what.lower()}"]
            if low is not None and high is not None and low > high:
                self.say(place, f'"min{what}" is above "max{what}"')
        return found

    def _bounds(self, schema: JsonObject, place: str) -> dict[str, float | None]:
        found: dict[str, float | None] = {}
        for keyword, name in _BOUNDS.items():
            told = schema.get(keyword)
            if told is not None and (
                isinstance(told, bool) or not isinstance(told, (int, float)) or not math.isfinite(told)
            ):
                self.say(f"{place}.{keyword}", "it is no number")
                told = None
            found[name] = told
        if (
            found["minimum"] is not None
            and found["maximum"] is not None
            and found["minimum"] > found["maximum"]
        ):
            self.say(place, '"minimum" is above "maximum"')
        return found


def _same_value(node: Node) -> Iterator[Node]:
    """The parts that a value must fit as well, or instead."""
    if node.target is not None:
        yield node.target
    yield from node.any_of
    yield from node.one_of
    yield from node.all_of
