"""From a model's answer to a proposal, or to the reason why it is none. Pure, and it never raises.

This reader is strict: the answer is one JSON object and nothing else. A wrong value is worse than a
rejection.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property

from pydantic import ValidationError

from app.kernel.proposal_schema import UnsupportedSchemaError, model_of
from interlock.canonical import JsonObject, JsonValue, canonical_bytes, digest_bytes

PARSER = "strict_json/1"
"""Name and version of this reader, recorded with every proposal that it made."""

MAX_CHARACTERS = 500_000
MAX_DEPTH = 16
"""A proposal is two containers deep; what is far deeper is not read at all."""
_MAX_DIGITS = 400

# Possessive, and the closing quote optional: linear also in an answer whose last string never ends.
_BRACKETS_AND_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)


@dataclass(frozen=True)
class Proposal:
    """What a run returns: one object that fits the stage's schema."""

    value: JsonObject
    parser: str = PARSER
    repairs: tuple[str, ...] = ()

    @cached_property
    def body(self) -> bytes:
        """The canonical bytes, as the payload store keeps them."""
        return canonical_bytes(self.value)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of ``body``."""
        return digest_bytes(self.body)


@dataclass(frozen=True)
class Rejection:
    """Why an answer is no proposal.

    ``path`` says where (``labels.2``; empty for the answer as a whole) and ``reason`` why. Neither quotes the
    answer's values; a name that the model made up may appear in the path, cut to 60 characters.
    """

    path: str
    reason: str
    parser: str = PARSER

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}" if self.path else self.reason


class _RefusedError(ValueError):
    """The text is JSON to Python, but not to us."""


def read_answer(text: str, schema: JsonObject) -> Proposal | Rejection:
    """The proposal that ``text`` is, or why it is none.

    ``schema`` is in the subset of JSON Schema that ``app.kernel.proposal_schema`` describes. Time and memory
    are linear in the text, which is at most ``MAX_CHARACTERS`` long and ``MAX_DEPTH`` deep.
    """
    try:
        model = model_of(schema)
    except UnsupportedSchemaError as error:
        return Rejection("", error.what)
    parsed = _parse(text)
    if isinstance(parsed, Rejection):
        return parsed
    try:
        valid = model.model_validate(parsed)
    except ValidationError as error:
        return _first_problem(error)
    value: JsonObject = valid.model_dump(by_alias=True, exclude_unset=True)
    return Proposal(value)


def _parse(text: str) -> dict[str, JsonValue] | Rejection:
    if len(text) > MAX_CHARACTERS:
        return Rejection("", f"the answer is longer than {MAX_CHARACTERS} characters")
    if not text.strip():
        return Rejection("", "the answer is empty")
    if _is_deep(text):
        return Rejection("", f"the answer is nested deeper than {MAX_DEPTH} levels")
    try:
        parsed = json.loads(
            text,
            object_pairs_hook=_members,
            parse_constant=_no_constant,
            parse_int=_whole,
            parse_float=_fraction,
        )
    except _RefusedError as refused:
        return Rejection("", str(refused))
    except json.JSONDecodeError as error:
        return Rejection("", f"the answer is not JSON: {error.msg} at character {error.pos}")
    if not isinstance(parsed, dict):
        return Rejection("", "the answer is JSON, but not an object")
    return parsed


def _is_deep(text: str) -> bool:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return False
    depth = 0
    for match in _BRACKETS_AND_STRINGS.finditer(text):
        opening = match[0][0]
        if opening in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif opening in "]}":
            depth -= 1
    return False


def _members(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _RefusedError("the answer has an object with the same key twice")
    return members


def _no_constant(name: str) -> JsonValue:
    raise _RefusedError(f"the answer has {name}, which is not JSON")


def _whole(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise _RefusedError(f"the answer has a number of more than {_MAX_DIGITS} digits")
    return int(digits)


def _fraction(digits: str) -> float:
    if len(digits) > _MAX_DIGITS:
        raise _RefusedError(f"the answer has a number of more than {_MAX_DIGITS} digits")
    return float(digits)


def _first_problem(error: ValidationError) -> Rejection:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    first = found[0]
    location = first["loc"] or ("",)
    # A number failed as a whole one and as a fraction; the second is the one that says what is wrong with it.
    if len(location) > 1 and isinstance(location[1], str):
        first = [problem for problem in found if problem["loc"][0] == location[0]][-1]
        location = location[:1]
    path = ".".join(str(part)[:60] for part in location)
    return Rejection(path.encode("utf-8", "replace").decode(), first["msg"][:300])
