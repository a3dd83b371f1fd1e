"""Upcasting: data of an older schema version is brought to the current one before anything reads it.

An upcaster takes one version to the next, so that a new version needs one new function and changes none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from app.data_plane.ingestion.errors import UnknownSchemaVersionError
from interlock.canonical import JsonObject, JsonValue

Upcaster = Callable[[JsonObject], JsonObject]


@dataclass(frozen=True, slots=True)
class Upcasters:
    """A registry: the current version of each schema, and the steps that lead there.

    Args:
        current: schema name to its current version.
        steps: (schema name, version) to what makes the next version of it.
    """

    current: Mapping[str, int]
    steps: Mapping[tuple[str, int], Upcaster]

    def upcast(self, name: str, version: int, data: JsonObject) -> JsonObject:
        """``data`` in the schema's current version. Raises UnknownSchemaVersionError."""
        target = self.current.get(name)
        if target is None or version > target:
            raise self._unknown(name, version)
        while version < target:
            step = self.steps.get((name, version))
            if step is None:
                raise self._unknown(name, version)
            data = step(data)
            version += 1
        return data

    def _unknown(self, name: str, version: int) -> UnknownSchemaVersionError:
        known = sorted({*self.steps, *self.current.items()})
        return UnknownSchemaVersionError(
            f"There is no version {version} of the schema {name[:64]}.",
            "Send one of " + ", ".join(f"{schema}:{number}" for schema, number in known) + ".",
        )


def issue_1_to_2(data: JsonObject) -> JsonObject:
    """``issue:1`` had the labels in one string, separated by commas, and called the author ``user``."""
    renamed: dict[str, JsonValue] = {
        key: value for key, value in data.items() if key not in {"user", "labels"}
    }
    if "user" in data:
        renamed["author"] = data["user"]
    labels = data.get("labels", "")
    if isinstance(labels, str):
        renamed["labels"] = [label.strip() for label in labels.split(",") if label.strip()]
    else:
        renamed["labels"] = labels
    return renamed


UPCASTERS = Upcasters(
    current={"issue": 2, "check": 1, "alert": 1},
    steps={("issue", 1): issue_1_to_2},
)
"""The schemas of Interlock's own events."""
