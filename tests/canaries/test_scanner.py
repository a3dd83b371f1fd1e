"""The scanner sees a marker in every form and at every offset: if it finds nothing, there is nothing."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import quote

import pytest

from tests.canaries.markers import KINDS, marker
from tests.canaries.scanner import Scanner

PLACES = ("body", "header", "reason")
ALL = [marker(kind, place) for kind in KINDS for place in PLACES]
FORMS: dict[str, Callable[[str], bytes]] = {
    "raw": str.encode,
    "base64": lambda text: base64.b64encode(text.encode()),
    "base64 of a longer text": lambda text: base64.b64encode(b"x{" + text.encode() + b"}"),
    "base64url": lambda text: base64.urlsafe_b64encode(b"~~?" + text.encode()).rstrip(b"="),
    "hex": lambda text: text.encode().hex().encode(),
    "upper hex": lambda text: text.encode().hex().upper().encode(),
    "percent": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()).encode(),
    "query": lambda text: quote(text, safe="").encode(),
    "json": lambda text: json.dumps({"a": [text]}).encode(),
    "json escapes": lambda text: ("".join(f"\\u{ord(letter):04x}" for letter in text)).encode(),
    "utf-16": lambda text: text.encode("utf-16"),
    "utf-16-be": lambda text: text.encode("utf-16-be"),
    "json in base64 in json": lambda text: json.dumps(
        {"body": base64.b64encode(json.dumps([text, {}]).encode()).decode()}
    ).encode(),
    "base64 of utf-16": lambda text: base64.b64encode(text.encode("utf-16-le")),
    "hex of json": lambda text: json.dumps({"t": text}).encode().hex().encode(),
}


def test_every_window_belongs_to_one_marker() -> None:
    """Else a hit would not say what leaked, or where it was planted."""
    Scanner(ALL)
    one = marker("npm token", "body")
    with pytest.raises(ValueError, match="is of"):
        Scanner([one, replace(one, place="elsewhere")])


@pytest.mark.parametrize("form", FORMS)
def test_a_marker_is_seen_in_every_form(form: str) -> None:
    """Also when only a part of it is left: eight characters in a row."""
    scanner = Scanner(ALL)
    for one in ALL:
        hits = scanner.scan("sink", b"before " + FORMS[form](one.text) + b" after")
        assert {(hit.kind, hit.place) for hit in hits} == {(one.kind, one.place)}, (form, one)


@pytest.mark.parametrize("form", ["raw", "base64", "hex", "query", "json", "utf-16"])
def test_eight_characters_are_enough(form: str) -> None:
    """Whatever was cut off around them."""
    scanner = Scanner(ALL)
    for one in ALL:
        for window in one.windows():
            assert scanner.scan("sink", FORMS[form](window)), (form, window)


def test_ordinary_text_digests_and_numbers_are_no_hits() -> None:
    """Nothing is found where nothing was planted."""
    noise = b" ".join(
        hashlib.sha256(str(number).encode()).hexdigest().encode() + base64.b64encode(str(number).encode() * 9)
        for number in range(20_000)
    )
    assert Scanner(ALL).scan("sink", noise) == set()
