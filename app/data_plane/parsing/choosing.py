"""Chooses among the values that stand in one answer: the only one, the one that fits, or none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from app.data_plane.parsing.bare_answers import bare_values, is_narrow, meant
from app.data_plane.parsing.candidates import (
    Candidate,
    candidates_in_blocks,
    candidates_in_prose,
    fenced_blocks,
    only_brackets_around,
    without_reasoning,
)
from app.data_plane.parsing.cursor import Steps, TooMuchError
from app.data_plane.parsing.documents import Document, read_document
from app.data_plane.parsing.fields import fields_in_prose
from app.data_plane.parsing.fitting import Fit, Fitter
from app.data_plane.parsing.names import names_of, normal, property_for, spellings
from app.data_plane.parsing.outcome import Parsed, Repair, UnreadableError, counted
from app.data_plane.parsing.plain import NotPlainError, read_plain, same
from app.kernel.proposal_schema import Node
from app.kernel.schema_check import Misfit
from interlock.canonical import JsonValue

_OBJECT = re.compile(r"\{\s{0,100}[\"'\w]")
_WRAPPERS = ("answer", "finalanswer", "result", "response", "output", "value", "text", "content", "string")
_DIFFER = "it has several values that differ"


def plainest_value(text: str) -> Document:
    """The value of an answer of which nothing is known.

    Raises:
        UnreadableError: it has none, or several that differ.
    """
    try:
        return Document(read_plain(text))
    except NotPlainError:
        text = without_reasoning(text)
    steps = Steps()
    blocks = fenced_blocks(text)
    if len(blocks) == 1 and only_brackets_around(text, blocks[0]):
        found = read_document(blocks[0].body, steps)
        return Document(found.value, {**found.notes, "fence": 1})
    try:
        return read_document(text, steps)
    except TooMuchError:
        raise
    except UnreadableError as error:
        reason = error
    fenced = candidates_in_blocks(text, blocks, steps, once=False)
    chosen = _only(fenced) or _only(_weighty(candidates_in_prose(text, blocks, steps, once=False)))
    if chosen is None:
        raise reason
    return Document(chosen.value, {**chosen.notes, _around(chosen): 1})


def _around(chosen: Candidate) -> str:
    return "fence" if chosen.fenced else "prose_around"


def _weighty(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The candidates that say something; a list beside an object is taken for a part of the prose."""
    full: list[Candidate] = []
    previous: Candidate | None = None
    for candidate in candidates:
        # What says little in prose, such as ``{}`` or ``[1]``, counts where another value touches it.
        if previous is not None and candidate.start == previous.end:
            raise UnreadableError(_DIFFER)
        if candidate.size > isinstance(candidate.value, list):
            full.append(candidate)
        previous = candidate
    return [candidate for candidate in full if isinstance(candidate.value, dict)] or full


def _only(candidates: list[Candidate]) -> Candidate | None:
    """The candidate that all are equal to, or the last one if it alone is said to be final."""
    if not candidates:
        return None
    if all(same(candidates[0].value, other.value) for other in candidates[1:]):
        return candidates[0]
    if candidates[-1].final and not any(other.final for other in candidates[:-1]):
        return candidates[-1]
    raise UnreadableError(_DIFFER)


def fitting_value(text: str, node: Node) -> Parsed | Misfit:
    """The one value of an answer that fits.

    Raises:
        UnreadableError: it has no value at all, or several that fit and differ.
    """
    steps = Steps()
    fitter = Fitter(steps)
    try:
        return _fitted(fitter, node, Document(read_plain(text, once=True)))
    except NotPlainError:
        text = without_reasoning(text)
    return _Choice(text, node, fitter, steps).made()


