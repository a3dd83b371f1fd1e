"""The reference documents with agents that take their time."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmark.running import DOCUMENTS


@contextmanager
def waiting(seconds: float, *, only: str = "") -> Iterator[Path]:
    """A folder of documents whose agents answer after ``seconds``, all of them or those that see ``only``."""
    with TemporaryDirectory(prefix="interlock-documents-") as folder:
        copy = Path(folder) / "documents"
        shutil.copytree(DOCUMENTS, copy)
        for rules in (copy / "providers" / "noop" / "1").glob("*.yaml"):
            if rules.name != "provider.yaml":
                rules.write_text(_slow_rule(rules.read_text(), seconds, only))
        yield copy


def _slow_rule(rules: str, seconds: float, only: str) -> str:
    """The rules with a slow one in front of them."""
    condition = f"    when: 'inputs.name == \"{only}\"'\n" if only else ""
    slow = f"  - answer: {{verdict: pass}}\n    delay_seconds: {seconds}\n{condition}"
    return rules.replace("rules:\n", f"rules:\n{slow}", 1)
