"""Addresses inside a text: where something could be sent, or a reader could be led.

URLs, bare domains, e-mail addresses, IP addresses, account numbers and telephone numbers. What is found is not judged
here: the gateway asks whether a trusted source holds it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

MAX_TEXT = 100_000
"""Characters of a text that are searched."""
BEYOND = "(more than is searched)"
"""In place of whatever stands beyond them: it may hold addresses."""

# What name resolution drops, or takes for a full stop, though NFKC keeps it.
_AS_RESOLVED = {
    **dict.fromkeys((0x034F, 0x180B, 0x180C, 0x180D, 0x180F, *range(0x200B, 0x2010), 0x2060, 0xFEFF)),
    **dict.fromkeys(range(0xFE00, 0xFE10)),
    **dict.fromkeys(range(0xE0100, 0xE01F0)),
    0x00AD: None,
    0x3002: ".",
}

# Without a path or "www." a name counts as a domain only with one of these endings. Endings that are better known as
# those of files or of sentences (md, py, sh, zip, mov, so, no, is, to, at, in, it, my) take a path to count.
_ENDINGS = frozenset(
    ("com", "net", "org", "io", "edu", "gov", "mil", "int", "info", "biz", "co", "ai", "app", "dev", "xyz", "me", "us",
     "uk", "de", "fr", "ch", "eu", "ru", "cn", "jp", "br", "nl", "se", "es", "pl", "au", "ca", "be", "dk", "fi", "cz",
     "ie", "nz", "kr", "hk", "sg", "tw", "ua", "ro", "gr", "pt", "hu", "onion", "top", "site", "online", "shop",
     "store", "tech", "cloud", "link", "live", "club", "page", "pro", "icu", "test", "example", "invalid")
)  # fmt: skip
# Every quantifier is bounded and every alternative begins at a boundary, so that the search is linear.
_REST = r"[^\s<>\"`{}|\\^]{0,2000}"
_FOUND = re.compile(
    rf"""
      (?P<url> [A-Za-z0-9+.\-]{{0,31}} :// {_REST} )
    | (?P<scheme> \b(?:mailto|tel|sms|data|javascript|magnet|callto|xmpp|sips?|bitcoin|whatsapp|file) : {_REST} )
    | (?P<email> (?<![\w.%+\-]) [\w.%+\-][\w.%+'\-]{{0,63}} @ [\w\-]{{1,63}} (?:\.[\w\-]{{1,63}}){{0,8}} )
    | (?P<account> (?<![A-Za-z0-9])
        (?: [A-Z]{{2}}\d{{2}} (?:[ ]?[A-Z0-9]{{4}}){{2,7}} (?:[ ]?[A-Z0-9]{{1,4}})?
          | [A-Za-z]{{2}}\d{{2}}[A-Za-z0-9]{{8,30}}
        ) (?![A-Za-z0-9]) )
    | (?P<phone> (?<![\w.,\-])
        (?: \+\d[\d ()./\-]{{5,20}}\d
          | \(?\d{{3}}\)?[ .\-]\d{{3}}[ .\-]\d{{4}}
          | 0\d{{1,4}}[ /\-]\d{{5,9}}
          | \d{{8,19}}
        ) (?![\w]|[.,\-]\d) )
    | (?P<host> (?<!\w)
        (?: (?:[\w\-]{{1,63}}\.){{1,8}} (?P<ending>[^\W\d_]{{2,24}}|xn--[\w\-]{{1,59}})
          | \d{{1,3}}(?:\.\d{{1,3}}){{3}} )
        (?!\w) (?::\d{{1,5}})? (?P<path> [/?\#] {_REST} )? )
    """,
    re.VERBOSE,
)
_CLOSING = ".,;:!?)]}>'\"*_~"


def spans(text: str) -> Iterator[tuple[int, int]]:
    """Where each address stands, from left to right, without the punctuation that follows it."""
    for found in _FOUND.finditer(text[:MAX_TEXT]):
        if found.lastgroup in ("host", "path", "ending") and not _is_host(found):
            continue
        start, end = found.span()
        while end > start and text[end - 1] in _CLOSING:
            end -= 1
        if end > start:
            yield start, end


def addresses(text: str) -> Iterator[str]:
    """Each address in its compatibility form (NFKC): a wide full stop leads a reader where a full stop does.

    Also each as name resolution may read it, without joiners. Of a text of which more is there than is searched the
    last one is ``BEYOND``; some letters become many in that form.
    """
    forms, is_cut = [text], len(text) > MAX_TEXT
    if not text.isascii():
        plain = unicodedata.normalize("NFKC", text[:MAX_TEXT])
        forms, is_cut = [plain, plain.translate(_AS_RESOLVED)], is_cut or len(plain) > MAX_TEXT
    for form in dict.fromkeys(forms):
        for start, end in spans(form):
            yield form[start:end]
    if is_cut:
        yield BEYOND


def _is_host(found: re.Match[str]) -> bool:
    ending = found.group("ending")
    if ending is None or found.group("path") is not None or ending.startswith("xn--"):
        return True
    return ending.lower() in _ENDINGS or found.group("host").lower().startswith("www.")
