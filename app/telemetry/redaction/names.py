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

from app.telemetry.redaction.rules import REDACTED, Found, Rule, Span, grouped, near

_PERSONAL: Final = (
    "password|passwd|passphrase|passcode|passwort|pwd|pgpass|cvv2?|cvc|ssn|socialsecurity(?:number)?|taxid|iban|"
    "(?:credit|debit)?card(?:number|no)|creditcard|phone(?:number)?|mobile(?:number)?|telephone(?:number)?|otp|totp"
)
"""A number under one of these is one, too."""
_CONFIDENTIAL: Final = (
    "secret|token|apikey|authorization|cookie|credential|auth|bearer|xapp|xsignature|hubsignature(?:256)?|"
    "(?:access|account|shared|sharedaccess|private|signing|encryption|master|auth|secret|service|client|storage|"
    "subscription|function|host|admin|deploy|session|webhook|secretaccess|license|application|app|ingest|integration|"
    "write|server|api|sas|hmac|jwt|encrypt|decryption|crypto|ssh|pgp|gpg|aes|rsa|fernet|sentry)key|"
    "session(?:id)?|sessid|phpsessid|jsessionid|sid|connectionstring|connstr|dsn|"
    "(?:webhook|hook)url|sastoken|userpass|privkey|recoverycodes?|seedphrase|mnemonic"
)
_NAME: Final = re.compile(
    f"(?:.*)(?:(?P<personal>{_PERSONAL})|(?P<secret>{_CONFIDENTIAL}))s?(?:value|text|string|base|hash|base64|b64|raw)?[0-9]{{0,2}}"
)
_PLAIN_NAMES: Final = re.compile(
    r".*(?:public(?:key|token)|author|session|oauth|(?:next|page|prev|previous|continuation|sync)(?:page)?token|prompttokens?|"
    r"completiontokens?|(?:in|out)puttokens?|maxtokens?|totaltokens?)"
)
_WEAK_NAME: Final = re.compile(
    r"(?:.*[_.\- ])?(?:key|sig|signature|code|salt|hmac|license|otp|nonce|state|seed|session|cert)",
    re.IGNORECASE,
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
    r"[a-z]{2,12}_[0-9a-f]{16,}|[a-z_]+(?:\.\w+)+|[a-z]+(?:[_.:/-][a-z0-9]+)*|[A-Z]+(?:[_.-][A-Z0-9]+)*|[0-9T:.+Z-]+"
)
"""Digests, UUIDs, our own ids, names of code and times."""


def looks_drawn(text: str) -> bool:
    """Whether ``text`` looks like drawn from a generator of secrets, and not like a digest, an id or a word."""
    if not 20 <= len(text) <= 4096 or _PLAIN_RUN.fullmatch(text) is not None:
        return False
    classes = any(c.islower() for c in text) + any(c.isupper() for c in text) + any(c.isdigit() for c in text)
    if classes < 3 or any(c.isspace() for c in text):
        return False
    counts = Counter(text)
    entropy = -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values())
    return entropy >= 3.7


_LONGEST_PLAIN: Final = 256
_NOT_SECRET: Final = re.compile(
    r"(?i:none|null|nil|true|false|undefined|nan|str|string|bytes|int|integer|bool|boolean|number|object|any|optional|"
    r"text|type|required|missing|expired|invalid|unset|empty|wrong|unknown|absent|present|changed|rotated|self|this|"
    r"basic|bearer|digest|strict|lax|secure|httponly|session|redacted|hidden|default|function|return|lambda|await|"
    r"new|not|the|value|file|yes|no|on|off|ok|example|key|token|secret|password|username|test|x{3,}|\*{2,}|\.{2,}|-{2,})[.!?:]?"
    r"|(?:env|file|secret|vault|ref|arn|op):[^\s]{1,256}"
    r"|\$\{.*|\$\(.*|\$(?:[A-Z_][A-Z0-9_]*|[a-z_]+)|%\([a-z_]+\)[a-z]|%[a-zA-Z_]+%?|\{\{.*|\{[A-Za-z_.]*\}|"
    r"<[A-Za-z _.:-]+>|\[[A-Za-z _-]*\]?|/[a-z0-9_./-]*|\./[a-z0-9_./-]*|~/.*"
)
"""A type, a state, a placeholder, a path, a reference to where the secret is."""
_CODE: Final = re.compile(r"[A-Za-z_]+(?:(?:\.|->|::)[A-Za-z_]+)+")


def is_plain(value: str) -> bool:
    """Whether a value that stands under a secret's name says itself that it is none; a long one does not."""
    return len(value) <= _LONGEST_PLAIN and _NOT_SECRET.fullmatch(value) is not None


