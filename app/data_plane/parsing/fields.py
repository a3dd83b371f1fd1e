"""Fields that stand in prose: ``severity: high`` on a line, ``**Severity**: high``, tags, rows of a table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from app.data_plane.parsing.bare_answers import is_narrow
from app.data_plane.parsing.names import property_for, spellings
from app.kernel.proposal_schema import Node
from interlock.canonical import JsonValue

_MAX_LINES = 4_000
_MAX_LINE = 4_000
_LINE = re.compile(
    r"""[ \t]*(?:(?:[-*\u2022+>]|\d{1,3}[.)]|\#{1,6})[ \t]+)?"""
    r"""[*_`"']{0,3}([^\W\d][\w \t-]{0,60}?)[*_`"']{0,3}[ \t]{0,4}"""
    r"""(?::|=|\u2192|=>)(?!//)[*_`"']{0,3}(?:[ \t]+(.*))?$"""
)
_GLUED_LINE = re.compile(r"[ \t]*([^\W\d]\w{0,60})[:=](\S.*)$")
_ROW = re.compile(r"[ \t]*\|[ \t*_`]*([A-Za-z][\w \t-]{0,60}?)[ \t*_`]*\|([^|]{0,2000})\|[ \t]*$")
_BULLET = re.compile(r"[ \t]*(?:[-*\u2022+]|\d{1,3}[.)])[ \t]+(.*\S)[ \t]*$")
_HEADING = re.compile(
    r"[ \t]*(?:\#{1,6}[ \t]+|(?=[*_]{2}))[*_]{0,3}([^\W\d][\w \t-]{0,60}?)[*_]{0,3}()[ \t]*$"
)
_FENCE = re.compile(r"[ \t]*(?:`{3}|~{3}|-{3})")
_TAG = re.compile(r"<([A-Za-z][\w-]{0,60})>")
_SEPARATOR = re.compile(r"(?:[,;|]|\.(?=\s))\s*")
_INLINE = re.compile(r"[*_`\"'\s]*([A-Za-z][\w -]{0,60}?)[*_`\"']*\s*[:=]\s*(.+)$", re.DOTALL)
_SAID = r"(?<![\w-])[*_`\"']{0,3}(NAMES)[*_`\"']{0,3}\s{0,4}(?:(?:is|are|was|would be)\s|:|=)\s{0,4}"
_SAID_ENDS = re.compile(r"[.;!?](?=\s|$)|[\n|]|,\s")
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n")
_HEDGED = re.compile(
    r"\b(?:if|whether|unless|not|never|no|nor|could|may|might|should|when|than|but|or|except|until|instead|"
    r"example|rather|perhaps|maybe)\b|n't\b|\?",
    re.IGNORECASE,
)
_BETWEEN = re.compile(r"[\s,]*(?:\b(?:and|with|while|but|its|the|an?|has|of)\b[\s,]*)*$", re.IGNORECASE)
_ENDS = ",;"
_MARKUP = "*_`"


@dataclass(slots=True)
class _Fields:
    """What was found of each property; one that is found twice, with different texts, is in doubt."""

    node: Node
    known: Mapping[str, str | None]
    found: dict[str, JsonValue] = field(default_factory=dict)
    doubtful: set[str] = field(default_factory=set)

    def name_of(self, told: str) -> str | None:
        name = told.strip()
        return name if name in self.node.properties else property_for(name, self.known)

    def add(self, name: str, value: JsonValue) -> None:
        if name in self.found and self.found[name] != value:
            self.doubtful.add(name)
        self.found[name] = value


def fields_in_prose(text: str, node: Node) -> Mapping[str, JsonValue] | None:
    """The texts of the properties of ``node`` in prose, if every required one is there without doubt."""
    known = spellings((name, part.title) for name, part in node.properties.items())
    for way in (_in_tags, _in_lines, _in_one_line, _in_table, _in_sentences):
        fields = _Fields(node, known)
        way(text, fields)
        if fields.found and not fields.doubtful and set(node.required) <= fields.found.keys():
            return fields.found
    return None


def _in_tags(text: str, fields: _Fields) -> None:
    at = 0
    tries = 0
    while tries < _MAX_LINES and (opening := _TAG.search(text, at)):
        tries += 1
        at = opening.end()
        name = fields.name_of(opening[1])
        if name is None:
            continue
        closing = text.find(f"</{opening[1]}>", at)
        if closing < 0:
            return
        fields.add(name, text[at:closing].strip())
        at = closing


