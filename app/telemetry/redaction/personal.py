"""What is a person's: e-mail addresses, telephone numbers, payment cards, bank accounts, social security numbers.

Numbers are checked as their owners check them (Luhn, ISO 7812 lengths; IBAN, ISO 13616 with mod 97), so that ids and
counters stay.
"""

from __future__ import annotations

import re
from typing import Final

from app.telemetry.redaction.rules import REDACTED, Found, Rule

_NO_MAIL: Final = frozenset(
    "png jpg jpeg gif svg webp ico css js mjs ts tsx jsx py json yaml yml toml md txt html map lock tgz gz zip whl "
    "service timer socket target local localdomain internal".split()
)
"""Endings of files and of hosts inside a network: ``icon@2x.png``, a Celery node's name."""

_IBAN_LENGTHS: Final = {
    name: int(length)
    for name, length in (
        pair.split(":")
        for pair in (
            "AD:24 AE:23 AL:28 AT:20 AZ:28 BA:20 BE:16 BG:22 BH:22 BR:29 BY:28 CH:21 CR:22 CY:28 CZ:24 DE:22 DK:18 "
            "DO:28 EE:20 EG:29 ES:24 FI:18 FO:18 FR:27 GB:22 GE:22 GI:23 GL:18 GR:27 GT:28 HR:21 HU:28 IE:22 IL:23 "
            "IQ:23 IS:26 IT:27 JO:30 KW:30 KZ:20 LB:28 LC:32 LI:21 LT:20 LU:20 LV:21 LY:25 MC:27 MD:24 ME:22 MK:19 "
            "MR:27 MT:31 MU:30 NL:18 NO:15 PK:24 PL:28 PS:29 PT:25 QA:29 RO:24 RS:22 SA:24 SC:31 SE:24 SI:19 SK:24 "
            "SM:27 ST:25 SV:28 TL:23 TN:24 TR:26 UA:29 VA:22 VG:24 XK:20"
        ).split()
    )
}
_ISSUER: Final = re.compile(r"4|5[1-5]|2[2-7]|3[4-9]|6")


def is_card(digits: str) -> bool:
    """Whether digits are a payment card's number: an issuer's first digits, 13 to 19 long, Luhn."""
    if not 13 <= len(digits) <= 19 or _ISSUER.match(digits) is None:
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


def _card(found: Found) -> str:
    return REDACTED if is_card(_digits(found[0])) else found[0]


def _iban(found: Found) -> str:
    """The longest beginning that is one: a word may follow it."""
    text = found[0]
    length = _IBAN_LENGTHS.get(text[:2].upper(), 0)
    kept, end = 0, 0
    for end, character in enumerate(text, 1):
        kept += character not in " -"
        if kept == length:
            break
    told = text[:end].replace(" ", "").replace("-", "").upper()
    follows = text[end : end + 1]
    return f"{REDACTED}{text[end:]}" if is_iban(told) and not follows.isalnum() else text


def _mail(found: Found) -> str:
    return found[0] if found["last"].lower() in _NO_MAIL else REDACTED


def _phone(found: Found) -> str:
    return REDACTED if 8 <= len(_digits(found[0])) <= 15 else found[0]


def _called(found: Found) -> str:
    return f"{found[1]}{REDACTED}" if 7 <= len(_digits(found[2])) <= 15 else found[0]


_NOT_IN_RUN: Final = r"(?<![0-9A-Za-z.+])(?<![0-9A-Za-z][-])"

PERSONAL: Final = (
    Rule(
        "e-mail",
        ("@",),
        re.compile(
            r"(?<![\w.%+-])[\w.%+-]{1,255}@(?:[\w-]{1,63}\.){1,8}(?P<last>[A-Za-z]{2,24})(?![\w-])(?!:[\w~/])"
        ),
        _mail,
        r"@[^ @]+\.[A-Za-z]",
    ),
    Rule(
        "e-mail in a url",
        ("%40",),
        re.compile(
            r"(?<![A-Za-z0-9._+-])[A-Za-z0-9._+-]{1,255}%40(?:[A-Za-z0-9-]{1,63}\.){1,8}(?P<last>[A-Za-z]{2,24})(?![\w-])"
        ),
        _mail,
        r"%40[A-Za-z0-9-]+\.",
    ),
    Rule(
        "payment card",
        (),
        re.compile(
            r"(?<![0-9A-Za-z.+])(?:[2-6][0-9]{12,18}|[2-6][0-9]{3}(?P<s>[ -])(?:[0-9]{4}(?P=s)[0-9]{4}(?P=s)[0-9]{1,7}"
            r"|[0-9]{6}(?P=s)[0-9]{4,5}))(?![0-9A-Za-z]|[.-][0-9])"
        ),
        _card,
        r"(?:^|[^0-9A-Za-z.+])[2-6](?:[0-9]{12}|[0-9]{3}[ -][0-9]{4,6}[ -][0-9]{4})",
    ),
    Rule(
        "iban",
        (),
        re.compile(r"(?<![0-9A-Za-z])[A-Z]{2}[0-9]{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?"),
        _iban,
        r"(?:^|[^0-9A-Za-z])[A-Z]{2}[0-9]{2}(?:[ -]?[A-Z0-9]{4}){2}",
    ),
    Rule(
        "telephone, international",
        ("+",),
        re.compile(
            r"(?<![0-9A-Za-z+])\+[1-9][0-9]{0,2}(?:[ .-]?\(0?[0-9]{1,4}\))?(?:[ .-]?[0-9]{2,5}){1,6}(?![0-9A-Za-z:]|[.-][0-9])"
        ),
        _phone,
        r"\+[1-9][0-9 .()-]{7}",
    ),
    Rule(
        "telephone, north american",
        (),
        re.compile(
            r"(?<![0-9A-Za-z.+-])(?:1[ .-])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}(?P<s>[.-]))[2-9][0-9]{2}"
            r"(?(s)(?P=s)|[ .-])[0-9]{4}(?![0-9A-Za-z]|[.-][0-9])"
        ),
        lambda _found: REDACTED,
        r"[2-9][0-9]{2}(?:\) ?|[.-])[2-9][0-9]{2}[ .-][0-9]{4}",
    ),
    Rule(
        "telephone, by its name",
        ("phone", "mobile", "tel", "fax", "cell", "whatsapp", "sms"),
        re.compile(
            r"((?<![A-Za-z])(?:[A-Za-z]{0,10}[_-]?phone(?:[_-]?(?:number|no))?|mobile(?:[_-]?(?:number|no))?|tel|telephone|"
            r"fax|cell|whatsapp|sms)[.\"'\\]{0,3}\s{0,3}(?:is\s|at\s|to\s|no\.?\s)?[:=]?\s{0,3}[\\\"']{0,2}(?:tel:)?)"
            r"(\+?\(?[0-9][0-9 ()./-]{5,22}[0-9])(?![0-9A-Za-z])",
            re.IGNORECASE,
        ),
        _called,
        r"(?i:phone|mobile|tel|fax|cell|whatsapp|sms)[^0-9\n]{0,16}[0-9][0-9 ()./-]{6}",
    ),
    Rule(
        "social security",
        (),
        re.compile(r"(?<![0-9A-Za-z.+-])(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}(?![0-9A-Za-z]|[.-][0-9])"),
        lambda _found: REDACTED,
        r"(?:^|[^0-9A-Za-z.+-])[0-8][0-9]{2}-[0-9]{2}-[0-9]{4}",
    ),
)
