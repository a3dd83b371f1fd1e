"""What secrets are called: keys of objects, and names before a value in a text.

A name is told by how it ends, in any spelling: ``DB_PASSWORD``, ``clientSecret``, ``x-api-key``. What stands behind
a name for a secret is one, unless it is plainly something else: a reference to where the secret is kept, a type, a
word of code or prose. A name that may mean anything (``key``, ``sig``) says so only of a value that looks drawn.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from functools import lru_cache
from typing import Final

from app.telemetry.redaction.rules import REDACTED, Found, Rule

_PERSONAL: Final = (
    "password|passwd|passphrase|passcode|passwort|pwd|pgpass|cvv2?|cvc|ssn|socialsecurity(?:number)?|taxid|iban|"
    "(?:credit|debit)?card(?:number|no)|creditcard|phone(?:number)?|mobile(?:number)?|telephone(?:number)?|otp|totp"
)
"""A number under one of these is one, too."""
_SECRET: Final = (
    "secret|token|apikey|authorization|cookie|credential|auth|bearer|xapp|xsignature|hubsignature(?:256)?|"
    "(?:access|account|shared|sharedaccess|private|signing|encryption|master|auth|secret|service|client|storage|"
    "subscription|function|host|admin|deploy|session|webhook|secretaccess|license|application|app|ingest|integration|"
    "routing|write|server|api|sas|hmac|jwt|encrypt|decryption|crypto|ssh|pgp|gpg|aes|rsa|fernet|sentry)key|"
    "session(?:id)?|sessid|phpsessid|jsessionid|sid|connectionstring|connstr|dsn|"
    "(?:webhook|hook)url|sastoken|userpass|privkey|recoverycodes?|seedphrase|mnemonic"
)
_NAME: Final = re.compile(
    f"(?:.*)(?:(?P<personal>{_PERSONAL})|(?P<secret>{_SECRET}))s?(?:value|text|string|base|hash|base64|b64|raw)?[0-9]{{0,2}}"
)
_PLAIN_NAMES: Final = re.compile(
    r".*(?:publickey|author|session|oauth|(?:next|page|prev|previous|continuation|sync)(?:page)?token|prompttokens?|"
    r"completiontokens?|(?:in|out)puttokens?|maxtokens?|totaltokens?)"
)
_WEAK_NAME: Final = re.compile(
    r"(?:.*[_.\- ])?(?:key|sig|signature|code|salt|hmac|license|otp|nonce|state|seed|session|cert)", re.IGNORECASE
)
_SQUEEZE: Final = str.maketrans("", "", "_-. :/[]")


class Kind:
    """What a name says of the value under it."""

    NOTHING: Final = 0
    WEAK: Final = 1
    SECRET: Final = 2
    PERSONAL: Final = 3


@lru_cache(maxsize=4096)
def kind_of(name: str) -> int:
    """Which of ``Kind`` a key of an object is."""
    if len(name) > 200:
        return Kind.NOTHING
    squeezed = name.lower().translate(_SQUEEZE)
    if (found := _NAME.fullmatch(squeezed)) is not None and _PLAIN_NAMES.fullmatch(squeezed) is None:
        return Kind.PERSONAL if found["personal"] else Kind.SECRET
    return Kind.WEAK if _WEAK_NAME.fullmatch(name) is not None else Kind.NOTHING


_PLAIN_RUN: Final = re.compile(
    r"(?:0x)?[0-9a-f]+|[0-9A-F]+|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|(?:sha\d{1,3}|md5)[:=-].*|"
    r"[a-z]{2,12}_[0-9a-f]{16,}|[a-z]+(?:[_.:/-][a-z0-9]+)*|[A-Z]+(?:[_.-][A-Z0-9]+)*|[0-9T:.+Z-]+"
)
"""Digests, UUIDs, our own ids, names of code and times."""


def looks_drawn(text: str) -> bool:
    """Whether ``text`` looks like drawn from a generator of secrets, and not like a digest, an id or a word."""
    if not 20 <= len(text) <= 4096 or _PLAIN_RUN.fullmatch(text) is not None:
        return False
    classes = (
        any(c.islower() for c in text) + any(c.isupper() for c in text) + any(c.isdigit() for c in text)
    )
    if classes < 3 or any(c.isspace() for c in text):
        return False
    counts = Counter(text)
    entropy = -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values())
    return entropy >= 3.7


_NOT_SECRET: Final = re.compile(
    r"(?i:none|null|nil|true|false|undefined|nan|str|string|bytes|int|integer|bool|boolean|number|object|any|optional|"
    r"text|type|required|missing|expired|invalid|unset|empty|wrong|unknown|absent|present|changed|rotated|self|this|"
    r"basic|bearer|digest|strict|lax|secure|httponly|session|redacted|hidden|default|function|return|lambda|await|"
    r"new|not|the|value|file|yes|no|on|off|ok|example|x{3,}|\*{2,}|\.{2,}|-{2,})[.!?:]?"
    r"|(?:env|file|secret|vault|ref|arn|op):[^\s]{1,256}"
    r"|\$.*|%[(A-Za-z].*|\{.*|<.*|\[.*|\(.*|#.*|/[a-z.][A-Za-z0-9_./-]*|\./.*|~/.*|@.*"
)
"""A type, a state, a placeholder, a path, a reference to where the secret is."""
_CODE: Final = re.compile(r"[A-Za-z_]+(?:(?:\.|->|::)[A-Za-z_]+)+|[A-Za-z_]\w*(?=\Z)")
_REFERENCE: Final = re.compile(r"[a-z]+(?:[_.-][a-z]+)*")


def is_plain(value: str) -> bool:
    """Whether a value that stands under a secret's name says itself that it is none."""
    return _NOT_SECRET.fullmatch(value) is not None


