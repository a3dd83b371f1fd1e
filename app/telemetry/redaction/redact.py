"""The redaction itself: a screen over each text, the rules where it suspects something, a walk over values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from app.telemetry.redaction import tenant_patterns
from app.telemetry.redaction.names import NAMES, Kind, is_plain, kind_of, looks_drawn
from app.telemetry.redaction.personal import PERSONAL, is_card
from app.telemetry.redaction.rules import OTHERS, REDACTED, TOKENS
from app.telemetry.redaction.screen import Screen

_ANYWHERE: Final = (*OTHERS, *PERSONAL, *NAMES)
_RULES: Final = (*TOKENS, *_ANYWHERE)
_suspects = Screen([rule.hint for rule in TOKENS], [rule.hint for rule in _ANYWHERE]).suspects

_ROUNDS = 4
_MAX_DEPTH = 32
_MAX_NODES = 250_000
_SHORTEST = 5
"""No secret that is known by its form or by its name is shorter, with what introduces it."""


class _State:
    off = False


def switch_off() -> None:
    """Let everything through in this process: for the control of a scan for secrets, and for nothing else."""
    _State.off = True


def redact(text: str) -> str:
    """``text`` without secrets that have a known form or a telling name, and without personal data."""
    if len(text) < _SHORTEST or not (_suspects(text) or tenant_patterns.suspect(text)) or _State.off:
        return text
    for _ in range(_ROUNDS):
        told = _applied(text)
        if told == text:
            return text
        text = told
    # What replacing keeps changing is written against the rules.
    return REDACTED


def _applied(text: str) -> str:
    lowered = text.lower()
    for rule in _RULES:
        if rule.keywords:
            for keyword in rule.keywords:
                if keyword in lowered:
                    break
            else:
                continue
        text = rule.pattern.sub(rule.replace, text)
    return tenant_patterns.applied(text)


def redact_value(value: object, name: str = "") -> object:
    """``value`` without secrets, by their form and by the name they stand under; JSON-like, a new value.

    Numbers and booleans stay, whatever their name (``input_tokens`` is no secret), but for a card's number and what
    stands under a name for a person's. What is not JSON-like is replaced by its redacted text; so is what is nested
    deeper than 32, or comes after 250,000 nodes.
    """
    if _State.off:
        return value
    return _Walk().redacted(value, name, 0)


class _Walk:
    """One walk over one value, with what is left of its nodes."""

    def __init__(self) -> None:
        self._left = _MAX_NODES

    def redacted(self, value: object, name: str, depth: int) -> object:
        kind = type(value)
        if kind is str:
            return _text_under(name, value)  # type: ignore[arg-type]
        if value is None or kind is bool:
            return value
        if isinstance(value, (int, float)):
            return _number_under(name, value)
        if isinstance(value, str):
            return _text_under(name, str.__str__(value))
        if name and kind_of(name) >= Kind.SECRET:
            return REDACTED
        return self._container(value, name, depth)

    def _container(self, value: object, name: str, depth: int) -> object:
        if depth >= _MAX_DEPTH:
            return REDACTED
        try:
            if isinstance(value, Mapping):
                return self._mapping(value, depth)
            if isinstance(value, (list, tuple, set, frozenset)):
                self._left -= len(value)
                if self._left < 0:
                    return REDACTED
                return [self.redacted(item, name, depth + 1) for item in value]
            return _text_under(name, text_of(value))
        except Exception:  # noqa: BLE001 - a value that cannot be read must not cost its log line
            return REDACTED

    def _mapping(self, value: Mapping[object, object], depth: int) -> object:
        self._left -= len(value)
        if self._left < 0:
            return REDACTED
        found: dict[str, object] = {}
        for key, item in value.items():
            name = key if type(key) is str else text_of(key)
            found[redact(name)] = self.redacted(item, name, depth + 1)
        return found


def _text_under(name: str, text: str) -> str:
    if name:
        kind = kind_of(name)
        if kind >= Kind.SECRET:
            return text if not text or is_plain(text) else REDACTED
        if kind == Kind.WEAK and looks_drawn(text):
            return REDACTED
    return redact(text)


def _number_under(name: str, value: float) -> object:
    if name and kind_of(name) == Kind.PERSONAL:
        return REDACTED
    if isinstance(value, int) and 10**12 <= value < 10**19 and is_card(str(value)):
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
