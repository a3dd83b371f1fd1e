"""What comes of reading an answer: a value and what was repaired in it, or a rejection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from app.telemetry.redaction import redact_known
from interlock.canonical import JsonValue

PARSER = "tolerant_json/2"
"""Name and version of this reader, recorded with all that it read."""

_MAX_NAME = 60
_MAX_PATH = 300


@dataclass(frozen=True, slots=True)
class Repair:
    """One kind of repair at one place: a stable short code, where, and how often."""

    code: str
    path: str = ""
    count: int = 1

    def __str__(self) -> str:
        place = f" at {self.path}" if self.path else ""
        return f"{self.code}{place}" + (f" ({self.count} times)" if self.count > 1 else "")


@dataclass(frozen=True, slots=True)
class Parsed:
    """The value that an answer gave, and the repairs that it took to read it; none for plain JSON."""

    value: JsonValue
    repairs: tuple[Repair, ...] = ()
    parser: str = PARSER

    @property
    def codes(self) -> tuple[str, ...]:
        """The kinds of repair, each once, sorted."""
        return tuple(sorted({repair.code for repair in self.repairs}))


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why an answer gave no value.

    ``path`` says where (``labels.2``; empty for the answer as a whole) and ``reason`` why. Neither quotes the
    answer's values; a name that the model made up may appear in the path, cut short.
    """

    path: str
    reason: str
    parser: str = PARSER

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}" if self.path else self.reason


class UnreadableError(ValueError):
    """This piece of text is no value; the reason quotes nothing of it. Never leaves the package."""


def path_of(parts: Iterable[str | int]) -> str:
    """A place in a value as ``labels.2``; names are cut short and made printable.

    A name may be a secret, and half of one is not known for one any more: it is redacted before it is cut.
    """
    joined = ".".join(redact_known(str(part))[:_MAX_NAME] for part in parts)[:_MAX_PATH]
    return joined.encode("utf-8", "replace").decode()


def counted(notes: Mapping[str, int]) -> tuple[Repair, ...]:
    """Repairs of the text itself, in a stable order."""
    return tuple(Repair(code, count=count) for code, count in sorted(notes.items()))