_TEXT_NAMES: Final = (
    r"pass(?:word|wd|phrase|code)|passwort|pwd|secret|token|api[_\-. ]?key|apikey|credential|"
    r"(?:access|account|shared|private|signing|encryption|master|auth|secret|service|client|storage|subscription|"
    r"function|host|admin|deploy|session|webhook|license|application|app|ingest|integration|write|server|"
    r"hmac|jwt|fernet|ssh)[_\-. ]?key|pgpass|"
    r"session[_\-. ]?id|sessid|php_?sessid|jsessionid|connect\.sid|connection[_\-. ]?string|cvv2?|cvc|ssn|"
    r"user_?pass|mnemonic"
)
_TAIL: Final = r"s?(?:[_-]?(?:value|text|string|base|hash|b64|base64|raw|key))?[0-9]{0,2}"
_QUOTE: Final = r"(?:\\{0,3}[\"'`]|%22|%27|&quot;)"
_SEPARATOR: Final = rf"(?:{_QUOTE}|\])?(?:\s{{0,4}}(?:=>|:=|=(?![=])|:|%3[ad])\s{{0,4}}|(?<=[a-z0-9])>)"
_BARE: Final = r"[^\s\"'`,;&<>{}\[\]()\\|]"


def _is_public(found: Found, text: str) -> bool:
    return text[max(0, found.start() - 7) : found.start()].rstrip("_-").lower().endswith("public")


def _assigned(found: Found, text: str) -> Span | None:
    if _is_public(found, text):
        return None
    start, end = found.span("quoted")
    if start >= 0:
        value = text[start:end].strip()
        is_label = found["name"].endswith("key") and _LABEL.fullmatch(value) is not None
        return None if is_plain(value) or is_label or _SENTENCE.fullmatch(value) else (start, end)
    start, end = found.span("bare")
    value = text[start:end]
    return None if is_plain(value) or _is_code(found, text, value) else (start, end)


_LABEL: Final = re.compile(r"[a-z]+(?:[_.:-][a-z]+)*")
_SENTENCE: Final = re.compile(r"[A-Za-z',.]+(?: [A-Za-z',.]+){4,}")
_CALL: Final = re.compile(r"[A-Za-z_][\w.]*[(\[]")
_COUNT: Final = re.compile(r"[0-9][0-9_,.]*|0x[0-9a-f]{1,8}")
_OF_SECRETS: Final = re.compile(r"token|secret|key|passw|credential|auth|session|cookie")


def _is_code(found: Found, text: str, value: str) -> bool:
    """Whether what stands behind a name without quotes is an expression, a word of prose or a count."""
    if len(value) > _LONGEST_PLAIN:
        return False
    name, between = found["name"], found["between"]
    if _COUNT.fullmatch(value) is not None:
        return name.startswith(("token", "api")) or name.endswith("s")
    following = text[found.end() : found.end() + 2]
    if _CALL.match(value + following[:1]) or ("." in value and _CODE.fullmatch(value)):
        return True
    word = value.rstrip(".!?:")
    if not word.replace("_", "").replace("-", "").isalpha():
        return False
    if (name, between) == ("secret", ":") or following in (" =", " |", " +"):
        return True
    if word.lower() in name or name.endswith("s") or _OF_SECRETS.search(word.lower()) is not None:
        return True
    spaced = between[-1:].isspace()
    if spaced and "=" in between:
        return True
    return spaced and ((following[:1] == " " and following[1:].isalnum()) or value != word)


def _weakly(found: Found, text: str) -> Span | None:
    if _is_public(found, text):
        return None
    start, end = found.span("value")
    return (start, end) if looks_drawn(text[start:end]) else None


def _value(found: Found, text: str) -> Span | None:
    start, end = found.span("value")
    value = text[start:end]
    return None if value.startswith(REDACTED) or is_plain(value.strip()) else (start, end)


_PAIR_OPENS: Final = re.compile(r"[(\[]\s?b?[\"'][A-Za-z0-9_.-]{0,60}\Z")


def _paired(found: Found, text: str) -> Span | None:
    """A header as a pair, in repr; the same in a list of names is none."""
    if "value" not in found["name"]:
        opens = _PAIR_OPENS.search(text[max(0, found.start() - 64) : found.start()])
        if opens is None:
            return None
    return _value(found, text)


def _header(found: Found, text: str) -> Span | None:
    """A header's value goes whole, unless it is a sentence about the header."""
    start, end = found.span("value")
    value = text[start:end].rstrip()
    if is_plain(value) or _CALL.match(value) or value.startswith("str |"):
        return None
    has_scheme = found["name"].rstrip()[-1:].isalpha()
    is_sentence = " " in value and not any(character.isdigit() or character in "=+/_" for character in value)
    if is_sentence and not has_scheme and len(value) <= _LONGEST_PLAIN:
        return None
    return start, start + len(value)


