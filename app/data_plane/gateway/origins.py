"""The words of provenance: where a value is from, and which of these places are trusted."""

from __future__ import annotations

from collections.abc import Mapping
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

RANK = {origin: rank for rank, origin in enumerate(Origin)}
"""A value that stands in several places is the first of these that it can be."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Of one argument, with all that is inside it.

    Args:
        origins: of its values, sorted, each once; none of what says nothing (null and empty lists).
        fields: the trusted fields that its values equal, as ``event.repository.full_name``.
        unproven: the addresses (URLs, e-mail addresses, account numbers) in it that no trusted source holds.
    """

    origins: tuple[Origin, ...]
    fields: tuple[str, ...] = ()
    unproven: tuple[str, ...] = ()

    @property
    def trusted(self) -> bool:
        """Whether all of it is of trusted origin."""
        return TRUSTED.issuperset(self.origins)

    def as_json(self) -> JsonObject:
        """As the payload store keeps it, and as policies read it."""
        return {
            "origins": [origin.value for origin in self.origins],
            "fields": list(self.fields),
            "unproven": list(self.unproven),
            "trusted": self.trusted,
        }


def as_json(provenance: Mapping[str, Provenance]) -> JsonObject:
    """By argument, as the payload store keeps it."""
    return {name: one.as_json() for name, one in provenance.items()}


def from_json(held: JsonObject) -> dict[str, Provenance]:
    """By argument, from what the payload store keeps."""
    return {name: _one(value) for name, value in held.items() if isinstance(value, Mapping)}


def _one(held: JsonObject) -> Provenance:
    origins = tuple(Origin(name) for name in _texts(held.get("origins")))
    return Provenance(origins, _texts(held.get("fields")), _texts(held.get("unproven")))


def _texts(value: JsonValue) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, (list, tuple)) else ()
