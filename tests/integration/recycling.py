"""The service's Celery application, except that each child of a prefork pool is replaced after four tasks."""

from __future__ import annotations

from tasks import celery

celery.conf.worker_max_tasks_per_child = 4
