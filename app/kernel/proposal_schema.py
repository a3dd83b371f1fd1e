"""The part of JSON Schema that a proposal may be described with, and its compilation to a pydantic model.

A proposal is one flat object: strings, numbers, booleans and lists of strings. What a schema says beyond this
is an error at publishing, so that no keyword is ever silently ignored. Both planes read it here: the control
plane asks for ``problems``, the data plane for ``model_of``, people for ``fields_of`` and ``misfits``. The words are
those of JSON Schema 2020-12.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    create_model,
    model_validator,
)

from app.kernel.errors import PermanentError
from interlock.canonical import JsonObject, JsonValue, NotCanonicalError, canonical_bytes

MAX_PROPERTIES = 64
MAX_ENUM = 1000
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1

_NUL_OR_SURROGATE = re.compile("[\x00\ud800-\udfff]")

PropertyName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,62}$")]
Length = Annotated[StrictInt, Field(ge=0, le=_HIGHEST)]
Whole = Annotated[StrictInt, Field(ge=_LOWEST, le=_HIGHEST)]
Fraction = Annotated[StrictFloat, Field(allow_inf_nan=False)]
Enum = Annotated[tuple[StrictStr, ...], Field(min_length=1, max_length=MAX_ENUM)]


class UnsupportedSchemaError(PermanentError):
    """The schema says something that proposals cannot be checked for."""

    code = "unsupported_proposal_schema"


class _Part(BaseModel):
    """A schema or a part of one. ``title`` and ``description`` are for the model that answers."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    title: StrictStr = ""
    description: StrictStr = ""


class _String(_Part):
    type: Literal["string"]
    enum: Enum | None = None
    minLength: Length | None = None  # noqa: N815
    maxLength: Length | None = None  # noqa: N815

    def annotation(self) -> object:
        if self.enum is not None:
            return Literal[self.enum]
        bounds = Field(min_length=self.minLength, max_length=self.maxLength)
        return Annotated[StrictStr, bounds, AfterValidator(_storable)]

    def words(self) -> tuple[str, str]:
        if self.enum is not None:
            return "one of", ", ".join(json.dumps(value, ensure_ascii=False) for value in self.enum)
        return "text", _between(self.minLength, self.maxLength, " characters")

    @model_validator(mode="after")
    def _says_each_thing_once(self) -> Self:
        if self.enum is not None and (self.minLength, self.maxLength) != (None, None):
            raise ValueError('"enum" and a length do not go together')
        _ordered("minLength", self.minLength, "maxLength", self.maxLength)
        return self


class _Integer(_Part):
    type: Literal["integer"]
    minimum: Whole | None = None
    maximum: Whole | None = None

    def annotation(self) -> object:
        low = _LOWEST if self.minimum is None else self.minimum
        high = _HIGHEST if self.maximum is None else self.maximum
        return Annotated[StrictInt, Field(ge=low, le=high)]

    def words(self) -> tuple[str, str]:
        return "whole number", _between(self.minimum, self.maximum)

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        _ordered("minimum", self.minimum, "maximum", self.maximum)
        return self


class _Number(_Part):
    type: Literal["number"]
    minimum: Whole | Fraction | None = None
    maximum: Whole | Fraction | None = None

    def annotation(self) -> object:
        bounds = Field(ge=self.minimum, le=self.maximum)
        # The whole number first: a float would round what is above 2**53.
        return Annotated[Whole, bounds] | Annotated[Fraction, bounds]

    def words(self) -> tuple[str, str]:
        return "number", _between(self.minimum, self.maximum)

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        _ordered("minimum", self.minimum, "maximum", self.maximum)
        return self


class _Boolean(_Part):
    type: Literal["boolean"]

    def annotation(self) -> object:
        return StrictBool

    def words(self) -> tuple[str, str]:
        return "true or false", ""


class _Array(_Part):
    type: Literal["array"]
    items: _String
    maxItems: Length | None = None  # noqa: N815

    def annotation(self) -> object:
        item = self.items.annotation()
        return Annotated[list[item], Field(max_length=self.maxItems)]  # type: ignore[valid-type]

    def words(self) -> tuple[str, str]:
        kind, allowed = self.items.words()
        bounds = (_between(None, self.maxItems, " items"), allowed)
        return f"list, each {kind}", "; ".join(bound for bound in bounds if bound)


_Property = Annotated[_String | _Integer | _Number | _Boolean | _Array, Field(discriminator="type")]


class _Schema(_Part):
    type: Literal["object"]
    properties: Annotated[dict[PropertyName, _Property], Field(min_length=1, max_length=MAX_PROPERTIES)]
    required: tuple[StrictStr, ...] = ()
    additionalProperties: Literal[False]  # noqa: N815

    @model_validator(mode="after")
    def _requires_what_there_is(self) -> Self:
        absent = sorted(set(self.required) - set(self.properties))
        if absent:
            raise ValueError(f'"required" names {absent[0]!r}, which is no property')
        return self