def _in_lines(text: str, fields: _Fields) -> None:
    """One field to a line; lines below without a name of their own go on with it."""
    name: str | None = None
    gathered: list[str] = []
    for line in text.split("\n", _MAX_LINES)[:_MAX_LINES]:
        told = _named_line(line[:_MAX_LINE], fields)
        if told is not None:
            _finish(fields, name, gathered)
            name, gathered = told[0], [told[1]] if told[1] else []
        elif not line.strip() or _FENCE.match(line):
            if gathered:
                _finish(fields, name, gathered)
                name, gathered = None, []
        elif name is not None:
            gathered.append(line.strip())
    _finish(fields, name, gathered)


def _named_line(line: str, fields: _Fields) -> tuple[str, str] | None:
    for pattern in (_LINE, _GLUED_LINE, _ROW, _HEADING):
        match = pattern.match(line)
        if match is not None and (name := fields.name_of(match[1])) is not None:
            return name, _cleaned(match[2] or "")
    return None


def _finish(fields: _Fields, name: str | None, gathered: list[str]) -> None:
    if name is None or not gathered:
        return
    bullets = [match[1] for line in gathered if (match := _BULLET.match(line))]
    if len(bullets) == len(gathered):
        fields.add(name, [_cleaned(bullet) for bullet in bullets])
    else:
        fields.add(name, " ".join(gathered))


def _in_one_line(text: str, fields: _Fields) -> None:
    """``Severity: high, why: it is reachable``: each piece with a name begins a field."""
    name: str | None = None
    gathered = ""
    if len(text) > _MAX_LINE:
        return
    for piece, separator in _pieces(text.strip()):
        match = _INLINE.match(piece)
        found = fields.name_of(match[1]) if match else None
        if match is not None and found is not None:
            if name is not None:
                fields.add(name, _cleaned(gathered))
            name, gathered = found, match[2] + separator
        elif name is not None:
            gathered += piece + separator
    if name is not None:
        fields.add(name, _cleaned(gathered))


def _in_table(text: str, fields: _Fields) -> None:
    """A table with a column for each property and one row of values."""
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in text[: 4 * _MAX_LINE].splitlines()
        if line.lstrip().startswith("|")
    ]
    if (
        len(rows) != 3
        or not all(cell and not cell.strip(":-") for cell in rows[1])
        or len(rows[0]) != len(rows[2])
    ):
        return
    for told, value in zip(rows[0], rows[2], strict=True):
        if (name := fields.name_of(_cleaned(told))) is not None:
            fields.add(name, _cleaned(value))


def _in_sentences(text: str, fields: _Fields) -> None:
    """``The severity is high and the score is 0.9``: only of what hardly any text is, else every sentence fits."""
    narrow = [name for name, part in fields.node.properties.items() if is_narrow(part)]
    if len(text) > _MAX_LINE or not narrow or not set(fields.node.required) <= set(narrow):
        return
    named = "|".join(re.escape(name).replace("_", "[_ -]") for name in sorted(narrow, key=len, reverse=True))
    found = list(re.finditer(_SAID.replace("NAMES", named), text, re.IGNORECASE))
    for place, match in enumerate(found):
        end = found[place + 1].start() if place + 1 < len(found) else len(text)
        stop = _SAID_ENDS.search(text, match.end(), end)
        told = text[match.end() : stop.start() if stop else end]
        name = fields.name_of(match[1])
        sentence = text[_sentence_from(text, match.start()) : _sentence_to(text, match.end())]
        if name is not None and not _HEDGED.search(sentence):
            fields.add(name, _cleaned(_BETWEEN.sub("", told)).rstrip(")]. "))
        elif name is not None:
            fields.doubtful.add(name)


def _sentence_from(text: str, place: int) -> int:
    return max(text.rfind(mark, 0, place) for mark in (". ", "! ", "? ", "\n")) + 1


def _sentence_to(text: str, place: int) -> int:
    match = _SENTENCE_END.search(text, place)
    return match.end() if match else len(text)


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    for separator in _SEPARATOR.finditer(text):
        yield text[at : separator.start()], separator[0]
        at = separator.end()
    yield text[at:], ""


def _cleaned(told: str) -> str:
    """A text without the markup, the quotes and the comma around it."""
    told = told.strip().rstrip(_ENDS).strip()
    if told.startswith(tuple(_MARKUP)) or told.endswith(tuple(_MARKUP)):
        told = told.strip(_MARKUP).strip()
    if len(told) > 1 and told[0] == told[-1] and told[0] in "\"'":
        told = told[1:-1]
    return told
