"""One argument of an action for a person who must decide: its value, and where that came from, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from app.data_plane.replay.record import Record
from app.data_plane.replay.visible import hidden_in
from app.kernel.tool_spec import ToolSpec
from app.telemetry.redaction import redact_value
from interlock.canonical import JsonValue

_ORIGINS = {
    "template": "the release says it",
    "event": "the event's trusted field{fields}",
    "lookup": "a trusted lookup's field{fields}",
    "choice": "a model chose it among values that the release names",
    "event_text": "the event's text, which an outsider may have written",
    "tool_text": "a tool's free text, which an outsider may have written",
    "model": "a model wrote it",
}
UNTRUSTED = frozenset({"event_text", "tool_text", "model"})
"""What somebody outside may have had a say in; a choice is a model's, but among values that the release names."""


@dataclass(frozen=True, slots=True)
class ArgumentTold:
    """One argument. Secrets of a known form are left out of its value."""

    name: str
    value: object
    content: bool
    """It is text for people; all other arguments decide what happens."""
    characters: int
    """How long a text is; 0 for everything else."""
    origins: tuple[str, ...]
    came_from: str
    """The origins in words."""
    untrusted: bool
    unproven: tuple[str, ...]
    """Addresses in it that no trusted source holds."""
    hidden: tuple[str, ...]
    """Characters in it that nobody would see, or that change what is seen, as ``U+202E``."""


def explain_arguments(
    record: Record, arguments_digest: str, provenance_digest: str, spec: ToolSpec | None
) -> tuple[ArgumentTold, ...] | None:
    """Each argument; None when they were erased."""
    arguments = content(record, arguments_digest)
    if not isinstance(arguments, Mapping):
        return None
    held = content(record, provenance_digest)
    known = held if isinstance(held, Mapping) else {}
    return tuple(_argument(name, value, known.get(name), spec) for name, value in arguments.items())


def content(record: Record, digest: str) -> JsonValue:
    """The JSON value of that digest; None when it was erased, or is none."""
    body = record.contents.get(digest)
    if body is None:
        return None
    try:
        value: JsonValue = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return value


def _argument(name: str, value: JsonValue, known: JsonValue, spec: ToolSpec | None) -> ArgumentTold:
    held = known if isinstance(known, Mapping) else {}
    origins = _names(held.get("origins"))
    return ArgumentTold(
        name=name,
        value=redact_value(value, name),
        content=_is_content(spec, name),
        characters=len(value) if isinstance(value, str) else 0,
        origins=origins,
        came_from=_in_words(origins, _names(held.get("fields")), recorded=isinstance(known, Mapping)),
        untrusted=not isinstance(known, Mapping) or not UNTRUSTED.isdisjoint(origins),
        unproven=_names(held.get("unproven")),
        hidden=hidden_in({name: value}),
    )


def _in_words(origins: tuple[str, ...], fields: tuple[str, ...], *, recorded: bool) -> str:
    if not recorded:
        return "where it came from is not recorded"
    if not origins:
        return "it is empty"
    # Which field is whose only its path tells: those of the event begin with its name.
    of_event = [path for path in fields if path.startswith("event.")]
    others = [path for path in fields if path not in of_event]
    named = {"event": of_event, "lookup": others}
    told = [_ORIGINS.get(one, one).replace("{fields}", _listed(named.get(one, []))) for one in origins]
    loose = [path for one, paths in named.items() if one not in origins for path in paths]
    equals = f" (equal to {', '.join(loose)})" if loose else ""
    return "; ".join(told) + equals


def _listed(paths: list[str]) -> str:
    return f"{'s' if len(paths) > 1 else ''} {', '.join(paths)}" if paths else ""


def _names(value: JsonValue) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, (list, tuple)) else ()


def _is_content(spec: ToolSpec | None, name: str) -> bool:
    properties = spec.input_schema.get("properties") if spec is not None else None
    one = properties.get(name) if isinstance(properties, Mapping) else None
    return isinstance(one, Mapping) and one.get("x-interlock") == "content"
