"""Guards: every metric that has a name is documented, and nothing else is."""

from __future__ import annotations

import re

from app.telemetry import metric_names
from tests.documented import ROOT

NAMES = {value for name, value in vars(metric_names).items() if name.isupper() and isinstance(value, str)}
ROWS = re.findall(r"^\| `(\w+)` \| ([\w, ]*)\|", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE)


def test_each_metric_has_one_row_of_the_documentation() -> None:
    """An operator looks a name up there; one that is gone must not be found."""
    assert sorted(name for name, _ in ROWS) == sorted(NAMES)


def test_names_say_what_they_are() -> None:
    """prometheus.io/docs/practices/naming: counters end in _total, times are seconds."""
    for name in NAMES:
        assert name.startswith(("celery_", "interlock_", "gen_ai_client_")), name
        assert not name.endswith(("_ms", "_milliseconds", "_count", "_sum", "_bucket"))
