"""Made-up secrets of 70 kinds in their issuers' documented forms, and the places that a secret is found in.

Nothing here is taken from the rules. Of the places, ``HELD_OUT`` were not looked at while the rules were written.
"""

from __future__ import annotations

import base64
import json
import string
from collections.abc import Callable, Mapping
from random import Random
from typing import NamedTuple
from urllib.parse import quote

Draw = Callable[[Random], str]

_WORD = string.ascii_letters + string.digits
_URL_SAFE = _WORD + "-_"
_HEX = "0123456789abcdef"
_UPPER = string.ascii_uppercase + string.digits
_LOWER = string.ascii_lowercase + string.digits
_BASE32 = string.ascii_uppercase + "234567"


class Planted(NamedTuple):
    """One secret: its kind, its text, and the name it goes by when it is known by a name only."""

    kind: str
    secret: str
    name: str = ""


def run(random: Random, characters: str, length: int) -> str:
    """Drawn characters, with a digit among them as every generator's have."""
    return "".join(random.choices(characters, k=length))


def _form(before: str, characters: str, least: int, most: int = 0, after: str = "") -> Draw:
    return lambda random: before + run(random, characters, random.randint(least, most or least)) + after


def _base64url(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value, separators=(",", ":")).encode()).decode().rstrip("=")


def _jwt(random: Random) -> str:
    claims = {"sub": run(random, string.digits, 10), "iat": random.randint(10**9, 2 * 10**9)}
    return f"{_base64url({'alg': 'HS256', 'typ': 'JWT'})}.{_base64url(claims)}.{run(random, _URL_SAFE, 43)}"


def _pem(label: str) -> Draw:
    def draw(random: Random) -> str:
        lines = [run(random, _WORD + "+/", 64) for _ in range(random.randint(3, 8))]
        return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----"])

    return draw


def _card(random: Random) -> str:
    prefix, length = random.choice(
        [("4", 16), ("51", 16), ("55", 16), ("37", 15), ("6011", 16), ("2720", 16)]
    )
    digits = prefix + run(random, string.digits, length - len(prefix) - 1)
    odd = sum(sum(divmod(2 * int(digit), 10)) for digit in digits[::-2])
    digits += str(-(odd + sum(map(int, digits[-2::-2]))) % 10)
    if random.random() < 0.5:
        return digits
    groups = (4, 6, 5) if length == 15 else (4, 4, 4, 4)
    separator, at, parts = random.choice(" -"), 0, []
    for group in groups:
        parts.append(digits[at : at + group])
        at += group
    return separator.join(parts)


def _iban(random: Random) -> str:
    country, shape = random.choice(
        [
            ("DE", "0" * 18),
            ("GB", "AAAA" + "0" * 14),
            ("NL", "AAAA" + "0" * 10),
            ("FR", "0" * 10 + "A" * 11 + "00"),
        ]
    )
    body = "".join(random.choice(string.digits if kind == "0" else string.ascii_uppercase) for kind in shape)
    number = int("".join(str(int(character, 36)) for character in body + country + "00"))
    iban = f"{country}{98 - number % 97:02}{body}"
    if random.random() < 0.5:
        return iban
    return " ".join(iban[at : at + 4] for at in range(0, len(iban), 4))


_FIRST = ["maria", "j.smith", "liu.wei", "ops+alerts", "anna-lena", "o_brien", "x9"]
_DOMAINS = [
    "example.com",
    "mail.example.co.uk",
    "corp.example.org",
    "sub-domain.example.io",
    "beispiel.example.de",
]


def _mail(random: Random) -> str:
    return f"{random.choice(_FIRST)}{random.randint(1, 999)}@{random.choice(_DOMAINS)}"


def _phone(random: Random) -> str:
    digits = [str(random.randint(2, 9)) + run(random, string.digits, size - 1) for size in (3, 3, 4)]
    area, exchange, line = digits
    return random.choice(
        [
            f"+1 {area} {exchange} {line}",
            f"+1-{area}-{exchange}-{line}",
            f"+1{area}{exchange}{line}",
            f"({area}) {exchange}-{line}",
            f"{area}-{exchange}-{line}",
            f"{area}.{exchange}.{line}",
            f"+44 20 7{exchange} {line}",
            f"+49 (0)30 {line}{area}",
            f"+33 6 12 34 {area[:2]} {line[:2]}",
        ]
    )


