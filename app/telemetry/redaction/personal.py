"""What is a person's: e-mail addresses, telephone numbers, payment cards, bank accounts, social security numbers.

Numbers are checked as their owners check them (Luhn, ISO 7812 lengths; IBAN, ISO 13616 with mod 97), so that ids and
counters stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from app.telemetry.redaction.rules import Found, Group, Rule, Span, behind, near, scan
from app.telemetry.redaction.screen import Screen

_NO_MAIL: Final = frozenset(
    "png jpg jpeg gif svg webp ico css js mjs ts tsx jsx py json yaml yml toml md txt html map lock tgz gz zip whl "
    "service timer socket target local localdomain internal".split()
)
"""Endings of files and of hosts inside a network: ``icon@2x.png``, a Celery node's name."""

_IBAN_LENGTHS: Final = {
    name: int(length)
    for name, length in (
        (pair[:2], pair[3:])
        for pair in (
            "AD:24 AE:23 AL:28 AT:20 AZ:28 BA:20 BE:16 BG:22 BH:22 BR:29 BY:28 CH:21 CR:22 CY:28 CZ:24 DE:22 DK:18 "
            "DO:28 EE:20 EG:29 ES:24 FI:18 FO:18 FR:27 GB:22 GE:22 GI:23 GL:18 GR:27 GT:28 HR:21 HU:28 IE:22 IL:23 "
            "IQ:23 IS:26 IT:27 JO:30 KW:30 KZ:20 LB:28 LC:32 LI:21 LT:20 LU:20 LV:21 LY:25 MC:27 MD:24 ME:22 MK:19 "
            "MR:27 MT:31 MU:30 NL:18 NO:15 PK:24 PL:28 PS:29 PT:25 QA:29 RO:24 RS:22 SA:24 SC:31 SE:24 SI:19 SK:24 "
            "SM:27 ST:25 SV:28 TL:23 TN:24 TR:26 UA:29 VA:22 VG:24 XK:20"
        ).split()
    )
}
_CARD: Final = re.compile(
    r"4[0-9]{15}|5[1-5][0-9]{14}|2[2-7][0-9]{14}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|"
    r"6(?:011|4[4-9][0-9]|5[0-9]{2})[0-9]{12}|62[0-9]{14,17}|35(?:2[89]|[3-8][0-9])[0-9]{12}"
)
"""By issuer: Visa, Mastercard (two ranges), American Express, Diners, Discover, UnionPay, JCB."""


def is_card(digits: str) -> bool:
    """Whether digits are a payment card's number: an issuer's first digits, its length, Luhn."""
    if _CARD.fullmatch(digits) is None:
        return False
    odd = sum(map(int, digits[-1::-2]))
    even = sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (odd + even) % 10 == 0


def is_iban(text: str) -> bool:
    """Whether capital letters and digits are an IBAN."""
    if _IBAN_LENGTHS.get(text[:2]) != len(text):
        return False
    return int("".join(str(int(character, 36)) for character in text[4:] + text[:4])) % 97 == 1


def _digits(text: str) -> str:
    return "".join(character for character in text if "0" <= character <= "9")


def _card(found: Found, _text: str) -> Span | None:
    return found.span() if is_card(_digits(found[0])) else None


def _iban(found: Found, text: str) -> Span | None:
    """The beginning that is as long as its country's are: a word may follow it."""
    length = _IBAN_LENGTHS.get(found[0][:2], 0)
    start = end = found.start()
    kept = ""
    for end in range(start + 1, found.end() + 1):
        if text[end - 1] not in " -":
            kept += text[end - 1]
        if len(kept) == length:
            break
    return (start, end) if is_iban(kept) and not text[end : end + 1].isalnum() else None


def _mail(found: Found, _text: str) -> Span | None:
    return None if found["last"].lower() in _NO_MAIL else found.span()


_DOMAIN: Final = re.compile(r"@(?:[\w-]{1,63}\.){1,8}(?P<last>[A-Za-z]{2,24})(?![\w-])(?!:[\w~/])")


