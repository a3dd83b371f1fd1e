"""``celery -A tests.acceptance.older_code``: today's workers, whose soft shutdown is as short as a test's steps are.

Celery sleeps out the whole of it whenever a worker is ended at work, and 40 of those would be minutes.
"""

from __future__ import annotations

from tasks import celery

__all__ = ["celery"]

SOFT_SHUTDOWN_SECONDS = 4.0

celery.conf.worker_soft_shutdown_timeout = SOFT_SHUTDOWN_SECONDS