def _ssn(random: Random) -> str:
    return f"{random.randint(1, 665):03}-{random.randint(1, 99):02}-{random.randint(1, 9999):04}"


def _password(random: Random) -> str:
    return random.choice(
        [
            run(random, _WORD, 12),
            run(random, _WORD + "!#$%*+-_=.?@^~", 16),
            random.choice(["hunter", "letmein", "Sommer", "dragon"]) + str(random.randint(10, 2099)),
            "-".join(run(random, string.ascii_lowercase, 5) for _ in range(4)) + str(random.randint(0, 9)),
        ]
    )


FORMS: Mapping[str, Draw] = {
    "aws access key id": lambda random: random.choice(["AKIA", "ASIA"]) + run(random, _BASE32, 16),
    "gcp api key": _form("AIza", _URL_SAFE, 35),
    "gcp client secret": _form("GOCSPX-", _URL_SAFE, 28),
    "gcp access token": _form("ya29.a0", _URL_SAFE, 100, 180),
    "gcp service account key": _pem("PRIVATE KEY"),
    "azure client secret": lambda random: run(random, _WORD, 3) + "8Q~" + run(random, _WORD + "_.-~", 34),
    "azure sas": lambda random: (
        "https://acct.blob.core.windows.net/c?sv=2022-11-02&sp=r&sig="
        + quote(run(random, _WORD + "+/", 43) + "=", "")
    ),
    "azure storage connection": lambda random: (
        "DefaultEndpointsProtocol=https;AccountName=acct;AccountKey=" + run(random, _WORD + "+/", 86) + "=="
    ),
    "github classic": _form("ghp_", _WORD, 36),
    "github oauth": _form("gho_", _WORD, 36),
    "github app": lambda random: random.choice(["ghu_", "ghs_"]) + run(random, _WORD, 36),
    "github refresh": _form("ghr_", _WORD, 76),
    "github fine-grained": lambda random: f"github_pat_{run(random, _UPPER, 22)}_{run(random, _WORD, 59)}",
    "gitlab personal": _form("glpat-", _URL_SAFE, 20),
    "gitlab deploy": _form("gldt-", _URL_SAFE, 20),
    "gitlab runner": _form("glrt-", _URL_SAFE, 20),
    "slack bot": lambda random: (
        f"xoxb-{run(random, string.digits, 12)}-{run(random, string.digits, 12)}-{run(random, _WORD, 24)}"
    ),
    "slack user": lambda random: (
        f"xoxp-{run(random, string.digits, 12)}-{run(random, string.digits, 12)}-{run(random, string.digits, 12)}"
        f"-{run(random, _HEX, 32)}"
    ),
    "slack app": lambda random: (
        f"xapp-1-A{run(random, _UPPER, 10)}-{run(random, string.digits, 13)}-{run(random, _HEX, 64)}"
    ),
    "slack webhook": lambda random: (
        f"https://hooks.slack.com/services/T{run(random, _UPPER, 8)}/B{run(random, _UPPER, 8)}/{run(random, _WORD, 24)}"
    ),
    "stripe secret": lambda random: random.choice(["sk_live_", "sk_test_"]) + run(random, _WORD, 24),
    "stripe restricted": _form("rk_live_", _WORD, 24),
    "webhook signing secret": _form("whsec_", _WORD + "+/", 32),
    "twilio api key": _form("SK", _HEX, 32),
    "sendgrid": lambda random: f"SG.{run(random, _URL_SAFE, 22)}.{run(random, _URL_SAFE, 43)}",
    "mailgun": _form("key-", _HEX, 32),
    "mailchimp": _form("", _HEX, 32, after="-us12"),
    "openai": lambda random: random.choice(["sk-", "sk-proj-", "sk-svcacct-"]) + run(random, _WORD, 48),
    "anthropic": lambda random: f"sk-ant-api03-{run(random, _URL_SAFE, 93)}AA",
    "hugging face": _form("hf_", string.ascii_letters, 34),
    "npm": _form("npm_", _WORD, 36),
    "pypi": lambda random: "pypi-AgEIcHlwaS5vcmc" + run(random, _URL_SAFE, 60),
    "rubygems": _form("rubygems_", _HEX, 48),
    "crates.io": _form("cio", _WORD, 32),
    "docker hub": _form("dckr_pat_", _URL_SAFE, 27),
    "digitalocean": _form("dop_v1_", _HEX, 64),
    "heroku": _form("HRKU-AA", _URL_SAFE, 58),
    "cloudflare origin ca": lambda random: f"v1.0-{run(random, _HEX, 24)}-{run(random, _HEX, 146)}",
    "new relic": _form("NRAK-", _UPPER, 27),
    "sentry dsn": lambda random: (
        f"https://{run(random, _HEX, 32)}@o{random.randint(1, 999999)}.ingest.sentry.io/42"
    ),
    "sentry user": _form("sntryu_", _HEX, 64),
    "shopify": lambda random: random.choice(["shpat_", "shpss_", "shpca_"]) + run(random, _HEX, 32),
    "square": _form("sq0atp-", _URL_SAFE, 22),
    "paypal": lambda random: f"access_token$production${run(random, _LOWER, 16)}${run(random, _HEX, 32)}",
    "telegram bot": lambda random: f"{random.randint(10**8, 10**10 - 1)}:AA{run(random, _URL_SAFE, 33)}",
    "discord bot": lambda random: (
        f"{random.choice('MNO')}{run(random, _WORD, 23)}.{run(random, _URL_SAFE, 6)}.{run(random, _URL_SAFE, 38)}"
    ),
    "discord webhook": lambda random: (
        f"https://discord.com/api/webhooks/{run(random, string.digits, 18)}/{run(random, _URL_SAFE, 68)}"
    ),
    "linear": _form("lin_api_", _WORD, 40),
    "notion": _form("ntn_", _WORD, 46),
    "atlassian": lambda random: f"ATATT3xFfGF0{run(random, _URL_SAFE, 170)}={run(random, _HEX.upper(), 8)}",
    "databricks": _form("dapi", _HEX, 32),
    "terraform": lambda random: f"{run(random, _WORD, 14)}.atlasv1.{run(random, _URL_SAFE, 67)}",
    "vault": _form("hvs.", _URL_SAFE, 95),
    "grafana": lambda random: f"glsa_{run(random, _WORD, 32)}_{run(random, _HEX, 8)}",
    "postman": lambda random: f"PMAK-{run(random, _HEX, 24)}-{run(random, _HEX, 34)}",
    "age": _form("AGE-SECRET-KEY-1", "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L", 58),
    "rsa private key": _pem("RSA PRIVATE KEY"),
    "ec private key": _pem("EC PRIVATE KEY"),
    "ssh private key": _pem("OPENSSH PRIVATE KEY"),
    "pgp private key": _pem("PGP PRIVATE KEY BLOCK"),
    "jwt": _jwt,
    "basic": lambda random: (
        "Basic " + base64.b64encode(f"user{random.randint(0, 99)}:{run(random, _WORD, 14)}".encode()).decode()
    ),
    "bearer": lambda random: "Bearer " + run(random, _WORD, 40),
    "url password": lambda random: (
        f"{random.choice(['postgresql', 'amqp', 'mongodb+srv', 'redis'])}://"
        f"app:{run(random, _WORD + '%-_.', 16)}@db.example.com/x"
    ),
    "query parameter": lambda random: (
        "https://api.example.com/v1?page=2&"
        f"{random.choice(['access_token', 'api_key', 'token', 'apikey', 'client_secret'])}={run(random, _WORD, 24)}"
    ),
    "payment card": _card,
    "iban": _iban,
    "e-mail": _mail,
    "telephone": _phone,
    "social security": _ssn,
}
"""Known by their form, wherever they stand."""