def _fitted(fitter: Fitter, node: Node, document: Document) -> Parsed | Misfit:
    """A document as the schema wants it, also from inside an object that only wraps it."""
    fitted = fitter.fit(node, document.value)
    value = document.value
    if isinstance(fitted, Misfit):
        inner, code = _taken_out(node, value) if isinstance(value, Mapping) else _put_in(node, value)
        unwrapped = fitter.fit(node, inner) if code else fitted
        if isinstance(unwrapped, Misfit):
            return fitted
        fitted = Fit(unwrapped.value, (*unwrapped.repairs, Repair(code)), unwrapped.dropped)
    if "cut_text" in document.notes and _is_cut_name(node, document.value):
        return Misfit((), "it is cut off inside a name")
    return Parsed(fitted.value, (*counted(document.notes), *fitted.repairs))


def _is_cut_name(node: Node, value: JsonValue) -> bool:
    """Whether the last text of a value, which is cut off, may have become another allowed name than it is now."""
    node = meant(node)
    part: Node | bool | None
    while isinstance(value, (dict, list)) and value:
        if isinstance(value, dict):
            name, value = list(value.items())[-1]
            name = (
                property_for(name, spellings((own, part.title) for own, part in node.properties.items()))
                or ""
            )
            part = node.properties.get(name, node.additional)
        else:
            value, part = value[-1], node.items
        if not isinstance(part, Node):
            return False
        node = meant(part)
    if not isinstance(value, str) or node.choices is None:
        return False
    cut = normal(value)
    going_on = [
        choice for choice in node.choices if any(normal(name).startswith(cut) for name in names_of(choice))
    ]
    return len(going_on) > 1


def _taken_out(node: Node, value: Mapping[str, JsonValue]) -> tuple[JsonValue, str]:
    """What an object only wraps. Any text is a text: it is taken out only of what is called an answer."""
    if len(value) != 1:
        return None, ""
    name, inner = next(iter(value.items()))
    wanted = meant(node)
    if name in wanted.properties or (wanted.properties and not isinstance(inner, (dict, list))):
        return None, ""
    if isinstance(inner, str) and not is_narrow(wanted) and "array" not in wanted.types:
        return (inner, "unwrapped") if normal(name) in {*_WRAPPERS, normal(wanted.title)} else (None, "")
    return inner, "unwrapped"


def _put_in(node: Node, value: JsonValue) -> tuple[JsonValue, str]:
    """The object with one property whose value alone was told, where that can be nothing else."""
    wanted = meant(node)
    if len(wanted.properties) != 1 or isinstance(value, (dict, list)) or value is None:
        return None, ""
    name, part = next(iter(wanted.properties.items()))
    return ({name: value}, "wrapped_in_object") if is_narrow(part) else (None, "")


