"""Names of properties and of allowed values, as models write them: other case, other spacing, an alias."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from unicodedata import normalize

from app.kernel.proposal_schema import Choice

MAX_NAME = 200
_REMARK = re.compile(r"\s*(?:[:(,;\u2013\u2014/]|\s-+\s|\.\s)")
_WRAPPING = " \t\r\n*_`\"'\u201c\u201d\u2018\u2019."
_MEMBER = re.compile(r"[A-Z]\w{0,60}\.(\w{1,60})")
_MAX_COMPARED = 16


def normal(name: str) -> str:
    """A name without its case, spacing and punctuation."""
    folded = name.casefold()
    if not folded.isascii():
        folded = "".join(_without_accent(character) for character in folded)
    return "".join(character for character in folded if character.isalnum())


def _without_accent(character: str) -> str:
    """A Latin letter without what stands above or below it; other scripts have letters of their own there."""
    plain = normalize("NFKD", character)[:1]
    return plain if plain.isascii() else character


def spellings(properties: Iterable[tuple[str, str]]) -> dict[str, str | None]:
    """Normal names of properties, given with their titles; nothing for a name that two of them have."""
    found: dict[str, str | None] = {}
    for name, title in properties:
        for spelling in {normal(name), normal(title)} - {""}:
            found[spelling] = name if found.get(spelling, name) == name else None
    return found


def property_for(key: str, known: Mapping[str, str | None]) -> str | None:
    """The one property that ``key`` is another spelling of."""
    return known.get(normal(key[:MAX_NAME]))


def is_misspelt(key: str, properties: Sequence[str]) -> bool:
    """Whether ``key`` is so near to a property that it may have been meant."""
    near = [normal(name) for name in properties]
    return bool(get_close_matches(normal(key[:MAX_NAME]), near, n=1, cutoff=0.75)) if near else False


def unknown_but_near(keys: Iterable[str], properties: Sequence[str]) -> str | None:
    """The first of the keys that may be a misspelt property."""
    return next((key for key in list(keys)[:_MAX_COMPARED] if is_misspelt(key, properties)), None)


def choices_for(text: str, choices: Sequence[Choice], context: str = "") -> list[Choice]:
    """The allowed values that ``text`` names: itself, by case and spacing, by an alias, or before a remark."""
    if len(text) > 2 * MAX_NAME:
        return []
    stripped = text.strip(_WRAPPING)
    exact = [choice for choice in choices if stripped == choice.value or stripped in choice.names]
    if exact:
        return exact
    if found := _named(stripped, choices, context):
        return found
    remark = _REMARK.search(stripped)
    if remark is None:
        return []
    rest = f" {_spaced(stripped[remark.start() :])} "
    found = _named(stripped[: remark.start()], choices, context)
    others = [choice for choice in choices if choice not in found]
    contradicted = any(f" {_spaced(name)} " in rest for choice in others for name in names_of(choice))
    return [] if contradicted else found


def _named(text: str, choices: Sequence[Choice], context: str) -> list[Choice]:
    wanted = {normal(text)}
    if member := _MEMBER.fullmatch(text):
        wanted.add(normal(member[1]))
    if context and (about := normal(context)):
        wanted |= {normal(text).removesuffix(about), normal(text).removeprefix(about)}
    wanted.discard("")
    return [choice for choice in choices if any(normal(name) in wanted for name in names_of(choice))]


def names_of(choice: Choice) -> list[str]:
    """What a model may call an allowed value."""
    own = [choice.value] if isinstance(choice.value, str) else []
    return [*own, *choice.names]


def _spaced(text: str) -> str:
    folded = text.casefold()
    if not folded.isascii():
        folded = "".join(_without_accent(character) for character in folded)
    return " ".join(re.findall(r"[^\W_]+", folded))


def mentioned(text: str, choices: Sequence[Choice]) -> list[Choice]:
    """The allowed values that a sentence mentions as words of their own."""
    spaced = f" {_spaced(text)} "
    return [
        choice
        for choice in choices
        if any(f" {_spaced(name)} " in spaced for name in names_of(choice) if _spaced(name))
    ]