NAMED: Mapping[str, tuple[tuple[str, ...], Draw]] = {
    "aws secret": (
        ("aws_secret_access_key", "AWS_SECRET_ACCESS_KEY", "secretAccessKey"),
        _form("", _WORD + "+/", 40),
    ),
    "aws session": (("aws_session_token", "AWS_SESSION_TOKEN"), _form("", _WORD + "+/", 200)),
    "datadog": (("DD_API_KEY", "dd-api-key", "datadog_app_key"), _form("", _HEX, 32)),
    "cloudflare": (("CF_API_TOKEN", "cloudflare_api_key"), _form("", _URL_SAFE, 40)),
    "heroku (older)": (
        ("HEROKU_API_KEY",),
        lambda random: "-".join(run(random, _HEX, size) for size in (8, 4, 4, 4, 12)),
    ),
    "pagerduty": (("PAGERDUTY_TOKEN", "pd_api_key", "routing_key"), _form("", _URL_SAFE, 20)),
    "twilio auth token": (("TWILIO_AUTH_TOKEN", "authToken"), _form("", _HEX, 32)),
    "azure key": (("subscription_key", "Ocp-Apim-Subscription-Key"), _form("", _HEX, 32)),
    "session cookie": (("sessionid", "JSESSIONID", "PHPSESSID"), _form("", _LOWER, 32)),
    "password": (("password", "DB_PASSWORD", "PGPASSWORD", "userPassword", "passwd"), _password),
    "client secret": (("client_secret", "clientSecret", "OAUTH_CLIENT_SECRET"), _form("", _URL_SAFE, 32)),
    "api key": (("api_key", "apiKey", "x-api-key", "X-API-KEY"), _form("", _WORD, 32)),
    "access token": (("access_token", "accessToken", "refresh_token"), _form("", _URL_SAFE, 43)),
    "private key": (("private_key", "signing_key", "encryptionKey"), _form("", _WORD + "+/", 44)),
}
"""Known by the names they go by."""