def _mails(text: str, _small: str) -> Iterator[Span]:
    """From each @ to both sides: few texts have one, and none has many."""
    at, done = text.find("@"), 0
    while at >= 0:
        domain = _DOMAIN.match(text, at)
        if domain is not None and domain["last"].lower() not in _NO_MAIL:
            begin = at
            while begin > max(done, at - 255) and (text[begin - 1].isalnum() or text[begin - 1] in "._%+-"):
                begin -= 1
            if any(character.isalnum() for character in text[begin:at]):
                done = domain.end()
                yield begin, done
        at = text.find("@", at + 1)


def _phone(found: Found, _text: str) -> Span | None:
    return found.span() if 8 <= len(_digits(found[0])) <= 15 else None


def _called(found: Found, text: str) -> Span | None:
    return behind(found, text) if 7 <= len(_digits(found[2])) <= 15 else None


MAIL: Final = (
    Rule("e-mail", r"@[^ @]+\.[A-Za-z]", _mails),
    Rule(
        "e-mail in a url",
        r"%40[A-Za-z0-9-]+\.",
        scan(
            r"(?<![A-Za-z0-9._+-])[A-Za-z0-9._+-]{1,255}%40(?:[A-Za-z0-9-]{1,63}\.){1,8}(?P<last>[A-Za-z]{2,24})"
            r"(?![\w-])",
            _mail,
            needs="%40",
        ),
    ),
)
NUMBERS: Final = (
    Rule(
        "payment card",
        r"(?:^|[^0-9A-Za-z.+])[2-6](?:[0-9]{13}|[0-9]{3}[ -][0-9]{4,6}[ -][0-9]{4})",
        scan(
            r"(?<![0-9A-Za-z.+])(?:[2-6][0-9]{13,18}|[2-6][0-9]{3}(?P<s>[ -])(?:[0-9]{4}(?P=s)[0-9]{4}(?P=s)[0-9]{1,7}"
            r"|[0-9]{6}(?P=s)[0-9]{4,5}))(?![0-9A-Za-z]|[.-][0-9])",
            _card,
        ),
    ),
    Rule(
        "iban",
        r"(?:^|[^0-9A-Za-z])[A-Z]{2}[0-9]{2}(?:[ -]?[A-Z0-9]{4}){2}",
        scan(r"(?<![0-9A-Za-z])[A-Z]{2}[0-9]{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?", _iban),
    ),
    Rule(
        "telephone, international",
        r"\+[1-9][0-9 .()-]{7}",
        scan(
            r"\+(?<![0-9A-Za-z+]\+)[1-9][0-9]{0,2}(?:[ .-]?\(0?[0-9]{1,4}\))?(?:[ .-]?[0-9]{1,5}){1,6}"
            r"(?![0-9A-Za-z:]|[.-][0-9])",
            _phone,
        ),
    ),
    Rule(
        "telephone, north american",
        r"[2-9][0-9]{2}(?:\) ?|[.-])[2-9][0-9]{2}[ .-][0-9]{4}",
        scan(
            r"(?<![0-9A-Za-z.+-])(?:1[ .-])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}(?P<s>[.-]))[2-9][0-9]{2}"
            r"(?(s)(?P=s)|[ .-])[0-9]{4}(?![0-9A-Za-z]|[.-][0-9])"
        ),
    ),
    Rule(
        "telephone, by its name",
        r"(?i:phone|mobile|tel|fax|cell|whatsapp|sms)[^0-9\n]{0,16}[0-9][0-9 ()./-]{6}",
        near(
            "phone mobile tel fax cell whatsapp sms",
            r"((?:phone|mobile|tel|fax|cell|whatsapp|sms)(?:[_-]?(?:number|no))?[.\"'\\]{0,3}\s{0,3}(?:is\s|at\s|to\s|no\.?\s)?"
            r"[:=]?\s{0,3}[\\\"']{0,2}(?:tel:)?)(\+?\(?[0-9][0-9 ()./-]{5,22}[0-9])(?![0-9a-z])",
            _called,
        ),
    ),
    Rule(
        "social security",
        r"(?:^|[^0-9A-Za-z.+-])[0-8][0-9]{2}-[0-9]{2}-[0-9]{4}",
        scan(
            r"(?<![0-9A-Za-z.+-])(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}(?![0-9A-Za-z]|[.-][0-9])"
        ),
    ),
)

GROUPS: Final = tuple(Group(Screen((), [rule.hint for rule in rules]), rules) for rules in (MAIL, NUMBERS))
