"""Guards: what docs/redaction.md shows is what happens."""

from __future__ import annotations

from pathlib import Path

from app.control_plane.documents import read_documents
from app.telemetry.redaction import REDACTED, TenantPattern, install_patterns, redact
from tests.documented import ROOT, blocks

PAGE = "docs/redaction.md"


def test_the_examples_hold() -> None:
    (example,) = blocks(PAGE, "python")
    exec(compile(example, PAGE, "exec"), {})


def test_the_patterns_can_be_published_and_are_applied(tmp_path: Path) -> None:
    (listed,) = blocks(PAGE, "yaml")
    folder = tmp_path / "tenants" / "acme" / "1"
    folder.mkdir(parents=True)
    (folder / "tenant.yaml").write_text(f"name: acme\nversion: 1\n{listed}")
    told = read_documents(tmp_path).tenants["acme", 1].model.tenant.redaction
    assert told is not None
    install_patterns({"acme": [TenantPattern(one.name, one.keyword, one.pattern) for one in told.patterns]})
    assert redact("let badge-123456 in") == f"let {REDACTED} in"
    install_patterns({})


def test_the_page_counts_what_there_is() -> None:
    from tests.unit.telemetry.planted_secrets import (
        ALONE,
        ALONE_HELD_OUT,
        BY_NAME,
        BY_NAME_HELD_OUT,
        FORMS,
        NAMED,
    )

    page = (ROOT / PAGE).read_text()
    places = len(ALONE) + len(ALONE_HELD_OUT) + len(BY_NAME) + len(BY_NAME_HELD_OUT)
    assert f"Of {len(FORMS) + len(NAMED)} kinds of made-up secrets in {places} places" in page
