"""What a page of documentation shows: documents under their paths, and commands; so that tests can run them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str, kind: str) -> list[str]:
    """The blocks of one language, in the page's order."""
    return [body for language, body in _BLOCK.findall((ROOT / page).read_text()) if language == kind]


def commands(page: str) -> list[str]:
    """The lines of the page's shell blocks."""
    return [line for body in blocks(page, "sh") for line in body.splitlines()]


def write_documents(page: str, folder: Path) -> None:
    """Write every block that begins with a path (``# workflows/...``) to that path under ``folder``."""
    for body in [*blocks(page, "yaml"), *blocks(page, "text")]:
        title, _, content = body.partition("\n")
        file = folder / title.removeprefix("# ")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
