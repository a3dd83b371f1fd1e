"""Answers without any JSON where the schema asks for one scalar or one list: ``The answer is 42``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from app.data_plane.parsing.names import mentioned
from app.data_plane.parsing.numbers import truth
from app.kernel.proposal_schema import Choice, Node
from interlock.canonical import JsonValue

_MAX_LENGTH = 4_000
_MARKED = re.compile(
    r"\b(?:final answer|answer|result|verdict|conclusion)\b[*_` \t]*(?:is|:|=)[*_` \t:]*", re.IGNORECASE
)
_NUMBER = re.compile(r"(?<![\w.,/-])[-+]?[$\u20ac\u00a3]?\d[\d.,]*(?:[eE][-+]?\d+)?[ \t]*%?(?![\w/-])")
_ANY_DIGITS = re.compile(r"\d[\d.,]*")
_NEGATION = re.compile(
    r"\b(?:not|never|neither|nor|rather|instead|unlike|isn't|wasn't|no longer)\b|n't\b", re.IGNORECASE
)
_QUALIFIED = re.compile(r"\b(?:but|however|unless|except|if|partly|partially|or)\b", re.IGNORECASE)
_BULLET = re.compile(r"^[ \t]*(?:[-*\u2022]|\d{1,3}[.)])[ \t]+(.*\S)[ \t]*$", re.MULTILINE)
_TRUTH_WORD = re.compile(r"\b(true|false)\b", re.IGNORECASE)
_MARKUP = " \t\r\n*_`\"'.!"


def bare_values(text: str, node: Node) -> Iterator[JsonValue]:
    """What a text without JSON may mean to ``node``, the plainest first; each still has to fit."""
    node = meant(node)
    stripped = text.strip()
    if len(stripped) > _MAX_LENGTH:
        if "string" in node.types and node.choices is None:
            yield stripped
        return
    if node.choices is not None:
        yield from _choice(stripped, node)
    elif "array" in node.types:
        if bullets := [match[1].strip(_MARKUP) for match in _BULLET.finditer(stripped)]:
            yield list(bullets)
        elif "\n" not in stripped:
            yield stripped
        if node.items is not None and is_narrow(node.items):
            yield from ([item] for item in bare_values(text, node.items))
    elif {"integer", "number"} & set(node.types):
        yield from _number(stripped)
    elif "boolean" in node.types:
        yield from _truth(stripped)
    elif "string" in node.types:
        yield stripped


def meant(node: Node) -> Node:
    """What a part of a schema comes down to: what it refers to, or its one alternative beside null."""
    while True:
        alternatives = [part for part in (*node.any_of, *node.one_of) if part.types != ("null",)]
        if node.target is not None:
            node = node.target
        elif len(alternatives) == 1:
            node = alternatives[0]
        else:
            return node


def is_narrow(node: Node) -> bool:
    """Whether hardly any text is such a value: a number, a truth value or one of some names."""
    node = meant(node)
    return node.choices is not None or bool(
        node.types and {"integer", "number", "boolean"} >= set(node.types)
    )


def _stands_in(choice: Choice, text: str) -> bool:
    """Whether a value in capitals stands in a text by the letter, as ``TWO`` does not in ``two of them``."""
    name = choice.value
    return (
        isinstance(name, str)
        and name.lower() != name
        and bool(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text))
    )


def _marked(text: str) -> Iterator[str]:
    """The line behind ``answer:``, if there is one such mark only."""
    marks = list(_MARKED.finditer(text))
    if len(marks) == 1:
        line = text[marks[0].end() :].lstrip().split("\n", 1)[0].strip(_MARKUP)
        if line:
            yield line


def _choice(text: str, node: Node) -> Iterator[JsonValue]:
    yield text
    yield from _marked(text)
    named = mentioned(text, node.choices or ())
    if len(named) > 1:
        named = [choice for choice in named if _stands_in(choice, text)]
    if len(named) == 1 and not _NEGATION.search(text):
        yield named[0].value


def _number(text: str) -> Iterator[JsonValue]:
    yield text
    for line in _marked(text):
        yield line
        yield from _only_number(line)
    yield from _only_number(text)


def _only_number(text: str) -> Iterator[JsonValue]:
    numbers = {match[0].strip().rstrip(".,") for match in _NUMBER.finditer(text)}
    if len(numbers) == 1 and len({digits.rstrip(".,") for digits in _ANY_DIGITS.findall(text)}) == 1:
        yield numbers.pop()


def _truth(text: str) -> Iterator[JsonValue]:
    yield text
    yield from _marked(text)
    words = {word.casefold() for word in _TRUTH_WORD.findall(text)}
    doubtful = _NEGATION.search(text) or _QUALIFIED.search(text)
    if len(words) == 1 and not doubtful and truth(text) is None:
        yield words.pop()
