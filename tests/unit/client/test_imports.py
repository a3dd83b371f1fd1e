"""A host that only builds an envelope or derives an id does not pay for Celery."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


def _loaded(code: str) -> set[str]:
    script = f"import json, sys\n{code}\nprint(json.dumps([name.partition('.')[0] for name in sys.modules]))"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(ended.stdout))


@pytest.mark.parametrize(
    "module",
    [
        "interlock",
        "interlock.envelope",
        "interlock.identity",
        "interlock.http_binding",
        "interlock.ingestion_message",
    ],
)
def test_the_module_loads_neither_celery_nor_redis(module: str) -> None:
    """Only enqueueing needs a broker."""
    assert not _loaded(f"import {module}") & {
        "celery",
        "kombu",
        "redis",
        "app",
        "tasks",
        "config",
        "opentelemetry",
    }


def test_the_short_names_are_loaded_when_asked_for() -> None:
    """``from interlock import Envelope`` is as light as the long way; the client brings Celery."""
    assert "celery" not in _loaded("from interlock import Envelope")
    assert "celery" in _loaded("from interlock import Client")


def test_enqueueing_loads_no_opentelemetry() -> None:
    """A host that traces has loaded it; of one that has not, there is no span."""
    code = "from interlock import enqueue; assert enqueue._current_traceparent() is None"
    assert "opentelemetry" not in _loaded(code)
