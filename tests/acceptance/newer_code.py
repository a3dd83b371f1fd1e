"""``celery -A tests.acceptance.newer_code``: workers of the next version."""

from __future__ import annotations

from tests.acceptance.newer_version import become_the_next_version
from tests.acceptance.older_code import celery

__all__ = ["celery"]

become_the_next_version()