ALONE: Mapping[str, Callable[[str], str]] = {
    "alone": lambda secret: secret,
    "in a sentence": lambda secret: f"The job failed because {secret} was refused by the server.",
    "in a value of json": lambda secret: json.dumps({"id": 7, "note": f"see {secret}", "ok": True}),
    "in a log line": lambda secret: f"2026-03-01 10:20:30,123 ERROR worker[12]: call failed: {secret}",
    "in python's repr": lambda secret: repr({"a": 1, "b": [secret, None]}),
    "quoted": lambda secret: f"cannot use '{secret}'",
}
ALONE_HELD_OUT: Mapping[str, Callable[[str], str]] = {
    "in an exception": lambda secret: f"ValueError('bad value: {secret}')",
    "in yaml": lambda secret: f"items:\n  - name: x\n    value: {json.dumps(secret)}\n",
    "as a key of json": lambda secret: json.dumps({secret: {"n": 1}}),
    "in json in json": lambda secret: json.dumps({"body": json.dumps({"text": f"a\n{secret}\n"})}),
    "in markdown": lambda secret: f"* use `{secret}` here, then **restart**",
    "in a list": lambda secret: f"args=({secret}, 3)",
    "after a colon": lambda secret: f"rejected:{secret}",
}
BY_NAME: Mapping[str, Callable[[str, str], str]] = {
    "as a variable": lambda name, secret: f"{name}={secret}",
    "in json": lambda name, secret: json.dumps({"id": 7, name: secret, "ok": True}),
    "in yaml": lambda name, secret: f"db:\n  {name}: {secret}\n  port: 5432\n",
    "in python's repr": lambda name, secret: repr({"a": 1, name: secret}),
    "in a log line": lambda name, secret: f"2026-03-01 10:20:30 INFO start {name}={secret} retries=3",
}
BY_NAME_HELD_OUT: Mapping[str, Callable[[str, str], str]] = {
    "exported": lambda name, secret: f'export {name}="{secret}"\nrun',
    "in a header": lambda name, secret: f"GET / HTTP/1.1\r\nHost: example.com\r\n{name}: {secret}\r\n\r\n",
    "in a query": lambda name, secret: f"https://example.com/cb?x=1&{name}={quote(secret, '')}&y=2",
    "in json in json": lambda name, secret: json.dumps({"body": json.dumps({name: secret})}),
    "in toml": lambda name, secret: f'[db]\n{name} = "{secret}"\n',
    "as an argument": lambda name, secret: f"connect(host='x', {name}={secret!r}, timeout=3)",
}


def examples(random: Random, each: int, *, held_out: bool) -> list[tuple[Planted, str, str]]:
    """So many of each kind, each in one of the places: the secret, the place, and the text."""
    found = []
    alone, by_name = (ALONE_HELD_OUT, BY_NAME_HELD_OUT) if held_out else (ALONE, BY_NAME)
    for kind, draw in FORMS.items():
        for number in range(each):
            place = list(alone)[number % len(alone)]
            secret = draw(random)
            found.append((Planted(kind, secret), place, alone[place](secret)))
    for kind, (names, draw) in NAMED.items():
        for number in range(each):
            place = list(by_name)[number % len(by_name)]
            planted = Planted(kind, draw(random), names[(number // len(by_name)) % len(names)])
            found.append((planted, place, by_name[place](planted.name, planted.secret)))
    return found
