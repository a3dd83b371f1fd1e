"""What secrets look like, from their issuers' documented formats, and what has to be in a text before one is sought.

A token is a prefix and then a run of characters. It is taken to the end of its run, so that nothing of it is left
and a second pass begins where the first did. No pattern has an unbounded part inside another, and each run is tried
from its beginning only: the time is in proportion to the text.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Final, NamedTuple

REDACTED: Final = "[redacted]"

Found = re.Match[str]


class Rule(NamedTuple):
    """How one kind is found and what stands in its place."""

    kind: str
    keywords: tuple[str, ...]
    """One of them is in the lower-case text before the pattern is tried."""
    pattern: re.Pattern[str]
    replace: Callable[[Found], str]
    hint: str
    """The same for the screen, which may suspect more and never less."""


_START = (
    r"(?:(?<![A-Za-z0-9])|(?<=\\[nrtbf])|(?<=%[0-9A-Fa-f]{2})|(?<=\\u[0-9A-Fa-f]{4})|(?<=\\x[0-9A-Fa-f]{2}))"
)
"""The beginning of a run, also behind an escape of JSON, Python or a URL."""

_WORD = "A-Za-z0-9"
_URL_SAFE = "A-Za-z0-9_-"
_BASE64 = "A-Za-z0-9+/_=-"


def _whole(_found: Found) -> str:
    return REDACTED


def _behind(found: Found) -> str:
    """What the secret is introduced by stays."""
    return f"{found[1]}{REDACTED}"


def _token(kind: str, keywords: str, prefix: str, characters: str, least: int, most: int = 0) -> Rule:
    """A prefix, then at least so many characters of a class, to the end of their run.

    With ``most``, a longer run is something else: short prefixes of letters begin words, too.
    """
    count, end = (f"{{{least},{most}}}", f"(?![{characters}])") if most else (f"{{{least},}}", "")
    return Rule(
        kind,
        tuple(keywords.split()),
        re.compile(f"{_START}{prefix}[{characters}]{count}{end}"),
        _whole,
        f"{prefix}[{characters}]{{{min(least, 8)}}}",
    )


def _other(
    kind: str, keywords: str, pattern: str, hint: str, replace: Callable[[Found], str] = _whole, flags: int = 0
) -> Rule:
    return Rule(kind, tuple(keywords.split()), re.compile(pattern, flags), replace, hint)


TOKENS: Final = (
    _token("age", "age-secret-key-1", "AGE-SECRET-KEY-1", "A-Z0-9", 20),
    _token("airtable", "pat", "pat[A-Za-z0-9]{14}\\.", "a-f0-9", 32),
    _token("alibaba", "ltai", "LTAI", _WORD, 12, 30),
    _token("anthropic, openai and others", "sk-", "sk-", _URL_SAFE, 16),
    _token("artifactory", "akcp", "AKCp", _WORD, 50),
    _token("atlassian", "atatt3 atctt3 atbb", "(?:ATATT3|ATCTT3|ATBB)", "A-Za-z0-9_=-", 20),
    _token("aws access key id", "akia asia abia acca", "(?:AKIA|ASIA|ABIA|ACCA)", "A-Z0-9", 16),
    _token("aws bedrock", "absk", "ABSK", "A-Za-z0-9+/=", 60),
    _token("buildkite", "bkua_", "bkua_", _WORD, 30),
    _token("circleci", "ccipat_ ccipra", "CCIP(?:AT|RJ)_", _URL_SAFE, 30),
    _token("cloudflare", "cfat_ cfut_ cfk_", "cf(?:at|ut|k)_", _URL_SAFE, 30),
    _token("cloudflare origin ca", "v1.0-", "v1\\.0-[a-f0-9]{24}-", "a-f0-9", 100),
    _token("contentful", "cfpat-", "CFPAT-", _URL_SAFE, 30),
    _token("crates.io", "cio", "cio", _WORD, 32, 32),
    _token("databricks", "dapi", "dapi", "a-f0-9-", 32),
    _token("digitalocean", "do", "do[por]_v1_", "a-f0-9", 32),
    _token("docker hub", "dckr_", "dckr_[a-z]at_", _URL_SAFE, 20),
    _token("doppler", "dp.", "dp\\.(?:pt|st|ct|sa|scim|audit)\\.(?:[a-z0-9_-]{2,40}\\.)?", _WORD, 32),
    _token("dropbox", "sl.", "sl\\.(?:u\\.)?", _URL_SAFE, 60),
    _token("dynatrace", "dt0", "dt0[a-z]\\d{2}\\.[A-Z0-9]{24}\\.", "A-Z0-9", 32),
    _token("facebook", "eaa", "EAA[A-Z]", _WORD, 60),
    _token("figma", "figd_", "fig[dour]_", _URL_SAFE, 30),
    _token("fly.io", "fo1_ fm1 fm2_", "(?:fo1_|fm1[ar]_|fm2_)", _BASE64, 30),
    _token("github", "ghp_ gho_ ghu_ ghs_ ghr_", "gh[pousr]_", "A-Za-z0-9_", 20),
    _token("github fine-grained", "github_pat_", "github_pat_", "A-Za-z0-9_", 20),
    _token(
        "gitlab",
        "gl",
        "gl(?:pat|dt|rt|cbt|ptt|ft|soat|imt|agent|oas|ffct|wt|rtr|tst)-",
        "A-Za-z0-9_.=-",
        16,
    ),
    _token("gitlab runner registration", "gr1348941", "GR1348941", _URL_SAFE, 16),
    _token("google api key", "aiza", "AIza", _URL_SAFE, 30),
    _token("google client secret", "gocspx-", "GOCSPX-", _URL_SAFE, 20),
    _token("google access token", "ya29.", "ya29\\.", "A-Za-z0-9_.-", 20),
    _token("google refresh token", "1//0", "1//0", _URL_SAFE, 30),
    _token("grafana", "glsa_ glc_", "(?:glsa|glc)_", _BASE64, 30),
    _token("groq", "gsk_", "gsk_", _WORD, 30),
    _token("heroku", "hrku-", "HRKU-", _URL_SAFE, 30),
    _token("hugging face", "hf_ api_org_", "(?:hf|api_org)_", _WORD, 30),
    _token("jwt", "eyj", "eyJ[A-Za-z0-9_-]{8,}\\.", "A-Za-z0-9_.-", 4),
    _token("grafana (older) and other encoded json", "eyj", "eyJ", "A-Za-z0-9+/_=-", 60),
    _token("linear", "lin_", "lin_(?:api|oauth|wh)_", _WORD, 30),
    _token("mailgun", "key- pubkey-", "(?:pub)?key-", "a-f0-9", 32, 32),
    _token("mapbox", "sk.eyj", "sk\\.eyJ", "A-Za-z0-9_.-", 30),
    _token("netlify", "nfp_ nfc_", "nf[pcoub]_", _WORD, 30),
    _token("new relic", "nra nrii- nrjs- nrsp", "NR(?:AK|RA|AL|II|IQ|JS|SP|BR)-", _URL_SAFE, 19),
    _token("notion", "ntn_", "ntn_", _WORD, 30),
    _token("npm", "npm_", "npm_", _WORD, 30),
    _token("nuget", "oy2", "oy2", "a-z0-9", 43, 43),
    _token("1password", "ops_eyj", "ops_eyJ", _BASE64, 60),
    _token("paypal", "access_token$", "access_token\\$(?:production|sandbox)\\$[a-z0-9]{16}\\$", "a-f0-9", 32),
    _token("perplexity", "pplx-", "pplx-", _WORD, 30),
    _token("planetscale", "pscale_", "pscale_(?:tkn|oauth|pw)_", "A-Za-z0-9_.=-", 30),
    _token("postman", "pmak- pmat-", "PMA[KT]-", "A-Za-z0-9-", 24),
    _token("prefect", "pnu_ pnb_", "pn[ub]_", _WORD, 30),
    _token("pulumi", "pul-", "pul-", "a-f0-9", 40, 40),
    _token("pypi", "pypi-", "pypi-", _URL_SAFE, 20),
    _token("replicate", "r8_", "r8_", _WORD, 30),
    _token("rubygems", "rubygems_", "rubygems_", "a-f0-9", 32),
    _token("sendgrid", "sg.", "SG\\.[A-Za-z0-9_-]{16,32}\\.", _URL_SAFE, 16),
    _token("brevo", "xkeysib- xsmtpsib-", "x(?:key|smtp)sib-", "A-Za-z0-9-", 32),
    _token("sentry", "sntrys_ sntryu_", "sntry[su]_", _BASE64, 30),
    _token("shopify", "shp", "shp(?:at|ca|pa|ss|ua|tka)_", "A-Za-z0-9", 24),
    _token("slack", "xox", "xox[a-z](?:\\.xox[a-z])?-", "A-Za-z0-9-", 10),
    _token("slack app", "xapp-", "xapp-", "A-Za-z0-9-", 20),
    _token("square", "sq0", "sq0[a-z]{3}-", _URL_SAFE, 20),
    _token("square access token", "eaaa", "EAAA", _URL_SAFE, 56),
    _token("stripe", "sk_ rk_ pk_live", "(?:[sr]k_(?:live|test|org)|pk_live)_", "A-Za-z0-9_", 10),
    _token("supabase", "sbp_ sb_secret_", "(?:sbp_(?:v0_)?|sb_secret_)", _URL_SAFE, 20),
    _token("terraform", ".atlasv1.", "[A-Za-z0-9]{14}\\.atlasv1\\.", _URL_SAFE, 40),
    _token("twilio", "sk", "SK", "a-f0-9", 32, 32),
    _token("typeform", "tfp_", "tfp_", "A-Za-z0-9_.=-", 30),
    _token("vault", "hvs. hvb. hvr.", "hv[sbr]\\.", _URL_SAFE, 20),
    _token("vercel", "vcp_ vci_ vca_ vcr_ vck_", "vc[piark]_", _WORD, 24),
    _token("webhook signing secret", "whsec_", "(?:v1,)?whsec_", "A-Za-z0-9+/=_", 16),
    _token("x.ai", "xai-", "xai-", _WORD, 40),
    _token("yandex", "aqvn", "AQVN", _URL_SAFE, 35),
)


def _basic(found: Found) -> str:
    """``Basic`` is a word, too: what follows has to be a user and a password in base64, or look like nothing else."""
    text = found[2]
    try:
        told = base64.b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        told = b""
    if b":" in told or text.endswith("=") or re.search(r"[a-z][A-Z0-9].*[0-9]", text):
        return f"{found[1]}{REDACTED}"
    return found[0]


OTHERS: Final = (
    _other(
        "pem, ssh and pgp private keys",
        "-----begin",
        r"-----BEGIN ([A-Z0-9 ]{0,40})PRIVATE KEY(?: BLOCK)?-----"
        r"(?:(?!-----END )[\s\S])*(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)?",
        "-----BEGIN [A-Z0-9 ]*PRIVATE KEY",
    ),
    _other(
        "azure client secret",
        "q~",
        r"(?<![A-Za-z0-9_~.-])[A-Za-z0-9_~.-]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,}",
        r"[0-9]Q~[A-Za-z0-9_~.-]{31}",
    ),
    _other(
        "azure devops, storage and functions",
        "azdo azfu azse azca azco astt ast asb aev",
        r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{32,76}(?:AZDO|AzFu|AzSe|AzCa|\+ASt|\+ASb|\+AEh|\+ARm|\+ACR)"
        r"[A-Za-z0-9+/]{4,6}={0,2}",
        r"[A-Za-z0-9+/]{32}(?:AZDO|AzFu|AzSe|AzCa|\+ASt|\+ASb|\+AEh|\+ARm|\+ACR)[A-Za-z0-9+/]{4}",
    ),
    _other(
        "discord bot",
        ".",
        r"(?<![A-Za-z0-9_.-])[MNO][A-Za-z0-9_-]{22,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,}",
        r"[MNO][A-Za-z0-9_-]{22,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27}",
    ),
    _other(
        "mailchimp",
        "-us",
        r"(?<![A-Za-z0-9])[a-f0-9]{32}-us[0-9]{1,2}(?![A-Za-z0-9])",
        r"[a-f0-9]{32}-us[0-9]",
    ),
    _other(
        "new relic licence",
        "nral",
        r"(?<![A-Za-z0-9])[A-Za-z0-9]{32,36}NRAL(?![A-Za-z0-9])",
        r"[A-Za-z0-9]{32}NRAL",
    ),
    _other(
        "telegram bot",
        ":aa",
        r"(?<![0-9])[0-9]{8,10}:AA[A-Za-z0-9_-]{30,}",
        r"[0-9]{8}:AA[A-Za-z0-9_-]{30}",
    ),
    _other(
        "password hash",
        "$",
        r"\$(?:2[abxy]\$[0-9]{2}|[156]|argon2(?:id|i|d)\$v=[0-9]{1,3}|scrypt|y)\$[A-Za-z0-9./+=,$]{20,}",
        r"\$(?:2[abxy]\$[0-9]{2}|[156]|argon2i?d?\$v=[0-9]{1,3}|scrypt|y)\$[A-Za-z0-9./+=,$]{20}",
    ),
    _other(
        "webhook addresses of slack, discord and teams",
        "/services/ /triggers/ /workflows/ /webhooks/ /incomingwebhook/ webhookb2",
        r"(?i)(hooks\.slack\.com/(?:services|triggers|workflows)/|discord(?:app)?\.com/api/(?:v[0-9]{1,2}/)?"
        r"webhooks/|[a-z0-9.-]{0,60}webhook\.office\.com/)[A-Za-z0-9_/@.-]{16,}",
        r"(?i:slack\.com/(?:services|triggers|workflows)/|/webhooks/[0-9]|webhook\.office\.com/)",
        _behind,
    ),
    _other(
        "user and password in an address",
        "://",
        r"(?<=://)(?:[^\s/:@\"'?#<>]{0,256}:[^\s/@\"'<>]{1,1024}|[^\s/:@\"'?#<>\[\]]{16,256})(?=@)",
        r"://[^ /@]+@",
    ),
    _other(
        "bearer",
        "bearer",
        r"((?<![A-Za-z])[Bb](?:earer|EARER)(?:\s{1,4}|%20|\+|[:=]))"
        r"(?=[A-Za-z._~+/=-]{0,40}[0-9]|[A-Za-z0-9._~+/=-]{32})[A-Za-z0-9._~+/=-]{8,}",
        r"(?i:bearer)(?:[ \t\r\n]|%20|\+|[:=])",
        _behind,
    ),
    _other(
        "basic",
        "basic",
        r"((?<![A-Za-z])[Bb](?:asic|ASIC)(?:\s{1,4}|%20|\+))([A-Za-z0-9+/_-]{8,}={0,2})",
        r"(?i:basic)(?:[ \t\r\n]{1,4}|%20|\+)[A-Za-z0-9+/_-]{8}",
        _basic,
    ),
)