_HINT_SEPARATOR: Final = r"(?:[\\\"'`\]]|%2[27]|&quot;)*[ \t\r\n]*(?:=|:|>|%3[AaDd])"

NAMES: Final = (
    Rule(
        "header",
        rf"(?i:authorization){_HINT_SEPARATOR}",
        near(
            "authorization",
            rf"(?P<name>authorization(?<![a-z]authorization){_SEPARATOR}{_QUOTE}?"
            r"(?:(?:bearer|basic|token|digest|apikey|api-key|bot|key|negotiate|ntlm|splunk|hmac|geniekey|sso-key|oauth|"
            r"aws4-hmac-sha256)(?:\s{1,4}|%20))?)(?P<value>[^\s\"'`\\,;<>\[\]][^\"'`\\\n<>\[\]]{2,})",
            _header,
        ),
    ),
    Rule(
        "cookie",
        rf"(?i:cookie){_HINT_SEPARATOR}",
        near(
            "cookie",
            rf"(?P<name>cookie(?<![a-z]cookie){_SEPARATOR}{_QUOTE}?)"
            r"(?P<value>[^\s\"'`\\\[\]=;]{1,200}=[^\"'`\\\n\[\]]{3,})",
            _header,
        ),
    ),
    Rule(
        "signature",
        rf"(?i:-(?:signature(?:-256)?|token|credential)){_HINT_SEPARATOR}",
        near(
            "x-amz- x-goog- x-hub- x-slack- stripe- webhook- twilio-",
            r"(?P<name>(?:x-amz-(?:signature|security-token|credential)|x-goog-(?:signature|credential)|"
            r"x-hub-signature(?:-256)?|(?:x-slack|stripe|webhook|twilio)-signature)"
            rf"{_SEPARATOR}{_QUOTE}?)(?P<value>[^\s\"'`&<>\[\]]{{8,}})",
            _value,
        ),
    ),
    Rule(
        "assignment",
        rf"(?i:{_TEXT_NAMES})(?i:{_TAIL}){_HINT_SEPARATOR}",
        near(
            "pass pwd secret token api credential access account shared private signing encryption master auth service "
            "client storage subscription function host admin deploy session webhook license app ingest integration "
            "write server hmac jwt fernet ssh pgpass sessid php jsessionid connect cvv cvc ssn user mnemonic",
            rf"(?P<name>(?:{_TEXT_NAMES}){_TAIL})(?P<between>{_SEPARATOR})"
            rf"(?:[bru]?(?P<open>{_QUOTE})(?P<quoted>[^\s\"'`\\][^\"'`\\\n]{{0,4095}})|(?P<bare>{_BARE}{{4,}}))",
            _assigned,
        ),
    ),
    Rule(
        "option",
        r"--[a-z-]*(?i:password|passwd|passphrase|token|secret|api-?key|credential)s?[ \t\r\n]",
        near(
            "--",
            r"(?P<name>--(?<![^\s\"'`\[,]--)(?:[a-z0-9]{1,20}-){0,3}"
            r"(?:password|passwd|passphrase|token|secret|api-?key|credential)s?\s{1,4})"
            r"[\"']?(?P<value>[^\s\"'-][^\s\"']{3,})",
            _value,
        ),
    ),
    Rule(
        "pair",
        r"(?i:authorization|cookie|password|token|secret|api[_-]?key|signature(?:-256)?)\\?[\"'](?:,[ \t\r\n]?b?[\"']|"
        r"(?i:[ \t\r\n,\"'\\]*value))",
        near(
            "authorization cookie password token secret api signature",
            r"(?P<name>(?:authorization|cookie|password|token|secret|api[_-]?key|signature(?:-256)?)"
            r"\\?[\"'](?:,\s?b?|,?\s{0,20}\\?[\"']?value\\?[\"']?\s?[:=]\s?)\\?[\"'])(?P<value>[^\"'\n]{1,8192})",
            _paired,
        ),
    ),
    Rule(
        "weakly named",
        rf"(?i:key|sig|signature|code|auth|salt|license|otp|state|session|sid){_HINT_SEPARATOR}"
        r"[ \t\r\n]*[\"'\\]{0,2}[A-Za-z0-9+/_=%.~-]{12}",
        near(
            "key sig code auth salt license otp state session sid",
            r"(?:key|sig|signature|code|auth|salt|license|otp|state|session|sid)(?<![a-z]key)"
            rf"{_SEPARATOR}[bru]?{_QUOTE}?(?P<value>[a-z0-9+/_=%.~-]{{20,}})",
            _weakly,
            leap=True,
        ),
    ),
)

GROUPS: Final = grouped(NAMES, 3)