def problems(schema: JsonValue) -> list[str]:
    """What is wrong with ``schema`` as that of a proposal, as ``where: what``; empty when it is supported."""
    try:
        canonical_bytes(schema)
        _Schema.model_validate(schema)
    except NotCanonicalError as error:
        return [f"schema: {error}"]
    except ValidationError as error:
        return [_sentence(problem["loc"], problem["msg"]) for problem in error.errors(include_url=False)]
    return []


def model_of(schema: JsonObject) -> type[BaseModel]:
    """The pydantic model of ``schema``, strict and closed; compiled once for each distinct schema.

    The fields are ``field_0``, ``field_1``, ... with the properties' names as aliases, because a property may
    have a name that a pydantic model has another use for.

    Raises:
        UnsupportedSchemaError: the schema has ``problems``.
    """
    try:
        return _compiled(canonical_bytes(schema))
    except NotCanonicalError as error:
        raise UnsupportedSchemaError(
            f"The schema is not JSON: {error}.", "Write it as plain JSON."
        ) from error


@dataclass(frozen=True, slots=True)
class FieldTold:
    """One field of a proposal in plain words."""

    name: str
    type: str
    allowed: str
    """Which values, as far as the schema says so; else empty."""
    required: bool
    description: str


def fields_of(schema: JsonObject) -> tuple[FieldTold, ...]:
    """What a proposal consists of, for a person who has to write one: first what must be there.

    ``schema`` is a supported one.
    """
    parsed = _Schema.model_validate_json(canonical_bytes(schema))
    found = [
        FieldTold(name, *part.words(), name in parsed.required, part.description or part.title)
        for name, part in parsed.properties.items()
    ]
    return tuple(sorted(found, key=lambda told: not told.required))


@dataclass(frozen=True, slots=True)
class Misfit:
    """Why a value is no proposal, at one of its fields."""

    path: str
    """``labels.2`` for the third entry of a list."""
    reason: str

    @property
    def field(self) -> str:
        """The field that it is about."""
        return self.path.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def misfits(schema: JsonObject, value: JsonObject) -> tuple[Misfit, ...]:
    """Why ``value`` does not fit ``schema``, which is a supported one; empty when it does.

    The reasons are the validator's words, for people. What is recorded names the fields alone: those words may change
    with the library's version.
    """
    try:
        model_of(schema).model_validate(value)
    except ValidationError as error:
        # A number fails as a whole one and as a fraction: what is said last, of the fraction, says what is wrong.
        found = {
            _path(problem["loc"]): problem["msg"][0].lower() + problem["msg"][1:]
            for problem in error.errors(include_url=False, include_input=False, include_context=False)
        }
        return tuple(Misfit(path, reason) for path, reason in found.items())
    return ()


def _path(location: Sequence[int | str]) -> str:
    return ".".join([str(location[0]), *(str(part) for part in location[1:] if isinstance(part, int))])


def _between(low: float | None, high: float | None, unit: str = "") -> str:
    if low is not None and high is not None:
        return f"{low} to {high}{unit}"
    if low is not None:
        return f"{low}{unit} or more"
    return f"at most {high}{unit}" if high is not None else ""


@lru_cache(maxsize=512)
def _compiled(canonical: bytes) -> type[BaseModel]:
    try:
        schema = _Schema.model_validate_json(canonical)
    except ValidationError as error:
        found = "; ".join(_sentence(problem["loc"], problem["msg"]) for problem in error.errors())
        raise UnsupportedSchemaError(
            f"The proposal's schema is not supported: {found}.",
            "Describe one flat object of strings, integers, numbers, booleans and arrays of strings.",
        ) from error
    fields: dict[str, tuple[object, object]] = {}
    for position, (name, part) in enumerate(schema.properties.items()):
        default = ... if name in schema.required else None
        fields[f"field_{position}"] = (part.annotation(), Field(default, alias=name))
    config = ConfigDict(strict=True, extra="forbid", frozen=True)
    model: type[BaseModel] = create_model("ProposalModel", __config__=config, **fields)  # type: ignore[call-overload]
    return model


def _ordered(low_name: str, low: float | None, high_name: str, high: float | None) -> None:
    if low is not None and high is not None and low > high:
        raise ValueError(f'"{low_name}" is above "{high_name}"')


def _sentence(location: tuple[int | str, ...], message: str) -> str:
    return f"{'.'.join(['schema', *map(str, location)])}: {message}"


def _storable(text: str) -> str:
    if _NUL_OR_SURROGATE.search(text):
        raise ValueError("the text has a NUL or a lone surrogate")
    return text
