"""The ways in which a schema can be read: references followed, alternatives laid out, each prepared for asking."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property

from interlock.canonical import JsonObject, JsonValue

MAX_DEPTH = 32
"""References and alternatives inside each other."""
MAX_VIEWS = 16
"""Of one part of a value; where a schema allows for more, it says nothing of the part."""
MAX_FIELD = 256
"""Characters of structured text; what is longer or has line breaks is no field, whatever its schema says."""

_REFERENCE = re.compile(r"#/(\$defs|definitions)/([^/]+)")
_FORMS = {
    "date": re.compile(r"\d{4}-\d{2}-\d{2}"),
    "time": re.compile(r"\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:\d{2})?"),
    "date-time": re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?([Zz]|[+-]\d{2}:\d{2})?"),
    "duration": re.compile(r"P[0-9YMWDTHS.]{1,40}"),
    "email": re.compile(r"[\w.%+'-]{1,64}@[\w-]{1,63}(\.[\w-]{1,63}){0,8}"),
    "uuid": re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
    "uri": re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}:[!-~]{1,2000}"),
    "hostname": re.compile(r"[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63}){0,8}"),
    "ipv4": re.compile(r"\d{1,3}(\.\d{1,3}){3}"),
    "ipv6": re.compile(r"[0-9a-fA-F:.]{2,45}"),
}
_TYPES: Mapping[str, frozenset[type]] = {
    "null": frozenset({type(None)}),
    "boolean": frozenset({bool}),
    "integer": frozenset({int, float}),
    "number": frozenset({int, float}),
    "string": frozenset({str}),
    "array": frozenset({list, tuple}),
}
_SCALARS = frozenset({type(None), bool, int, float, str, list, tuple})


class View:
    """One way to read a part of a value: all of these schemas hold for it.

    Args:
        marked: this, or something around it, is marked as structured.
    """

    def __init__(self, schemas: tuple[JsonObject, ...] = (), marked: bool = False) -> None:
        self.schemas = schemas
        self.marked = marked

    @cached_property
    def properties(self) -> frozenset[str]:
        """The members that are declared."""
        return frozenset(name for schema in self.schemas for name in members(schema))

    @cached_property
    def _refused(self) -> frozenset[type]:
        """The types that a value cannot have; whatever is no object is told by its type."""
        refused: frozenset[type] = frozenset()
        for schema in self.schemas:
            if "type" in schema:
                told = schema["type"]
                names = [told] if isinstance(told, str) else listed(told)
                allowed = frozenset(one for name in names for one in _TYPES.get(str(name), frozenset()))
                refused |= _SCALARS - allowed
                if "object" not in names:
                    refused |= {dict}
        return refused

    @cached_property
    def _named(self) -> list[list[JsonValue]]:
        """For each enum or constant, its values."""
        return [
            [schema["const"]] if "const" in schema else listed(schema["enum"])
            for schema in self.schemas
            if "const" in schema or "enum" in schema
        ]

    @cached_property
    def _forms(self) -> list[re.Pattern[str]]:
        return [_FORMS[name] for schema in self.schemas if (name := str(schema.get("format"))) in _FORMS]

    @cached_property
    def _names(self) -> list[View]:
        """What is said of the names of members."""
        rules = [rule for schema in self.schemas if isinstance(rule := schema.get("propertyNames"), Mapping)]
        return [View((rule,), rule.get("x-interlock") == "structured") for rule in rules]

    @cached_property
    def _constants(self) -> list[tuple[str, JsonValue]]:
        """The members that must have one value, by which alternatives are told apart."""
        return [
            (name, part["const"])
            for schema in self.schemas
            for name, part in members(schema).items()
            if isinstance(part, Mapping) and "const" in part
        ]

    def fits(self, value: JsonValue) -> bool:
        """Whether a value can be read this way, by its type and by its constants."""
        if isinstance(value, Mapping):
            return dict not in self._refused and all(
                name not in value or same(value[name], told) for name, told in self._constants
            )
        if type(value) in self._refused:
            return False
        return not self._named or all(len(named) != 1 or same(named[0], value) for named in self._named)

    def is_choice(self, value: JsonValue) -> bool:
        """Whether a leaf is one of a few values that the schema names."""
        return isinstance(value, bool) or any(same(one, value) for named in self._named for one in named)

    def is_structured(self, value: JsonValue) -> bool:
        """Whether no outsider can have written prose here: marked, named, of a known form, or no text at all."""
        if not isinstance(value, str):
            return self.marked or bool(self._refused) or self.is_choice(value)
        if len(value) > MAX_FIELD or "\n" in value or "\r" in value:
            return False
        return self.marked or self.is_choice(value) or any(form.fullmatch(value) for form in self._forms)

    def is_structured_name(self, name: str) -> bool:
        """The same of a member that is not declared: its name was written by whoever filled the object."""
        if self.marked:
            return View(marked=True).is_structured(name)
        return any(rule.is_structured(name) for rule in self._names)

    def part(self, keyword: str, name: str | None) -> list[JsonObject]:
        """What is said of the member of that name, or of an item."""
        found = [
            schema.get(keyword)
            if name is None
            else members(schema).get(name, schema.get("additionalProperties"))
            for schema in self.schemas
        ]
        return [part for part in found if isinstance(part, Mapping)]


Views = tuple[View, ...]


class SchemaViews:
    """One schema's parts, each resolved once. The schema must not change."""

    def __init__(self, schema: JsonObject) -> None:
        self._schema = schema
        self._resolved: dict[tuple[int, bool], Views] = {}
        self._parts: dict[tuple[Views, str | None], Views] = {}
        self.root = self._of(schema, False, 0)

    def member(self, views: Views, name: str) -> Views:
        """The ways to read a member of what can be read in these ways."""
        if not any(name in view.properties for view in views):
            name = _OTHER
        return self._below(views, "properties", name)

    def items(self, views: Views) -> Views:
        """The ways to read an item."""
        return self._below(views, "items", None)

    def _below(self, views: Views, keyword: str, name: str | None) -> Views:
        key = (views, name)
        if key not in self._parts:
            found: list[View] = []
            for view in views:
                ways: Views = (View((), view.marked),)
                for part in view.part(keyword, name):
                    ways = _both(ways, self._of(part, view.marked, 0))
                found.extend(ways)
            self._parts[key] = tuple(found) if len(found) <= MAX_VIEWS else ()
        return self._parts[key]

    def _of(self, schema: JsonObject, marked: bool, depth: int) -> Views:
        key = (id(schema), marked)
        if key not in self._resolved:
            self._resolved[key] = self._resolve(schema, marked, depth)
        return self._resolved[key]

    def _resolve(self, schema: JsonObject, marked: bool, depth: int) -> Views:
        if depth > MAX_DEPTH:
            return ()
        marked = marked or schema.get("x-interlock") == "structured"
        ways: Views = (View((schema,), marked),)
        reference = schema.get("$ref")
        if isinstance(reference, str):
            ways = _both(ways, self._of(self._definition(reference), marked, depth + 1))
        for part in _schemas(schema, "allOf"):
            ways = _both(ways, self._of(part, marked, depth + 1))
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                either = [self._of(part, marked, depth + 1) for part in _schemas(schema, keyword)]
                ways = _both(ways, tuple(view for views in either for view in views))
        return ways

    def _definition(self, reference: str) -> JsonObject:
        match = _REFERENCE.fullmatch(reference)
        definitions = self._schema.get(match.group(1)) if match else None
        found = definitions.get(match.group(2)) if match and isinstance(definitions, Mapping) else None
        return found if isinstance(found, Mapping) else _NOTHING


_OTHER = "\0any other member"
_NOTHING: JsonObject = {}


def members(schema: JsonObject) -> JsonObject:
    """The members that a schema declares."""
    properties = schema.get("properties")
    return properties if isinstance(properties, Mapping) else _NOTHING


def listed(value: JsonValue) -> list[JsonValue]:
    """The items of a list; of anything else, none."""
    return list(value) if isinstance(value, (list, tuple)) else []


def same(left: JsonValue, right: JsonValue) -> bool:
    """Whether two values are the same JSON: ``1`` is ``1.0``, and is not ``true``."""
    return left == right and isinstance(left, bool) == isinstance(right, bool)


def _schemas(schema: JsonObject, keyword: str) -> list[JsonObject]:
    return [part for part in listed(schema.get(keyword)) if isinstance(part, Mapping)]


def _both(ways: Views, others: Views) -> Views:
    if len(ways) * len(others) > MAX_VIEWS:
        return ()
    return tuple(
        View((*one.schemas, *other.schemas), one.marked or other.marked) for one in ways for other in others
    )
