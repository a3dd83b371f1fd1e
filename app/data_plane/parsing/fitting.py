"""Fits a value to a schema: strictly where it does, changed where the schema asks for it, or not at all."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from app.data_plane.parsing.cursor import Steps, TooMuchError
from app.data_plane.parsing.documents import read_document
from app.data_plane.parsing.names import choices_for, property_for, spellings, unknown_but_near
from app.data_plane.parsing.outcome import Repair, UnreadableError, path_of
from app.data_plane.parsing.plain import same
from app.data_plane.parsing.scalars import Changed, as_choice, as_type, is_null
from app.kernel.proposal_schema import Node
from app.kernel.schema_check import MAX_VALUE_DEPTH, Check, Misfit, told_types
from interlock.canonical import JsonValue

_IN_DOUBT = "it may mean more than one thing"
_LIST_OF_NAMES = re.compile(r"\s*(?:[,;\n]|\band\b)\s*")
_LIST_OF_NUMBERS = re.compile(
    r"\s*[-+]?\d{1,20}(?:\.\d{1,20})?(?:\s?[,;]\s+[-+]?\d{1,20}(?:\.\d{1,20})?)+\s*"
)
_BULLET = re.compile(r"^[ \t]*(?:[-*\u2022]|\d{1,3}[.)])[ \t]+(.*\S)[ \t]*$")
_MAX_ITEMS_IN_TEXT = 200
_MAX_LAYERS = 3

_Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Fit:
    """A value that fits, what was changed for it, and how many members had to be left out."""

    value: JsonValue
    repairs: tuple[Repair, ...] = ()
    dropped: int = 0


class Fitter:
    """Fits the values of one answer. It remembers what it fitted, so that unions inside unions stay linear."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._check = Check()
        self._known: dict[tuple[int, int], Fit | Misfit] = {}
        self._layers = 0
        self._alive: list[JsonValue] = []

    def fit(self, node: Node, value: JsonValue) -> Fit | Misfit:
        """``value`` as ``node`` wants it, or the first place where it cannot be."""
        self._alive.append(value)
        return self._fit(node, value, ())

    def _fit(self, node: Node, value: JsonValue, path: _Path) -> Fit | Misfit:
        if len(path) > MAX_VALUE_DEPTH:
            return Misfit((), f"it is nested deeper than {MAX_VALUE_DEPTH} levels")
        strict = self._check.of(node, value, len(path))
        if strict is None:
            return Fit(value)
        key = (id(node), id(value))
        if isinstance(value, (dict, list)) and key in self._known:
            return self._known[key]
        self._spend(node)
        fitted = self._changed(node, value, path, strict)
        if isinstance(fitted, Fit):
            self._alive.append(fitted.value)
            fitted = self._check.of(node, fitted.value, len(path)) or fitted
        if isinstance(value, (dict, list)):
            self._known[key] = fitted
        return fitted

    def _spend(self, node: Node) -> None:
        self._steps.left -= 1 + len(node.choices or ()) // 8
        if self._steps.left < 0:
            raise TooMuchError("it has too many parts that do not fit")

    def _changed(self, node: Node, value: JsonValue, path: _Path, strict: Misfit) -> Fit | Misfit:
        if node.target is not None:
            return self._fit(node.target, value, path)
        if node.any_of or node.one_of:
            return self._one_of(self._fit(part, value, path) for part in (*node.any_of, *node.one_of))
        if node.all_of:
            return self._all_of(node.all_of, value, path)
        if node.choices is not None:
            return self._choice(node, value, path, strict)
        kinds = node.types or _implied_types(node)
        return (
            self._one_of(self._as_type(node, kind, value, path, strict) for kind in kinds)
            if kinds
            else strict
        )

    def _one_of(self, tried: Iterable[Fit | Misfit]) -> Fit | Misfit:
        """The one outcome of several alternatives; those that use all of the answer go first."""
        found = list(tried)
        fits = [one for one in found if isinstance(one, Fit)]
        if not fits:
            misfits = [one for one in found if isinstance(one, Misfit)]
            return max(misfits, key=lambda one: len(one.path))
        least = min(one.dropped for one in fits)
        best = [one for one in fits if one.dropped == least]
        if any(not same(best[0].value, other.value) for other in best[1:]):
            return Misfit((), _IN_DOUBT)
        return best[0]

    def _all_of(self, parts: tuple[Node, ...], value: JsonValue, path: _Path) -> Fit | Misfit:
        repairs: tuple[Repair, ...] = ()
        for part in parts:
            fitted = self._fit(part, value, path)
            if isinstance(fitted, Misfit):
                return fitted
            value, repairs = fitted.value, repairs + fitted.repairs
        return Fit(value, repairs)

    def _choice(self, node: Node, value: JsonValue, path: _Path, strict: Misfit) -> Fit | Misfit:
        if isinstance(value, list) and len(value) == 1:
            return self._unwrapped(node, value[0], "unwrapped", path)
        context = next((part for part in reversed(path) if isinstance(part, str)), "")
        return _of(as_choice(node, value, context), path, strict)

    def _as_type(self, node: Node, kind: str, value: JsonValue, path: _Path, strict: Misfit) -> Fit | Misfit:
        wrong = Misfit((), f"it should be {told_types(node.types or (kind,))}")
        if kind == "object":
            return self._as_object(node, value, path, wrong)
        if kind == "array":
            return self._as_list(node, value, path, wrong)
        if isinstance(value, list) and len(value) == 1 and kind != "null":
            return self._unwrapped(node, value[0], "unwrapped", path)
        return _of(as_type(node, kind, value), path, strict)

    def _as_object(self, node: Node, value: JsonValue, path: _Path, wrong: Misfit) -> Fit | Misfit:
        if isinstance(value, Mapping):
            return self._object(node, value, path)
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
            return self._unwrapped(node, value[0], "unwrapped", path)
        inside = self._inside(value)
        return self._unwrapped(node, inside, "json_in_string", path) if inside else wrong

    def _as_list(self, node: Node, value: JsonValue, path: _Path, wrong: Misfit) -> Fit | Misfit:
        if isinstance(value, list):
            return self._list(node, value, path)
        if isinstance(inside := self._inside(value), list):
            return self._unwrapped(node, inside, "json_in_string", path)
        if value is None:
            return wrong
        if (
            isinstance(value, Mapping)
            and len(value) == 1
            and isinstance(only := next(iter(value.values())), list)
        ):
            return self._unwrapped(node, only, "unwrapped", path)
        items: list[JsonValue] | None = [value]
        if isinstance(value, str):
            items = _items_in(value, _choices_of(node.items))
        if items is None:
            return Misfit((), _IN_DOUBT)
        self._alive.append(items)
        return _also(self._list(node, items, path), "wrapped_in_list", path)

    def _unwrapped(self, node: Node, inner: JsonValue, code: str, path: _Path) -> Fit | Misfit:
        """What was wrapped in something that the schema does not ask for; a few layers, and no more."""
        if self._layers >= _MAX_LAYERS:
            return Misfit((), "it is wrapped too often")
        self._layers += 1
        fitted = _also(self._fit(node, inner, path), code, path)
        self._layers -= 1
        return fitted

    def _inside(self, value: JsonValue) -> JsonValue:
        """The object or list that a text holds as JSON."""
        if not isinstance(value, str) or value.strip()[:1] not in ("{", "["):
            return None
        try:
            inside = read_document(value, self._steps, once=True).value
        except TooMuchError:
            raise
        except UnreadableError:
            return None
        self._alive.append(inside)
        return inside if isinstance(inside, (dict, list)) else None

    def _list(self, node: Node, value: list[JsonValue], path: _Path) -> Fit | Misfit:
        items: list[JsonValue] = []
        repairs: list[Repair] = []
        dropped = 0
        for position, item in enumerate(value):
            part = node.prefix[position] if position < len(node.prefix) else node.items
            fitted = self._fit(part, item, (*path, position)) if part is not None else Fit(item)
            if isinstance(fitted, Misfit):
                return fitted.under(position)
            items.append(fitted.value)
            repairs.extend(fitted.repairs)
            dropped += fitted.dropped
        return Fit(items, tuple(repairs), dropped)

    def _object(self, node: Node, value: Mapping[str, JsonValue], path: _Path) -> Fit | Misfit:
        repairs: list[Repair] = []
        named = _by_property(node, value, path, repairs)
        if isinstance(named, Misfit):
            return named
        members: dict[str, JsonValue] = {}
        dropped = 0
        for name, item in named.items():
            part = node.properties.get(name, node.additional)
            if part is False:
                dropped += 1
                repairs.append(Repair("unknown_key", path_of((*path, name))))
                continue
            fitted = self._fit(part, item, (*path, name)) if isinstance(part, Node) else Fit(item)
            if isinstance(fitted, Misfit):
                if item is None and name not in node.required:
                    repairs.append(Repair("null_left_out", path_of((*path, name))))
                    continue
                return fitted.under(name)
            members[name] = fitted.value
            repairs.extend(fitted.repairs)
            dropped += fitted.dropped
        return self._completed(node, members, path, Fit(members, tuple(repairs), dropped), named)

    def _completed(
        self, node: Node, members: dict[str, JsonValue], path: _Path, fit: Fit, named: Mapping[str, JsonValue]
    ) -> Fit | Misfit:
        """An object with what it lacks: null where null is allowed, and otherwise nothing."""
        repairs = list(fit.repairs)
        for name in node.required:
            if name not in members:
                if self._check.of(node.properties.get(name, Node()), None, len(path)) is not None:
                    return Misfit((name,), "it is missing")
                members[name] = None
                repairs.append(Repair("missing_null", path_of((*path, name))))
        unknown = [name for name in named if name not in node.properties]
        open_names = [name for name in node.properties if name not in named]
        if node.additional is False and (near := unknown_but_near(unknown, open_names)) is not None:
            return Misfit((near,), "this property is not permitted, and may be a misspelt one")
        return Fit(members, tuple(repairs), fit.dropped)


