"""Canary secrets: made up, in the shapes of real ones, and each different for each place where it is planted.

What must not be seen anywhere is ``secret``; ``text`` is how it is written down there. Markers are drawn from a digest
of their names, so that every process knows them without being told, and so that any eight characters of one occur
nowhere else. What is the same in every secret of a kind (``sk-proj-``) is no part of a window.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

WINDOW = 8
LETTERS = "abcdefghijklmnopqrstuvwxyz"
UPPER = LETTERS.upper()
DIGITS = "0123456789"
MIXED = LETTERS + UPPER + DIGITS


@dataclass(frozen=True, slots=True)
class Marker:
    """One planted secret.

    Args:
        kind: its shape, a key of ``KINDS``.
        place: where it is planted.
        text: how it stands there.
        secret: the part that must not be seen.
        known: how many characters at its beginning every secret of the kind has.
    """

    kind: str
    place: str
    text: str
    secret: str
    known: int = 0

    def windows(self) -> Iterator[str]:
        """Every eight characters in a row that nothing but this marker has."""
        for line in self.secret[self.known :].splitlines():
            for start in range(len(line) - WINDOW + 1):
                yield line[start : start + WINDOW]


def draw(name: str, alphabet: str, length: int) -> str:
    """So many characters of an alphabet, the same for the same name."""
    drawn = ""
    number = 0
    while len(drawn) < length:
        digest = hashlib.sha512(f"canary {name} {number}".encode()).digest()
        drawn += "".join(alphabet[byte % len(alphabet)] for byte in digest)
        number += 1
    return drawn[:length]


def _prefixed(prefix: str, length: int, alphabet: str = MIXED) -> Callable[[str], tuple[str, str, int]]:
    def make(name: str) -> tuple[str, str, int]:
        secret = prefix + draw(name, alphabet, length)
        return secret, secret, len(prefix)

    return make


def _written(template: str, length: int) -> Callable[[str], tuple[str, str, int]]:
    def make(name: str) -> tuple[str, str, int]:
        secret = draw(name, MIXED, length)
        return template.format(secret), secret, 0

    return make


def _jwt(name: str) -> tuple[str, str, int]:
    header = _base64url(json.dumps({"kid": draw(name + " kid", MIXED, 12), "alg": "HS256"}))
    body = _base64url(json.dumps({"sub": draw(name + " sub", MIXED, 12)}))
    token = f"{header}.{body}.{draw(name, MIXED, 43)}"
    # {"kid": " and the end of the header, {"sub": " and its end are the same in all of them.
    return token, draw(name + " kid", MIXED, 12) + "\n" + token.rpartition(".")[2], 0


def _base64url(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _pem(name: str) -> tuple[str, str, int]:
    lines = [draw(f"{name} {number}", MIXED, 64) for number in range(3)]
    body = "\n".join(lines)
    return f"-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----", body, 0


def _card(name: str) -> tuple[str, str, int]:
    """Sixteen digits that pass Luhn's check, in groups of four, as people write them."""
    body = "4" + draw(name, DIGITS, 14)
    total = sum(_doubled(int(digit)) if place % 2 == 0 else int(digit) for place, digit in enumerate(body))
    digits = body + str(-total % 10)
    grouped = " ".join(digits[start : start + 4] for start in range(0, 16, 4))
    return grouped, grouped, 0


def _doubled(digit: int) -> int:
    return digit * 2 - 9 if digit > 4 else digit * 2


def _iban(name: str) -> tuple[str, str, int]:
    """A German account number with its check digits (ISO 13616), in groups of four."""
    account = draw(name, DIGITS, 18)
    check = 98 - int(account + "131400") % 97
    digits = f"DE{check:02d}{account}"
    grouped = " ".join(digits[start : start + 4] for start in range(0, len(digits), 4))
    return grouped, grouped, 0


def _email(name: str) -> tuple[str, str, int]:
    address = f"{draw(name, LETTERS, 11)}@{draw(name + ' domain', LETTERS, 9)}.io"
    return address, address, 0


def _phone(name: str) -> tuple[str, str, int]:
    digits = draw(name, DIGITS, 8)
    number = f"+49 151 {digits[:4]} {digits[4:]}"
    return number, number, 4


def _prose(name: str) -> tuple[str, str, int]:
    words = " ".join(draw(f"{name} {number}", LETTERS, 9) for number in range(3))
    return words, words, 0


KINDS: dict[str, Callable[[str], tuple[str, str, int]]] = {
    "aws access key id": _prefixed("AKIA", 16, UPPER + "234567"),
    "aws secret access key": _written("aws_secret_access_key={}", 40),
    "github token": _prefixed("ghp_", 36),
    "github fine-grained token": _prefixed("github_pat_", 59),
    "gitlab token": _prefixed("glpat-", 20),
    "slack token": _prefixed("xoxb-", 40),
    "stripe key": _prefixed("sk_live_", 24),
    "openai key": _prefixed("sk-proj-", 48),
    "anthropic key": _prefixed("sk-ant-api03-", 60),
    "google api key": _prefixed("AIza", 35),
    "npm token": _prefixed("npm_", 36),
    "sendgrid key": _prefixed("SG.", 22),
    "hugging face token": _prefixed("hf_", 34),
    "jwt": _jwt,
    "private key": _pem,
    "password in a url": _written("https://deploy:{}@db.internal/app", 20),
    "token in a query": _written("https://hooks.test/in?access_token={}", 24),
    "bearer token": _written("Authorization: Bearer {}", 32),
    "assigned password": _written("password={}", 16),
    "card number": _card,
    "iban": _iban,
    "e-mail address": _email,
    "phone number": _phone,
    "free text": _prose,
}
FREE_TEXT = "free text"


@lru_cache(maxsize=4096)
def marker(kind: str, place: str) -> Marker:
    """The secret of that kind for that place."""
    if kind == "sendgrid key":
        first, second = draw(f"{place} first", MIXED, 22), draw(f"{place} second", MIXED, 43)
        return Marker(kind, place, f"SG.{first}.{second}", f"{first}\n{second}")
    text, secret, known = KINDS[kind](f"{kind} at {place}")
    return Marker(kind, place, text, secret, known)


def planted(place: str, number: int, *, content: bool) -> Marker:
    """The marker for the ``number``-th planting at a place: each kind in its turn.

    Args:
        content: whether the place is a payload's content; free text is planted nowhere else.
    """
    kinds = [kind for kind in KINDS if content or kind != FREE_TEXT]
    return marker(kinds[number % len(kinds)], place)