_TEXT_NAMES: Final = (
    r"pass(?:word|wd|phrase|code)|passwort|pwd|secret|token|api[_\-. ]?key|apikey|credential|"
    r"(?:access|account|shared|private|signing|encryption|master|auth|secret|service|client|storage|subscription|"
    r"function|host|admin|deploy|session|webhook|license|application|app|ingest|integration|routing|write|server|"
    r"hmac|jwt|fernet|ssh)[_\-. ]?key|pgpass|"
    r"session[_\-. ]?id|sessid|php_?sessid|jsessionid|connect\.sid|connection[_\-. ]?string|cvv2?|cvc|ssn|"
    r"user_?pass|mnemonic"
)
_TAIL: Final = r"s?(?:[_-]?(?:value|text|string|base|hash|b64|base64|raw|key))?[0-9]{0,2}"
_QUOTE: Final = r"(?:\\{0,3}[\"'`]|%22|%27|&quot;)"
_SEPARATOR: Final = (
    rf"(?:{_QUOTE}|\])?(?:\s{{0,4}}(?:=>|:=|={{1,2}}|:|%3[AaDd])\s{{0,4}}|(?<=[A-Za-z0-9])>)"
)
_BARE: Final = r"[^\s\"'`,;&<>{}\[\]()\\|]"

_ASSIGNED: Final = re.compile(
    rf"(?P<name>(?:{_TEXT_NAMES}){_TAIL})(?P<between>{_SEPARATOR})"
    rf"(?:[bru]?(?P<open>{_QUOTE})(?P<quoted>[^\"'`\\\n]{{1,4096}})|(?P<bare>{_BARE}{{4,}}))",
    re.IGNORECASE,
)
_WEAKLY: Final = re.compile(
    rf"(?P<name>(?<![A-Za-z])(?:key|sig|signature|code|auth|salt|license|otp|state|session|sid))"
    rf"(?P<between>{_SEPARATOR})[bru]?(?P<open>{_QUOTE})?(?P<value>[A-Za-z0-9+/_=%.~-]{{20,}})",
    re.IGNORECASE,
)
_OPTION: Final = re.compile(
    r"(?P<name>--?[a-z0-9-]{0,40}(?:password|passwd|passphrase|token|secret|api-?key|credential)s?\s{1,4})"
    r"(?P<quote>[\"']?)(?P<value>[^\s\"'-][^\s\"']{3,})",
    re.IGNORECASE,
)
_PAIR: Final = re.compile(
    r"(?P<name>[(\[]\s?b?[\"'][A-Za-z0-9_.-]{0,60}(?:authorization|cookie|password|token|secret|api[_-]?key|"
    r"signature(?:-256)?)[\"'],\s?b?[\"'])(?P<value>[^\"'\n]{1,8192})",
    re.IGNORECASE,
)
_HEADER: Final = re.compile(
    rf"(?P<name>(?<![A-Za-z])(?:proxy[_-])?authorization{_SEPARATOR}{_QUOTE}?"
    r"(?:(?:bearer|basic|token|digest|apikey|api-key|bot|key|negotiate|ntlm|splunk|hmac|genieKey|sso-key|oauth|"
    r"aws4-hmac-sha256)(?:\s{1,4}|%20))?)(?P<value>[^\s\"'`\\,;<>\[\]][^\"'`\\\n<>\[\]]{2,})",
    re.IGNORECASE,
)
_COOKIE: Final = re.compile(
    rf"(?P<name>(?<![A-Za-z])(?:set-)?cookie{_SEPARATOR}{_QUOTE}?)(?P<value>[^\s\"'`\\\[\]=;]{{1,200}}=[^\"'`\\\n\[\]]{{3,}})",
    re.IGNORECASE,
)
_SIGNED: Final = re.compile(
    r"(?P<name>(?:x-amz-(?:signature|security-token|credential)|x-goog-(?:signature|credential)|"
    r"x-hub-signature(?:-256)?|x-slack-signature|stripe-signature|webhook-signature|twilio-signature)"
    rf"{_SEPARATOR}{_QUOTE}?)(?P<value>[^\s\"'`&<>\[\]]{{8,}})",
    re.IGNORECASE,
)


