"""What is a person's: e-mail addresses, telephone numbers, payment cards, bank accounts, social security numbers.

Numbers are checked as their owners check them (Luhn, ISO 7812 lengths; IBAN, ISO 13616 with mod 97), so that ids and
counters stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from app.telemetry.redaction.rules import Found, Rule, Span, behind, grouped, near, scan

_NO_MAIL: Final = re.compile(
    "png|jpe?g|gif|svg|webp|ico|css|m?js|tsx?|jsx|py|json|ya?ml|toml|md|txt|html|map|lock|t?gz|zip|whl|"
    "service|timer|socket|target|local|localdomain|internal"
)
"""Endings of files and of hosts inside a network: ``icon@2x.png``, a Celery node's name."""

_IBANS: Final = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 EG29 ES24 FI18 "
    "FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 "
    "LU20 LV21 LY25 MC27 MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 SA24 SC31 SE24 "
    "SI19 SK24 SM27 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20"
)
_IBAN_LENGTHS: Final = {entry[:2]: int(entry[2:]) for entry in _IBANS.split()}
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
    return None if _NO_MAIL.fullmatch(found["last"].lower()) else found.span()


_DOMAIN: Final = re.compile(r"@(?:[\w-]{1,63}\.){1,8}(?P<last>[A-Za-z]{2,24})(?![\w-])(?!:[\w~/])")


def _mails(text: str, _small: str) -> Iterator[Span]:
    """From each @ to both sides: few texts have one, and none has many."""
    at, done = text.find("@"), 0
    while at >= 0:
        domain = _DOMAIN.match(text, at)
        if domain is not None and _NO_MAIL.fullmatch(domain["last"].lower()) is None:
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

GROUPS: Final = (*grouped(MAIL, 2), *grouped(NUMBERS))