def _by_property(
    node: Node, value: Mapping[str, JsonValue], path: _Path, repairs: list[Repair]
) -> dict[str, JsonValue] | Misfit:
    """The members by the names that the schema has for them."""
    named = {key: item for key, item in value.items() if key in node.properties}
    known = spellings((name, part.title) for name, part in node.properties.items())
    for key, item in value.items():
        if key in node.properties:
            continue
        name = property_for(key, known)
        if name is None:
            named[key] = item
        elif name not in named:
            named[name] = item
            repairs.append(Repair("key_name", path_of((*path, name))))
        elif not same(named[name], item):
            return Misfit((name,), "it is there twice, with different values")
    return named


def _implied_types(node: Node) -> tuple[str, ...]:
    """The types that a part without ``type`` is about."""
    if node.properties or node.required:
        return ("object",)
    return ("array",) if node.items is not None or node.prefix else ()


def _of(changed: Changed | str | None, path: _Path, strict: Misfit) -> Fit | Misfit:
    if isinstance(changed, Changed):
        return Fit(changed.value, (Repair(changed.code, path_of(path)),))
    return strict if changed is None else Misfit((), changed)


def _also(fitted: Fit | Misfit, code: str, path: _Path) -> Fit | Misfit:
    """The same fit with one more repair."""
    if isinstance(fitted, Misfit):
        return fitted
    return Fit(fitted.value, (*fitted.repairs, Repair(code, path_of(path))), fitted.dropped)


def _choices_of(node: Node | None) -> Node | None:
    while node is not None and node.target is not None:
        node = node.target
    return node if node is not None and node.choices is not None else None


def _items_in(text: str, allowed: Node | None) -> list[JsonValue] | None:
    """The items that a text lists: bullets, or allowed names with commas; nothing if that is in doubt."""
    lines = [line for line in text.splitlines() if line.strip()]
    bullets = [match[1] for line in lines if (match := _BULLET.match(line))]
    if bullets and len(bullets) == len(lines):
        return list(bullets)
    if allowed is not None and allowed.choices is not None:
        parts = [part for part in _LIST_OF_NAMES.split(text, _MAX_ITEMS_IN_TEXT) if part]
        if all(choices_for(part, allowed.choices) for part in parts):
            return list(parts)
        return [text]
    if _LIST_OF_NUMBERS.fullmatch(text):
        return list(re.split(r"\s*[,;]\s+", text.strip()))
    in_doubt = "," in text or ";" in text or len(lines) != 1 or is_null(text)
    return None if in_doubt else [text]
