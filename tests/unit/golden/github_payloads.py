"""The real GitHub payloads that the golden files are made of, where they are at hand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.data_plane.ingestion.github_event import to_envelope
from app.data_plane.ingestion.normalisers import normalise
from interlock import strict_json
from interlock.canonical import JsonValue, canonical_bytes, digest_bytes
from interlock.envelope import Envelope

ROOT = Path(__file__).parents[3]
PAYLOADS = ROOT.parent / "shared" / "data" / "github-webhooks"
GOLDEN = Path(__file__).parent / "github"


def payload_files() -> list[Path]:
    """The payload files, by name; none where the folder is absent."""
    return sorted(PAYLOADS.glob("*.json"))


def need_payloads() -> list[Path]:
    """The payload files; skips where the folder is absent, and fails there in CI."""
    files = payload_files()
    if not files:
        reason = (
            f"the folder of real payloads is absent: {PAYLOADS.relative_to(ROOT.parent)} beside the checkout"
        )
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return files


def envelope_of(file: Path, tenant: str = "demo") -> Envelope:
    """The envelope that the webhook endpoint would make of a payload file, with its name as delivery."""
    delivery = strict_json.read(file.read_bytes())
    assert isinstance(delivery, dict)
    event = delivery["x_github_event"]
    assert isinstance(event, str)
    return to_envelope(tenant, event, file.stem.replace(".", "-").replace("_", "-")[:64], delivery["payload"])


def golden_of(file: Path) -> dict[str, JsonValue]:
    """What the golden file of a payload file must hold."""
    envelope = envelope_of(file)
    normaliser, event = normalise(envelope)
    body = event.to_json()
    return {
        "source": envelope.source,
        "data_digest": envelope.data_digest,
        "normaliser": normaliser,
        "event_digest": digest_bytes(canonical_bytes(body)),
        "event": body,
    }


def pairs() -> Iterator[tuple[Path, Path]]:
    """Each payload file with its golden file."""
    for file in payload_files():
        yield file, GOLDEN / file.name
