"""Provenance: where each value of an argument came from, as well as it can be told honestly.

What a model wrote is the model's, unless it equals, field by field, a value of trusted origin. A value inside free text
is that text's; a value that a trusted lookup returned in a structured field is the lookup's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from interlock.canonical import JsonObject, JsonValue


class Origin(StrEnum):
    """Where a value is from; the first three are trusted."""

    TEMPLATE = "template"
    """The release says it."""
    EVENT = "event"
    """A trusted field of the event."""
    LOOKUP = "lookup"
    """A structured field of a trusted tool's result."""
    CHOICE = "choice"
    """A model chose it among values that the release names."""
    EVENT_TEXT = "event_text"
    """A field of the event that an outsider may have written."""
    TOOL_TEXT = "tool_text"
    """A tool's result, where an outsider may have written it."""
    MODEL = "model"
    """A model wrote it."""


TRUSTED = frozenset({Origin.TEMPLATE, Origin.EVENT, Origin.LOOKUP})


@dataclass(frozen=True, slots=True)
class Provenance:
    """Of one argument, with all that is inside it.

    Args:
        origins: of its values, sorted, each once.
        fields: the trusted fields that its values equal, as ``event.repository.full_name``.
        unproven: the addresses (URLs, e-mail addresses, account numbers) in it that no trusted source holds.
    """

    origins: tuple[Origin, ...]
    fields: tuple[str, ...] = ()
    unproven: tuple[str, ...] = ()

    @property
    def trusted(self) -> bool:
        """Whether all of it is of trusted origin."""
        return all(origin in TRUSTED for origin in self.origins)

    def as_json(self) -> JsonObject:
        """As the payload store keeps it, and as policies read it."""
        return {
            "origins": [origin.value for origin in self.origins],
            "fields": list(self.fields),
            "unproven": list(self.unproven),
            "trusted": self.trusted,
        }


class Sources:
    """All that a run or a decision has seen so far, by where it came from."""

    def __init__(self) -> None:
        self._values: dict[tuple[type, JsonValue], list[tuple[Origin, str]]] = {}

    def add(self, origin: Origin, path: str, value: JsonValue) -> None:
        """Take in a value with all that is inside it: each leaf is compared as a whole."""
        for place, leaf in _leaves(path, value):
            self._values.setdefault((type(leaf), leaf), []).append((origin, place))

    def trace(self, arguments: JsonObject) -> dict[str, Provenance]:
        """Where each argument of a model's call came from."""
        return {name: self._trace(value) for name, value in arguments.items()}

    def _trace(self, value: JsonValue) -> Provenance:
        origins: set[Origin] = set()
        fields: set[str] = set()
        for _, leaf in _leaves("", value):
            found = [
                one for one in self._values.get((type(leaf), leaf), []) if one[0] in TRUSTED | {Origin.CHOICE}
            ]
            origins |= {found[0][0]} if found else {Origin.MODEL}
            fields |= {path for _, path in found}
        return Provenance(tuple(sorted(origins)), tuple(sorted(fields)))


def as_json(provenance: Mapping[str, Provenance]) -> JsonObject:
    """By argument, as the payload store keeps it."""
    return {name: one.as_json() for name, one in provenance.items()}


def from_json(held: JsonObject) -> dict[str, Provenance]:
    """By argument, from what the payload store keeps."""
    return {name: _one(value) for name, value in held.items() if isinstance(value, Mapping)}


def _one(held: JsonObject) -> Provenance:
    origins = tuple(Origin(str(name)) for name in _texts(held.get("origins")))
    return Provenance(origins, _texts(held.get("fields")), _texts(held.get("unproven")))


def _texts(value: JsonValue) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, (list, tuple)) else ()


def _leaves(path: str, value: JsonValue) -> Iterable[tuple[str, JsonValue]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _leaves(f"{path}.{name}", item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _leaves(f"{path}[]", item)
    else:
        yield path, value
