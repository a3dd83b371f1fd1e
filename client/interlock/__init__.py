"""Interlock's client: what a host application installs to enqueue governed agent workflows.

Import the part that is used (``interlock.envelope``, ``interlock.identity``): only ``interlock.enqueue``
loads Celery. ``interlock.Client`` and ``interlock.Envelope`` are loaded when first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from interlock.enqueue import Client
    from interlock.envelope import Envelope

__version__ = "0.1.0"
__all__ = ["Client", "Envelope", "__version__"]

_HOMES = {"Client": "interlock.enqueue", "Envelope": "interlock.envelope"}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'interlock' has no attribute {name!r}")
