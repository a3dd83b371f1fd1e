"""The redaction itself: a screen over each text, the rules where it suspects something, a walk over values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from app.telemetry.redaction import names, personal, rules, tenant_patterns
from app.telemetry.redaction.names import Kind, is_plain, kind_of, looks_drawn
from app.telemetry.redaction.personal import is_card
from app.telemetry.redaction.rules import REDACTED as REDACTED
from app.telemetry.redaction.rules import Span, as_read, in_small_letters
from app.telemetry.redaction.screen import Screen
from app.telemetry.redaction.tenant_patterns import TenantPattern

_GROUPS: Final = (*rules.GROUPS, *personal.GROUPS, *names.GROUPS)
_suspects = Screen(
    [rule.hint for rule in rules.TOKENS],
    [rule.hint for rule in (*rules.OTHERS, *personal.MAIL, *personal.NUMBERS, *names.NAMES)],
).suspects

_ROUNDS = 4
_MAX_DEPTH = 32
_MAX_NODES = 250_000
_LONGEST_NAME = 100
_SHORTEST = 5
"""No secret that is known by its form or by its name is shorter, with what introduces it."""


class _State:
    off = False


def switch_off() -> None:
    """Let everything through in this process: for the control of a scan for secrets, and for nothing else."""
    _State.off = True


def redact(text: str) -> str:
    """``text`` without secrets that have a known form or a telling name, and without personal data."""
    if len(text) < _SHORTEST or not (_suspects(as_read(text)) or tenant_patterns.suspect(text)) or _State.off:
        return text
    return _settled(text, lambda told: tenant_patterns.applied(_applied(told)))


def redact_known(text: str) -> str:
    """As ``redact``, by what Interlock knows alone: the same in every process, for what ``verify`` derives again."""
    if len(text) < _SHORTEST or not _suspects(as_read(text)) or _State.off:
        return text
    return _settled(text, _applied)


def _settled(text: str, step: Callable[[str], str]) -> str:
    """What a step no longer changes; what it keeps changing is written against the rules and goes whole."""
    for _ in range(_ROUNDS):
        told = step(text)
        if told == text:
            return text
        text = told
    return REDACTED


def _applied(text: str) -> str:
    """One pass of every rule of every group that has something to suspect."""
    read = as_read(text)
    small = in_small_letters(read)
    for group in _GROUPS:
        if not group.screen.suspects(read):
            continue
        for rule in group.rules:
            told = _without(text, rule.find(read, small))
            if told is not text:
                text, read = told, as_read(told)
                small = in_small_letters(read)
    return text


def _without(text: str, spans: Iterable[Span]) -> str:
    pieces: list[str] = []
    at = 0
    for start, end in spans:
        if start >= at:
            pieces += (text[at:start], REDACTED)
            at = end
    return "".join((*pieces, text[at:])) if pieces else text


class _Name(NamedTuple):
    """A key of an object: what it says of the value under it, and how it is shown."""

    kind: int
    shown: str


_NO_NAME: Final = _Name(Kind.NOTHING, "")


def _read_name(name: str) -> _Name:
    """What it says as it is and as it is shown: whoever redacts again sees the second alone."""
    shown = redact(name)
    return _Name(max(kind_of(name), kind_of(shown)), shown)


_known = lru_cache(maxsize=4096)(_read_name)


def _named(name: str) -> _Name:
    """Names are few, and the same from line to line; long ones are not kept."""
    return _known(name) if len(name) <= _LONGEST_NAME else _read_name(name)


def install_patterns(patterns: Mapping[str, Sequence[TenantPattern]]) -> list[str]:
    """Make these the tenants' patterns of this process; returns ``tenant/name`` of what cannot be used.

    Nothing, when it has these already: it was told then.
    """
    refused = tenant_patterns.install(patterns)
    if refused is None:
        return []
    _known.cache_clear()
    return refused


def redact_value(value: object, name: str = "") -> object:
    """``value`` without secrets, by their form and by the name they stand under; JSON-like, a new value.

    Numbers and booleans stay, whatever their name (``input_tokens`` is no secret), but for a card's number and what
    stands under a name for a person's. What is not JSON-like is replaced by its redacted text; so is what is nested
    deeper than 32, or comes after 250,000 nodes.
    """
    if _State.off:
        return value
    named = _named(name) if name else _NO_NAME
    if type(value) is str:
        return _under(named, value, redact)
    texts: list[str] = []

    def noted(text: str) -> str:
        texts.append(text)
        return text

    told = _Walk(noted).redacted(value, named, 0)
    joined = as_read("\n".join(texts))
    if not (_suspects(joined) or tenant_patterns.suspect(joined)):
        return told
    return _Walk(redact).redacted(value, named, 0)


class _Walk:
    """One walk over one value; what is text and has no telling name is left to a function."""

    def __init__(self, tell: Callable[[str], str]) -> None:
        self._tell = tell
        self._left = _MAX_NODES

    def redacted(self, value: object, named: _Name, depth: int) -> object:
        """``value`` as it may be shown under that name."""
        kind = type(value)
        if kind is str:
            return _under(named, value, self._tell) if named.kind else self._tell(value)  # type: ignore[arg-type]
        if value is None or kind is bool:
            return value
        if kind is int or kind is float:
            return _number_under(named, value)  # type: ignore[arg-type]
        if kind is dict:
            return self._container(value, named, depth)
        if isinstance(value, str):
            return _under(named, str.__str__(value), self._tell)
        if isinstance(value, (int, float)):
            return _number_under(named, value)
        return self._container(value, named, depth)

    def _container(self, value: object, named: _Name, depth: int) -> object:
        if named.kind >= Kind.SECRET or depth >= _MAX_DEPTH:
            return REDACTED
        try:
            if isinstance(value, Mapping):
                return self._mapping(value, depth + 1)
            if isinstance(value, (list, tuple, set, frozenset)):
                self._left -= len(value)
                return (
                    [self.redacted(item, named, depth + 1) for item in value] if self._left >= 0 else REDACTED
                )
            return _under(named, text_of(value), self._tell)
        except Exception:  # noqa: BLE001 - a value that cannot be read must not cost its log line
            return REDACTED

    def _mapping(self, value: Mapping[object, object], depth: int) -> object:
        self._left -= len(value)
        if self._left < 0:
            return REDACTED
        found: dict[str, object] = {}
        described = _described(value)
        for key, item in value.items():
            named = _named(key if type(key) is str else text_of(key))
            found[named.shown] = self.redacted(item, described if key == "value" else named, depth)
        return found


def _described(value: Mapping[object, object]) -> _Name:
    """What a member called ``value`` goes by: ``{"name": "DB_PASSWORD", "value": ...}`` says it beside it."""
    if "value" in value:
        for member in ("name", "key", "Name", "Key"):
            name = value.get(member)
            if type(name) is str:
                return _named(name)
    return _NO_NAME


def _under(named: _Name, text: str, tell: Callable[[str], str]) -> str:
    if named.kind >= Kind.SECRET:
        return tell(text) if not text or is_plain(text) else REDACTED
    if named.kind == Kind.WEAK and looks_drawn(text):
        return REDACTED
    return tell(text)


def _number_under(named: _Name, value: float) -> object:
    if named.kind == Kind.PERSONAL:
        return REDACTED
    if type(value) is int and 10**12 <= value < 10**19 and is_card(str(value)):
        return REDACTED
    return value


def text_of(value: object) -> str:
    """The text of a value of any kind; of one without a text, its type's name."""
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode("utf-8", "replace")
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a value without a text must not cost its log line
        return f"<{type(value).__name__} without text>"
