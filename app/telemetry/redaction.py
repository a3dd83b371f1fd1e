"""Redaction: one function in front of logs, spans, errors, dead letters and the console.

Patterns are looked for only where one of their keywords stands, so that text without secrets costs a few
substring searches. Redacting twice is redacting once. It never raises: what it cannot read it replaces.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

REDACTED = "[redacted]"

_MAX_DEPTH = 20


class _Rule(NamedTuple):
    """A pattern, and what must be in the (lower-case) text before it is tried."""

    keywords: tuple[str, ...]
    pattern: re.Pattern[str]
    replacement: str = REDACTED


def _rule(keywords: str, pattern: str, replacement: str = REDACTED, flags: int = 0) -> _Rule:
    return _Rule(tuple(keywords.split()), re.compile(pattern, flags), replacement)


_RULES = (
    _rule(
        "private",
        r"-----BEGIN ([A-Z ]{0,40})PRIVATE KEY-----.*?(?:-----END \1PRIVATE KEY-----|\Z)",
        flags=re.DOTALL,
    ),
    _rule("ghp_ gho_ ghu_ ghs_ ghr_", r"\bgh[pousr]_[A-Za-z0-9]{20,255}"),
    _rule("github_pat_", r"\bgithub_pat_[A-Za-z0-9_]{20,255}"),
    _rule("glpat-", r"\bglpat-[A-Za-z0-9_-]{16,255}"),
    _rule("akia asia", r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    _rule("sk- sk_ rk_", r"\b(?:sk-|[sr]k_(?:live|test)_)[A-Za-z0-9_-]{16,255}"),
    _rule("xox", r"\bxox[abeoprs]-[A-Za-z0-9-]{10,255}"),
    _rule("aiza", r"\bAIza[A-Za-z0-9_-]{30,60}"),
    _rule("npm_ pypi- whsec_", r"\b(?:npm_|pypi-|whsec_)[A-Za-z0-9_+/=-]{20,255}"),
    _rule("eyj", r"\beyJ[A-Za-z0-9_-]{8,4096}\.eyJ[A-Za-z0-9_-]{2,8192}\.[A-Za-z0-9_-]{2,4096}"),
    _rule("://", r"(?<=://)[^\s/:@\"']{0,256}:[^\s/@\"']{1,256}(?=@)"),
    _rule(
        "bearer basic",
        r"\b((?i:bearer|basic))\s{1,4}(?!\[redacted)(?=\S{0,8192}?[0-9A-Z=])[A-Za-z0-9._~+/=-]{8,8192}",
        rf"\1 {REDACTED}",
    ),
    _rule(
        "password passwd pwd secret token api_key api-key apikey credential",
        r"(?<![A-Za-z])((?:[A-Za-z0-9]{1,30}[_-]){0,4}"
        r"(?:password|passwd|pwd|secret|token|api[_-]?key|credential)s?"
        r"[\"']{0,2}\s{0,4}[:=]\s{0,4}[\"']{0,2})(?!\[redacted)[^\s\"',;&<>{}\[\]()]{4,4096}",
        rf"\1{REDACTED}",
        re.IGNORECASE,
    ),
)

_KEYWORDS = tuple(sorted({keyword for rule in _RULES for keyword in rule.keywords}))

_SECRET_NAME = re.compile(
    r"(?:.*[_.\- ])?(?:password|passwd|passphrase|pwd|secret|token|api[_-]?key|apikey|authorization|cookie|"
    r"credential|private[_-]?key|signing[_-]?key|x-hub-signature(?:-256)?)s?",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """``text`` without secrets that have a known form."""
    lowered = text.lower()
    # A plain loop: a generator inside any() costs several times the searches themselves.
    for keyword in _KEYWORDS:
        if keyword in lowered:
            return _apply_rules(text, lowered)
    return text


def _apply_rules(text: str, lowered: str) -> str:
    for rule in _RULES:
        if any(keyword in lowered for keyword in rule.keywords):
            text = rule.pattern.sub(rule.replacement, text)
    return text


def redact_value(value: object, name: str = "") -> object:
    """``value`` without secrets, by their form and by the name they stand under; JSON-like, a new value.

    Numbers and booleans stay, whatever their name (``input_tokens`` is no secret). What is not JSON-like is
    replaced by its redacted text.
    """
    return _redacted(value, name, 0)


def _redacted(value: object, name: str, depth: int) -> object:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if name and _is_secret_name(name):
        return REDACTED
    if isinstance(value, str):
        return redact(value)
    if depth >= _MAX_DEPTH:
        return REDACTED
    if isinstance(value, Mapping):
        return {redact(_text(key)): _redacted(item, _text(key), depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_redacted(item, name, depth + 1) for item in value]
    return redact(_text(value))


@lru_cache(maxsize=1024)
def _is_secret_name(name: str) -> bool:
    return len(name) <= 200 and _SECRET_NAME.fullmatch(name) is not None


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a value without a text must not cost its log line
        return f"<{type(value).__name__} without text>"
