"""What secrets look like, from their issuers' documented formats, and what has to be in a text before one is sought.

A token is a prefix and then a run of characters. It is taken to the end of its run, so that nothing of it is left
and a second pass begins where the first did. No pattern has an unbounded part inside another, and each run is tried
from its beginning only: the time is in proportion to the text.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from app.telemetry.redaction.screen import Screen

REDACTED: Final = "[redacted]"

Found = re.Match[str]
Span = tuple[int, int]
Judge = Callable[[Found, str], Span | None]
"""Which part of what was found goes, asked with the text it was found in; None: it is no secret."""
Find = Callable[[str, str], Iterable[Span]]
"""What goes of a text, which is given as it is and in small letters; from left to right."""


class Rule(NamedTuple):
    """How one kind is found."""

    kind: str
    hint: str
    """The same for the screen, which may suspect more and never less."""
    find: Find


class Group(NamedTuple):
    """Rules that one screen stands in front of."""

    screen: Screen
    rules: tuple[Rule, ...]


_ESCAPED = re.compile(r"\\[nrtbf]")


def as_read(text: str) -> str:
    """The text as rules read it, each character where it was: the letter of an escape (``\\n``) begins no word."""
    return _ESCAPED.sub(r"\\ ", text) if "\\" in text else text


def in_small_letters(text: str) -> str:
    """The text in small letters, each where it was: of all letters, one alone would become two."""
    small = text.lower()
    return small if len(small) == len(text) else text.replace("\u0130", "I").lower()


_compiled = lru_cache(maxsize=None)(re.compile)
"""When a pattern is first needed: most processes need few of them."""


def whole(found: Found, _text: str) -> Span | None:
    """All of what was found goes."""
    return found.span()


def behind(found: Found, _text: str) -> Span | None:
    """What follows the introduction goes."""
    return found.end(1), found.end()


def scan(pattern: str, judge: Judge = whole, *, needs: str = "") -> Find:
    """Try a pattern all over a text, when what it ``needs`` is in there in small letters."""

    def find(text: str, small: str) -> Iterator[Span]:
        if needs in small:
            for found in _compiled(pattern).finditer(text):
                if (span := judge(found, text)) is not None:
                    yield span

    return find


def near(words: str, pattern: str, judge: Judge = whole, *, leap: bool = False) -> Find:
    """Try a pattern of small letters where one of some words begins.

    A pattern that begins with alternatives costs fifty times as much for each character of the text. With ``leap``,
    nothing is sought in what was found to be no secret.
    """
    begins = tuple(words.split())

    def find(text: str, small: str) -> Iterator[Span]:
        compiled, done = _compiled(pattern), 0
        for at in _places(begins, small):
            if at >= done and (found := compiled.match(small, at)) is not None:
                span = judge(found, text)
                if span is not None:
                    yield span
                if span is not None or leap:
                    done = found.end()

    return find


def _places(words: Sequence[str], small: str) -> list[int]:
    places: set[int] = set()
    for word in words:
        at = small.find(word)
        while at >= 0:
            places.add(at)
            at = small.find(word, at + 1)
    return sorted(places)


_ESCAPES = ("%[0-9A-Fa-f]{2}", r"\\u[0-9A-Fa-f]{4}", r"\\x[0-9A-Fa-f]{2}")
_WORD = "A-Za-z0-9"
_URL_SAFE = "A-Za-z0-9_-"
_BASE64 = "A-Za-z0-9+/_=-"


def _begins(literal: str) -> str:
    """``literal`` where a run begins, also behind an escape in hex, of JSON, Python or a URL.

    What stands before is looked at from behind the literal, so that ``re`` leaps from one literal to the next.
    """
    behind_escapes = "|".join(f"(?<={escape}{literal})" for escape in _ESCAPES)
    return f"{literal}(?:(?<![A-Za-z0-9]{literal})|{behind_escapes})"


def _token(kind: str, prefix: str, characters: str, least: int, most: int = 0, more: str = "") -> Rule:
    """A prefix, ``more`` and then at least so many characters of a class, to the end of their run.

    With ``most``, a longer run is something else: short prefixes of letters begin words, too.
    """
    count, end = (f"{{{least},{most}}}", f"(?![{characters}])") if most else (f"{{{least},}}", "")
    literal = re.escape(prefix)
    return Rule(
        kind,
        f"{literal}{more}[{characters}]{{{min(least, 8)}}}",
        scan(f"{_begins(literal)}{more}[{characters}]{count}{end}", needs=prefix.lower()),
    )


TOKENS: Final = (
    _token("age", "AGE-SECRET-KEY-1", "A-Z0-9", 20),
    _token("airtable", "pat", "a-f0-9", 32, more=r"[A-Za-z0-9]{14}\."),
    _token("alibaba", "LTAI", _WORD, 12, 30),
    _token("anthropic, openai and others", "sk-", _URL_SAFE, 16),
    _token("artifactory", "AKCp", _WORD, 50),
    _token("atlassian", "ATATT3", "A-Za-z0-9_=-", 20),
    _token("atlassian", "ATCTT3", "A-Za-z0-9_=-", 20),
    _token("atlassian", "ATBB", "A-Za-z0-9_=-", 20),
    _token("aws access key id", "AKIA", "A-Z0-9", 16),
    _token("aws access key id", "ASIA", "A-Z0-9", 16),
    _token("aws access key id", "ABIA", "A-Z0-9", 16),
    _token("aws access key id", "ACCA", "A-Z0-9", 16),
    _token("aws bedrock", "ABSK", "A-Za-z0-9+/=", 60),
    _token("brevo", "xkeysib-", "A-Za-z0-9-", 32),
    _token("brevo", "xsmtpsib-", "A-Za-z0-9-", 32),
    _token("buildkite", "bkua_", _WORD, 30),
    _token("circleci", "CCIP", _URL_SAFE, 30, more="(?:AT|RJ)_"),
    _token("cloudflare", "cf", _URL_SAFE, 30, more="(?:at|ut|k)_"),
    _token("cloudflare origin ca", "v1.0-", "a-f0-9", 100, more="[a-f0-9]{24}-"),
    _token("contentful", "CFPAT-", _URL_SAFE, 30),
    _token("crates.io", "cio", _WORD, 32, 32),
    _token("databricks", "dapi", "a-f0-9-", 32),
    _token("digitalocean", "do", "a-f0-9", 32, more="[por]_v1_"),
    _token("docker hub", "dckr_", _URL_SAFE, 20, more="[a-z]at_"),
    _token("doppler", "dp.", _WORD, 32, more=r"(?:pt|st|ct|sa|scim|audit)\.(?:[a-z0-9_-]{2,40}\.)?"),
    _token("dropbox", "sl.", _URL_SAFE, 60, more=r"(?:u\.)?"),
    _token("dynatrace", "dt0", "A-Z0-9", 32, more=r"[a-z][0-9]{2}\.[A-Z0-9]{24}\."),
    _token("facebook", "EAA", _WORD, 60, more="[A-Z]"),
    _token("figma", "fig", _URL_SAFE, 30, more="[dour]_"),
    _token("fly.io", "fo1_", _BASE64, 30),
    _token("fly.io", "fm", _BASE64, 30, more="(?:1[ar]|2)_"),
    _token("github", "gh", "A-Za-z0-9_", 20, more="[pousr]_"),
    _token("github fine-grained", "github_pat_", "A-Za-z0-9_", 20),
    _token(
        "gitlab",
        "gl",
        "A-Za-z0-9_.=-",
        16,
        more="(?:pat|dt|rt|cbt|ptt|ft|soat|imt|agent|oas|ffct|wt|rtr|tst)-",
    ),
    _token("gitlab runner registration", "GR1348941", _URL_SAFE, 16),
    _token("google api key", "AIza", _URL_SAFE, 30),
    _token("google client secret", "GOCSPX-", _URL_SAFE, 20),
    _token("google access token", "ya29.", "A-Za-z0-9_.-", 20),
    _token("google refresh token", "1//0", _URL_SAFE, 30),
    _token("grafana", "glsa_", _BASE64, 30),
    _token("grafana", "glc_", _BASE64, 30),
    _token("groq", "gsk_", _WORD, 30),
    _token("heroku", "HRKU-", _URL_SAFE, 30),
    _token("hugging face", "hf_", _WORD, 30),
    _token("hugging face", "api_org_", _WORD, 30),
    _token("jwt", "eyJ", "A-Za-z0-9_.-", 4, more=r"[A-Za-z0-9_-]{8,}\."),
    _token("encoded json", "eyJ", "A-Za-z0-9+/_=-", 60),
    _token("linear", "lin_", _WORD, 30, more="(?:api|oauth|wh)_"),
    _token("mailgun", "key-", "a-f0-9", 32, 32),
    _token("mailgun", "pubkey-", "a-f0-9", 32, 32),
    _token("mapbox", "sk.eyJ", "A-Za-z0-9_.-", 30),
    _token("netlify", "nf", _WORD, 30, more="[pcoub]_"),
    _token("new relic", "NR", _URL_SAFE, 19, more="(?:AK|RA|AL|II|IQ|JS|SP|BR)-"),
    _token("notion", "ntn_", _WORD, 30),
    _token("npm", "npm_", _WORD, 30),
    _token("nuget", "oy2", "a-z0-9", 43, 43),
    _token("1password", "ops_eyJ", _BASE64, 60),
    _token("paypal", "access_token$", "a-f0-9", 32, more=r"(?:production|sandbox)\$[a-z0-9]{16}\$"),
    _token("perplexity", "pplx-", _WORD, 30),
    _token("planetscale", "pscale_", "A-Za-z0-9_.=-", 30, more="(?:tkn|oauth|pw)_"),
    _token("postman", "PMA", "A-Za-z0-9-", 24, more="[KT]-"),
    _token("prefect", "pn", _WORD, 30, more="[ub]_"),
    _token("pulumi", "pul-", "a-f0-9", 40, 40),
    _token("pypi", "pypi-", _URL_SAFE, 20),
    _token("replicate", "r8_", _WORD, 30),
    _token("rubygems", "rubygems_", "a-f0-9", 32),
    _token("sendgrid", "SG.", _URL_SAFE, 16, more=r"[A-Za-z0-9_-]{16,32}\."),
    _token("sentry", "sntry", _BASE64, 30, more="[su]_"),
    _token("shopify", "shp", _WORD, 24, more="(?:at|ca|pa|ss|ua|tka)_"),
    _token("sourcegraph", "sgp_", "a-fA-F0-9_", 32, more="(?:local_)?"),
    _token("slack", "xox", "A-Za-z0-9-", 10, more=r"[a-z](?:\.xox[a-z])?-"),
    _token("slack app", "xapp-", "A-Za-z0-9-", 20),
    _token("square", "sq0", _URL_SAFE, 20, more="[a-z]{3}-"),
    _token("square access token", "EAAA", _URL_SAFE, 56),
    _token("stripe", "sk_", "A-Za-z0-9_", 10, more="(?:live|test|org)_"),
    _token("stripe", "rk_", "A-Za-z0-9_", 10, more="(?:live|test|org)_"),
    _token("supabase", "sbp_", "A-Za-z0-9_", 20),
    _token("supabase", "sb_secret_", _URL_SAFE, 20),
    _token("twilio", "SK", "a-f0-9", 32, 32),
    _token("typeform", "tfp_", "A-Za-z0-9_.=-", 30),
    _token("vault", "hv", "A-Za-z0-9_-", 20, more=r"[sbr]\."),
    _token("vercel", "vc", _WORD, 24, more="[piark]_"),
    _token("webhook signing secret", "whsec_", "A-Za-z0-9+/=_", 16),
    _token("x.ai", "xai-", _WORD, 40),
    _token("yandex", "AQVN", _URL_SAFE, 35),
)


def _basic(found: Found, text: str) -> Span | None:
    """``Basic`` is a word, too: what follows has to be a user and a password in base64, or look like nothing else."""
    credentials = text[found.start(2) : found.end()]
    try:
        told = base64.b64decode(credentials.translate(_TO_BASE64) + "=" * (-len(credentials) % 4))
    except (binascii.Error, ValueError):
        told = b""
    if b":" in told or credentials.endswith("=") or _MIXED.search(credentials) is not None:
        return found.span(2)
    return None


_TO_BASE64: Final = str.maketrans("-_", "+/")
_MIXED: Final = re.compile(r"[a-z][A-Z0-9].*[0-9]")

OTHERS: Final = (
    Rule(
        "pem, ssh and pgp private keys",
        "-----BEGIN [A-Z0-9 ]*PRIVATE KEY",
        scan(
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
            r"(?:(?!-----END )[\s\S])*(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)?"
        ),
    ),
    Rule(
        "azure client secret",
        r"[0-9]Q~[A-Za-z0-9_~.-]{31}",
        scan(r"(?<![A-Za-z0-9_~.-])[A-Za-z0-9_~.-]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,}", needs="q~"),
    ),
    Rule(
        "azure devops, storage and functions",
        r"[A-Za-z0-9+/]{32}(?:AZDO|AzFu|AzSe|AzCa|\+ASt|\+ASb|\+AEh|\+ARm|\+ACR)[A-Za-z0-9+/]{4}",
        scan(
            r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{32,76}(?:AZDO|AzFu|AzSe|AzCa|\+ASt|\+ASb|\+AEh|\+ARm|\+ACR)"
            r"[A-Za-z0-9+/]{4,6}={0,2}",
        ),
    ),
    Rule(
        "discord bot",
        r"[MNO][A-Za-z0-9_-]{22,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27}",
        scan(r"(?<![A-Za-z0-9_.-])[MNO][A-Za-z0-9_-]{22,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,}"),
    ),
    Rule(
        "mailchimp",
        r"[a-f0-9]{32}-us[0-9]",
        scan(r"(?<![A-Za-z0-9])[a-f0-9]{32}-us[0-9]{1,2}(?![A-Za-z0-9])", needs="-us"),
    ),
    Rule(
        "new relic licence",
        r"[A-Za-z0-9]{32}NRAL",
        scan(r"(?<![A-Za-z0-9])[A-Za-z0-9]{32,36}NRAL(?![A-Za-z0-9])", needs="nral"),
    ),
    Rule(
        "terraform",
        r"\.atlasv1\.",
        scan(r"(?<![A-Za-z0-9])[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_-]{40,}", needs=".atlasv1."),
    ),
    Rule(
        "telegram bot",
        r"[0-9]{8}:AA[A-Za-z0-9_-]{30}",
        scan(r"(?<![0-9])[0-9]{8,10}:AA[A-Za-z0-9_-]{30,}", needs=":aa"),
    ),
    Rule(
        "password hash",
        r"\$(?:2[abxy]\$[0-9]{2}|[156]|argon2i?d?\$v=[0-9]{1,3}|scrypt|y)\$[A-Za-z0-9./+=,$]{20}",
        scan(
            r"\$(?:2[abxy]\$[0-9]{2}|[156]|argon2(?:id|i|d)\$v=[0-9]{1,3}|scrypt|y)\$[A-Za-z0-9./+=,$]{20,}",
            needs="$",
        ),
    ),
    Rule(
        "webhook addresses of slack, discord and teams",
        r"(?i:slack\.com/(?:services|triggers|workflows)/|/webhooks/[0-9]|webhook\.office\.com/)",
        near(
            "hooks.slack. discord webhook.office.",
            r"(hooks\.slack\.com/(?:services|triggers|workflows)/|discord(?:app)?\.com/api/(?:v[0-9]{1,2}/)?webhooks/|"
            r"webhook\.office\.com/)[a-z0-9_/@.-]{16,}",
            behind,
        ),
    ),
    Rule(
        "user and password in an address",
        r"://[^ /@]+@",
        near(
            "://",
            r"(://)(?:[^\s/:@\"'?#<>]{0,256}:[^\s/@\"'<>]{1,1024}|[^\s/:@\"'?#<>\[\]]{16,256})(?=@)",
            behind,
        ),
    ),
    Rule(
        "user and password of curl",
        r"-(?:u|-user)[ =][\"']?[^ ]*:",
        near("-u --user", r"(-(?:u|-user)[ =]\s{0,3})[\"']?(?:[^\s\"':]{0,256}:[^\s\"']{3,256})", behind),
    ),
    Rule(
        "bearer",
        r"(?i:bearer)(?:[ \t\r\n]|%20|\+|[:=])",
        near(
            "bearer",
            r"(bearer(?<![a-z]bearer)(?:\s{1,4}|%20|\+|[:=]))"
            r"(?=[a-z._~+/=-]{0,40}[0-9]|[a-z0-9._~+/=-]{32})[a-z0-9._~+/=-]{8,}",
            behind,
        ),
    ),
    Rule(
        "basic",
        r"(?i:basic)(?:[ \t\r\n]{1,4}|%20|\+)[A-Za-z0-9+/_-]{8}",
        near("basic", r"(basic(?<![a-z]basic)(?:\s{1,4}|%20|\+))([a-z0-9+/_-]{8,}={0,2})", _basic),
    ),
)


def grouped(rules: Sequence[Rule], size: int = 1) -> tuple[Group, ...]:
    """So many rules behind one screen each: to look through a text costs a screen what it costs three words."""
    parts = [tuple(rules[at : at + size]) for at in range(0, len(rules), size)]
    return tuple(Group(Screen((), [rule.hint for rule in part]), part) for part in parts)


_WHOLE_TEXT: Final = frozenset({"discord bot", "azure devops, storage and functions"})
"""Rules without a word to look for: each costs as much as all the others."""

GROUPS: Final = (
    *grouped([rule for rule in OTHERS if rule.kind in _WHOLE_TEXT]),
    *grouped([rule for rule in OTHERS if rule.kind not in _WHOLE_TEXT], 8),
    *grouped(TOKENS, 12),
)
