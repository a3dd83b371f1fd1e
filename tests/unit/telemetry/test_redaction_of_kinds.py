"""Guards: of 84 kinds of secrets, wherever they stand, nearly nothing is left, and ordinary text stays as it is."""

from __future__ import annotations

import base64
import hashlib
import json
import sysconfig
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from app.telemetry.redaction import redact, redact_value
from interlock.canonical import JsonValue
from tests.unit.telemetry.planted_secrets import FORMS, NAMED, Planted, examples

WINDOW = 8
"""Characters of a secret that may not be left in a row."""
ROOT = Path(__file__).parents[3]
PAYLOADS = ROOT.parent / "shared" / "data" / "github-webhooks"


def parts(planted: Planted) -> list[str]:
    """What of a secret is secret: not the address around a key, the scheme before it, or the armour of a PEM file."""
    text = planted.secret
    if "sig=" in text or "AccountKey=" in text:
        return [text.rpartition("ey=" if "AccountKey=" in text else "sig=")[2]]
    if "://" in text and "@" in text:
        return [text.partition("://")[2].partition("@")[0].rpartition(":")[2]]
    if "://" in text:
        return [text.rpartition("=" if "?" in text else "/")[2]]
    if text.startswith(("Basic ", "Bearer ")):
        return [text.partition(" ")[2]]
    return [line for line in text.split("\n") if not line.startswith("-----")]


def is_left(planted: Planted, shown: str) -> bool:
    """Whether eight characters in a row of the secret, or all of a shorter one, are still there."""
    for part in parts(planted):
        size = min(WINDOW, len(part))
        if any(part[at : at + size] in shown for at in range(len(part) - size + 1)):
            return True
    return False


@pytest.mark.parametrize("held_out", [False, True], ids=["places looked at", "places held out"])
def test_at_least_95_percent_of_every_kind_are_gone(held_out: bool) -> None:
    """Each kind of its own: one that is missed is not hidden behind those that are found."""
    missed: Counter[str] = Counter()
    of: Counter[str] = Counter()
    seen: dict[str, str] = {}
    for planted, place, text in examples(Random(20260), 28, held_out=held_out):
        of[planted.kind] += 1
        if is_left(planted, redact(text)):
            missed[planted.kind] += 1
            seen[planted.kind] = f"{place}: {text!r}"
    assert len(of) == len(FORMS) + len(NAMED) >= 60
    assert {kind: seen[kind] for kind in missed if missed[kind] / of[kind] > 0.1} == {}
    assert missed.total() / of.total() <= 0.05


def test_the_same_secrets_as_values_of_objects() -> None:
    """What redact finds in a text it finds in a value, and a name is told by the key."""
    random = Random(7)
    for kind, draw in FORMS.items():
        planted = Planted(kind, draw(random))
        shown = json.dumps(redact_value({"a": [{"b": f"see {planted.secret}"}], planted.secret: 1}))
        assert not is_left(planted, shown), kind
    for kind, (names, draw) in NAMED.items():
        for name in names:
            planted = Planted(kind, draw(random))
            assert not is_left(planted, json.dumps(redact_value({"a": {name: planted.secret}}))), name
            beside = redact_value({"env": [{"name": name, "value": planted.secret}]})
            assert not is_left(planted, json.dumps(beside)), name


def _lines(folder: Path, pattern: str, most: int) -> Iterator[str]:
    for path in sorted(folder.glob(pattern))[:most]:
        yield from (line for line in path.read_text(errors="replace").splitlines() if line.strip())


def _texts(value: JsonValue) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value


def _numbers_and_ids() -> Iterator[str]:
    random = Random(11)
    for _ in range(400):
        drawn = random.randbytes(32)
        digest = hashlib.sha256(drawn).hexdigest()
        yield from (
            str(uuid.UUID(bytes=drawn[:16], version=4)),
            digest,
            hashlib.sha1(drawn).hexdigest(),
            hashlib.md5(drawn).hexdigest(),
            f"sha256:{digest}",
            f"sha512-{base64.b64encode(hashlib.sha512(drawn).digest()).decode()}",
            base64.b64encode(drawn).decode(),
            f"00-{digest[:32]}-{digest[32:48]}-01",
            f"orc_{digest[:32]}",
            f"run_{digest[:32]} of orc_{digest[32:]}",
            f"idempotency_key=key_{digest}, arguments_digest={digest}",
            f'{{"orchestration_id": "orc_{digest[:32]}", "key": "key_{digest}", "digest": "{digest}"}}',
            f"v{drawn[0]}.{drawn[1]}.{drawn[2]}-rc{drawn[3] % 9}",
            f"2026-{drawn[0] % 12 + 1:02}-{drawn[1] % 28 + 1:02}T10:20:30.{drawn[2]:06}+00:00",
            f"{1_700_000_000_000 + int.from_bytes(drawn[:5], 'big') % 10**11}",
            f"{drawn[0]}.{drawn[1]}.{drawn[2]}.{drawn[3]}:{int.from_bytes(drawn[:2], 'big')}",
        )


PYTHON = Path(sysconfig.get_paths()["stdlib"])
CORPORA = {
    "Python of the standard library": lambda: _lines(PYTHON, "*.py", 40),
    "Celery's Python": lambda: _lines(Path(sysconfig.get_paths()["purelib"]) / "celery", "**/*.py", 60),
    "our Python": lambda: _lines(ROOT / "app", "**/*.py", 80),
    "our documentation": lambda: _lines(ROOT / "docs", "*.md", 20),
    "texts of GitHub's webhooks": lambda: (
        text for path in sorted(PAYLOADS.glob("*.json")) for text in _texts(json.loads(path.read_text()))
    ),
    "ids, digests, times and versions": _numbers_and_ids,
}


@pytest.mark.parametrize("corpus", CORPORA)
def test_less_than_2_percent_of_ordinary_text_is_changed(corpus: str) -> None:
    """Lines with an e-mail address are left out: those are found rightly."""
    lines = [line for line in CORPORA[corpus]() if "@" not in line]
    changed = [line for line in lines if redact(line) != line]
    assert len(lines) > 500
    assert len(changed) < 0.005 * len(lines), changed[:5]


def test_no_id_or_digest_of_ours_is_ever_redacted() -> None:
    for text in _numbers_and_ids():
        assert redact(text) == text
        assert redact_value({"digest": text, "orchestration_id": text}) == {
            "digest": text,
            "orchestration_id": text,
        }