def _kept(found: Found, start: int, end: int) -> str:
    """The match with what is between two places of the text replaced."""
    whole, origin = found[0], found.start()
    return f"{whole[: start - origin]}{REDACTED}{whole[end - origin :]}"


def _assigned(found: Found) -> str:
    if found["quoted"] is not None:
        plain = is_plain(found["quoted"].strip())
        return found[0] if plain else _kept(found, *found.span("quoted"))
    value = found["bare"]
    if REDACTED in value or is_plain(value) or _is_code(found, value):
        return found[0]
    return _kept(found, *found.span("bare"))


def _is_code(found: Found, value: str) -> bool:
    """Whether what stands behind a name without quotes is an expression, a word of prose or a count."""
    name, between = found["name"].lower(), found["between"]
    if value.isdecimal():
        return name.startswith(("token", "api")) or name.endswith("s")
    following = found.string[found.end() : found.end() + 2]
    if following[:1] in ("(", "[") and _CODE.match(value):
        return True
    if "." in value and _CODE.fullmatch(value) is not None:
        return True
    word = value.rstrip(".!?:")
    if not word.replace("_", "").replace("-", "").isalpha():
        return False
    if word.lower() in name or name.startswith(word.lower()):
        return True
    spaced = between[-1:].isspace()
    if spaced and "=" in between:
        return True
    return spaced and (following[:1] == " " and following[1:].isalnum() or value != word)


def _weakly(found: Found) -> str:
    value = found["value"]
    return _kept(found, *found.span("value")) if looks_drawn(value) else found[0]


def _value(found: Found) -> str:
    value = found["value"]
    if value.startswith(REDACTED) or is_plain(value.strip()):
        return found[0]
    return _kept(found, *found.span("value"))


def _header(found: Found) -> str:
    """A header's value goes whole, unless it is a sentence about the header."""
    value = found["value"].rstrip()
    scheme = found["name"].rstrip()[-1:].isalpha()
    if is_plain(value) or (not scheme and not any(c.isdigit() or c in "=+/_" for c in value) and " " in value):
        return found[0]
    start = found.start("value")
    return _kept(found, start, start + len(value))


def _rule(kind: str, keywords: str, pattern: re.Pattern[str], replace: object, hint: str) -> Rule:
    assert callable(replace)
    return Rule(kind, tuple(keywords.split()), pattern, replace, hint)


_HINT_SEPARATOR: Final = r"(?:[\\\"'`\]]|%2[27]|&quot;)*[ \t\r\n]*(?:=|:|>|%3[AaDd])"

NAMES: Final = (
    _rule(
        "header",
        "authorization",
        _HEADER,
        _header,
        rf"(?i:authorization){_HINT_SEPARATOR}",
    ),
    _rule("cookie", "cookie", _COOKIE, _header, rf"(?i:cookie){_HINT_SEPARATOR}"),
    _rule("signature", "signature x-amz- x-goog-", _SIGNED, _value, rf"(?i:-(?:signature(?:-256)?|token|credential)){_HINT_SEPARATOR}"),
    _rule(
        "assignment",
        "pass pwd secret token key credential session sessid sid connection cvv cvc ssn mnemonic",
        _ASSIGNED,
        _assigned,
        rf"(?i:{_TEXT_NAMES})(?i:{_TAIL}){_HINT_SEPARATOR}",
    ),
    _rule(
        "option",
        "pass token secret key credential",
        _OPTION,
        _value,
        r"(?i:-(?:password|passwd|passphrase|token|secret|api-?key|credential)s?)[ \t\r\n]",
    ),
    _rule(
        "pair",
        "authorization cookie password token secret api signature",
        _PAIR,
        _value,
        r"(?i:authorization|cookie|password|token|secret|api[_-]?key|signature(?:-256)?)[\"'],[ \t\r\n]?b?[\"']",
    ),
    _rule(
        "weakly named",
        "key sig code auth salt license otp state session sid",
        _WEAKLY,
        _weakly,
        rf"(?i:key|sig|signature|code|auth|salt|license|otp|state|session|sid){_HINT_SEPARATOR}[ \t\r\n]*[\"'\\]{{0,2}}"
        r"[A-Za-z0-9+/_=%.~-]{12}",
    ),
)