class _Choice:
    """The search through one answer that is no plain JSON."""

    def __init__(self, text: str, node: Node, fitter: Fitter, steps: Steps) -> None:
        self.text = text
        self.node = node
        self.fitter = fitter
        self.steps = steps
        self.blocks = fenced_blocks(text)
        self.misfit: Misfit | None = None
        self.reason: UnreadableError | None = None

    def made(self) -> Parsed | Misfit:
        """The first way of looking that finds one value that fits."""
        for way in (self._whole, self._candidates, self._prose):
            if (found := way()) is not None:
                return found
        if self.misfit is not None:
            return self.misfit
        raise self.reason or UnreadableError("it has no JSON")

    def _try(self, document: Document) -> Parsed | None:
        found = _fitted(self.fitter, self.node, document)
        if isinstance(found, Parsed):
            return found
        # A value that went wrong deep inside was nearer to what is wanted than one that is something else.
        if self.misfit is None or len(found.path) > len(self.misfit.path):
            self.misfit = found
        return None

    def _whole(self) -> Parsed | None:
        """The answer as one document, with or without a fence around it."""
        text, fenced = self.text, False
        if len(self.blocks) == 1 and only_brackets_around(text, self.blocks[0]):
            text, fenced = self.blocks[0].body, True
        try:
            document = read_document(text, self.steps, once=True)
        except TooMuchError:
            raise
        except UnreadableError as error:
            self.reason = error
            return None
        if not isinstance(document.value, (dict, list)) and "unquoted_string" in document.notes:
            return None
        if "several_values" in document.notes and not self._wants_list():
            return None
        return self._try(
            Document(document.value, {**document.notes, "fence": 1} if fenced else document.notes)
        )

    def _wants_list(self) -> bool:
        return "array" in meant(self.node).types

    def _candidates(self) -> Parsed | None:
        """The one that fits, of the blocks first and then of the prose."""
        fenced = candidates_in_blocks(self.text, self.blocks, self.steps, once=True)
        if (found := self._among(fenced)) is not None:
            return found
        return self._among(list(candidates_in_prose(self.text, self.blocks, self.steps, once=True)))

    def _among(self, candidates: list[Candidate]) -> Parsed | None:
        if not self._wants_list():
            return self._chosen(candidates)
        lists = [candidate for candidate in candidates if isinstance(candidate.value, list)]
        return self._chosen(lists) or self._gathered(candidates) or self._chosen(candidates)

    def _chosen(self, candidates: list[Candidate]) -> Parsed | None:
        fitting: list[tuple[Candidate, Parsed]] = []
        for candidate in candidates:
            document = Document(candidate.value, {**candidate.notes, _around(candidate): 1})
            if (found := self._try(document)) is not None:
                fitting.append((candidate, found))
        if not fitting:
            return None
        if all(same(fitting[0][1].value, other.value) for _, other in fitting[1:]):
            return fitting[0][1]
        if fitting[-1][0].final and not any(candidate.final for candidate, _ in fitting[:-1]):
            return fitting[-1][1]
        raise UnreadableError(_DIFFER)

    def _gathered(self, candidates: list[Candidate]) -> Parsed | None:
        """Objects one after the other, where a list of them is wanted."""
        objects = [candidate for candidate in candidates if isinstance(candidate.value, dict)]
        if len(objects) < 2:
            return None
        notes: dict[str, int] = {"several_values": 1}
        for candidate in objects:
            for code, count in candidate.notes.items():
                notes[code] = notes.get(code, 0) + count
        return self._try(Document([candidate.value for candidate in objects], notes))

    def _prose(self) -> Parsed | None:
        """Fields in prose where an object is wanted, or the bare answer where a scalar or a list is."""
        if self.misfit is not None and self.misfit.path:
            return None
        node = meant(self.node)
        alternatives = [meant(part) for part in (*node.any_of, *node.one_of)] or [node]
        if any(part.properties for part in alternatives):
            # What begins like an object and cannot be read is broken JSON, and no prose.
            if _OBJECT.search(self.text):
                return None
            return self._fields(part for part in alternatives if part.properties)
        if self.reason is not None and self.text.lstrip().startswith(("{", "[")):
            return None
        for value in self._bare():
            if (found := self._try(Document(value, {"bare_answer": 1}))) is not None:
                return found
        return None

    def _fields(self, nodes: Iterable[Node]) -> Parsed | None:
        """The fields of the one of these objects that the prose has, or the value of its only field."""
        found: list[Parsed] = []
        for node in nodes:
            fields = fields_in_prose(self.text, node)
            if (
                fields is not None
                and (one := self._try(Document(fields, {"fields_in_prose": 1}))) is not None
            ):
                found.append(one)
            elif fields is None and len(node.properties) == 1 and self.misfit is None:
                found.extend(self._only_field(node))
        return found[0] if found and all(same(found[0].value, other.value) for other in found) else None

    def _only_field(self, node: Node) -> Iterator[Parsed]:
        name, part = next(iter(node.properties.items()))
        for value in bare_values(self.text, part) if is_narrow(part) else ():
            if (found := self._try(Document({name: value}, {"bare_answer": 1}))) is not None:
                yield found
                return

    def _bare(self) -> Iterator[JsonValue]:
        yield from bare_values(self.text, self.node)
