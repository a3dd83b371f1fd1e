"""Where in an answer its value may stand: in fenced blocks, or in the prose itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from app.data_plane.parsing.cursor import Cursor, Steps, TooMuchError
from app.data_plane.parsing.documents import read_document
from app.data_plane.parsing.outcome import UnreadableError
from app.data_plane.parsing.plain import NotPlainError, members_once, too_deep, whole
from app.data_plane.parsing.tolerant import TolerantReader
from interlock.canonical import JsonValue

_REASONING = re.compile(r"\s*<(think|thinking|reasoning|scratchpad|reflection)>", re.IGNORECASE)
_FENCE = re.compile(r"(`{3,}|~{3,})[ \t]*([\w+.-]*)")
_ONLY_BRACKETS = re.compile(r"[\s\[\]{}()`;,]*")
_OPENING = re.compile(
    r"""[\[{](?=\s{0,200}(?:["'`\u201c\u2018\u00b4{\[\d}\]-]|\\"|/[/*]|\#|\.\.\.|$"""
    r"""|[\w$][\w$ .-]{0,60}\s{0,20}(?:["',\]:\n]|$)))"""
)
_GLUED = re.compile(r"\w|[\]}\s]{0,20},\s{0,20}[\"'][^\"'\n]{0,60}[\"']\s{0,20}[:\"']")
_MEANT = re.compile(r"\{\s{0,200}(?:[\"'][^\"'\n]{0,60}[\"']|[A-Za-z_]\w{0,60})\s{0,20}:|\[\s{0,200}[\[{\"']")
_FINAL = re.compile(
    r"\b(?:final|corrected|revised|updated|answer|verdict|conclusion)\b[^\n]{0,60}[:\n]\W{0,20}$",
    re.IGNORECASE,
)
_FINAL_SPAN = 160
_MAX_BLOCKS = 64
_MAX_IN_PROSE = 2_000
_MAX_FAILURES = 2_000


@dataclass(frozen=True, slots=True)
class Candidate:
    """A value that stands in an answer, where it stands, and what it took to read it."""

    value: JsonValue
    start: int
    end: int
    fenced: bool = False
    final: bool = False
    notes: Mapping[str, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many members or items it has."""
        return len(self.value) if isinstance(self.value, dict | list) else 1


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: where it begins and ends in the answer, its language, and what it holds."""

    start: int
    end: int
    language: str
    body: str


def without_reasoning(text: str) -> str:
    """The answer behind the reasoning that some models write first, between tags.

    Raises:
        UnreadableError: the reasoning never ends, so that no answer follows.
    """
    opened = _REASONING.match(text)
    lowered = text.lower() if opened or "</" in text else ""
    for name in ("think", "thinking", "reasoning", "scratchpad", "reflection"):
        closing = f"</{name}>"
        if opened and opened[1].lower() == name:
            end = lowered.find(closing, opened.end())
            if end < 0:
                raise UnreadableError("its reasoning never ends")
            return text[end + len(closing) :]
        if not opened and (end := lowered.find(closing)) >= 0 and f"<{name}>" not in lowered[:end]:
            before = text[:end].strip()
            if before and before[0] not in "{[":
                return text[end + len(closing) :]
    return text


def fenced_blocks(text: str) -> list[Block]:
    """The fenced blocks of an answer; one that is never closed reaches to the end."""
    blocks: list[Block] = []
    at = 0
    while len(blocks) < _MAX_BLOCKS and (opening := _FENCE.search(text, at)):
        fence = opening[1]
        start = opening.end()
        newline = text[start : start + 1] in ("\n", "\r") or not text[start : start + 1]
        end = _closing(text, start, fence[0] * 3, own_line=newline)
        # What its fence closes is not cut off there.
        body = text[start:] if end < 0 else f"{text[start:end]}\n"
        behind = len(text) if end < 0 else end + len(fence)
        blocks.append(Block(opening.start(), behind, opening[2].lower(), body))
        at = behind
    return blocks


def _closing(text: str, start: int, fence: str, *, own_line: bool) -> int:
    """Where a fence is closed: on a line of its own that no string goes on behind, or else anywhere."""
    if own_line:
        match = re.compile(rf"^[ \t]*{re.escape(fence)}(?![ \t]*[\"',])", re.MULTILINE).search(text, start)
        if match:
            return match.end() - len(fence)
    return text.find(fence, start)


def only_brackets_around(text: str, block: Block) -> bool:
    """Whether a block is all there is, apart from stray brackets."""
    before = _ONLY_BRACKETS.fullmatch(text, 0, block.start)
    return before is not None and _ONLY_BRACKETS.fullmatch(text, block.end) is not None


def candidates_in_blocks(text: str, blocks: list[Block], steps: Steps, *, once: bool) -> list[Candidate]:
    """The values of the blocks that hold one."""
    found: list[Candidate] = []
    behind = 0
    for block in blocks:
        before, behind = behind, block.end
        if _is_inside(text, before, block.start):
            continue
        try:
            document = read_document(block.body, steps, once=once)
        except TooMuchError:
            raise
        except UnreadableError:
            continue
        if isinstance(document.value, dict | list):
            final = _is_final(text, block.start)
            found.append(Candidate(document.value, block.start, block.end, True, final, document.notes))
    return found


def _is_inside(text: str, start: int, place: int) -> bool:
    """Whether a value that begins in the prose from ``start`` is still open at ``place``."""
    meant = _MEANT.search(text, start, place)
    return meant is not None and _opened(text, meant.start(), place) > 0


def _opened(text: str, start: int, end: int) -> int:
    """How many more brackets are opened than closed."""
    return sum(text.count(one, start, end) for one in "{[") - sum(text.count(one, start, end) for one in "}]")


def candidates_in_prose(text: str, blocks: list[Block], steps: Steps, *, once: bool) -> Iterator[Candidate]:
    """The objects and lists that stand in the prose outside the blocks, in their order.

    Each is read once, and reading goes on behind it; what turned out to be none is not read again from within.
    """
    cursor = Cursor(text, steps)
    decoder = None if too_deep(text) else _decoder(once=once)
    skipped = iter(blocks)
    block = next(skipped, None)
    broken = _Broken(text)
    failures = count = 0
    while failures < _MAX_FAILURES and (opening := _OPENING.search(text, cursor.at)):
        start = opening.start()
        while block is not None and block.end <= start:
            block = next(skipped, None)
        if block is not None and start >= block.start:
            cursor.at = block.end
            broken.over(block)
            continue
        found = _read_at(cursor, decoder, start, once=once)
        if found is None:
            failures += 1
            broken.at(start)
            cursor.at = max(cursor.at, start + 1)
        elif not broken.around(start) and not _glued(text, found):
            count += 1
            if count > _MAX_IN_PROSE:
                raise TooMuchError("it has too many values")
            yield found


class _Broken:
    """What was meant as a value and cannot be read, as far as its brackets reach: what stands in it is a part of it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.counted = -1
        self.open = 0

    def at(self, start: int) -> None:
        """A value that begins at ``start`` cannot be read."""
        if not self.around(start) and _MEANT.match(self.text, start):
            self.counted, self.open = start, 0

    def around(self, place: int) -> bool:
        """Whether ``place``, further on than all before, is inside."""
        if self.counted >= 0:
            self.open += _opened(self.text, self.counted, place)
            self.counted = place if self.open > 0 else -1
        return self.counted >= 0

    def over(self, block: Block) -> None:
        """A fenced block is passed over, with what it opens and closes."""
        if self.around(block.start):
            self.counted = block.end


def _decoder(*, once: bool) -> json.JSONDecoder:
    return json.JSONDecoder(
        object_pairs_hook=members_once if once else None, parse_constant=_no_constant, parse_int=whole
    )


def _no_constant(_name: str) -> JsonValue:
    raise NotPlainError("not JSON")


def _read_at(cursor: Cursor, decoder: json.JSONDecoder | None, start: int, *, once: bool) -> Candidate | None:
    text = cursor.text
    final = _is_final(text, start)
    if decoder is not None:
        try:
            value, cursor.at = decoder.raw_decode(text, start)
            return Candidate(value, start, cursor.at, False, final)
        except json.JSONDecodeError as error:
            cursor.spend(max(error.pos - start, 0))
        except NotPlainError:
            pass
        except UnreadableError:
            cursor.at = start + 1
            return None
    cursor.at = start
    cursor.notes.clear()
    try:
        value = TolerantReader(cursor, once=once).read_root()
    except TooMuchError:
        raise
    except UnreadableError:
        return None
    return Candidate(value, start, cursor.at, False, final, dict(cursor.notes))


def _glued(text: str, candidate: Candidate) -> bool:
    """Whether a word touches the value, or its members go on behind it, so that it is no value of its own."""
    before = text[max(candidate.start - 12, 0) : candidate.start]
    if before and _GLUED.match(before[-1]) and not before.lower().endswith("json"):
        return True
    return _GLUED.match(text, candidate.end) is not None


def _is_final(text: str, start: int) -> bool:
    return _FINAL.search(text, max(start - _FINAL_SPAN, 0), start) is not None
