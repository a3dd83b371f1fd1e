"""Celery's entry points: ``celery -A tasks worker -Q agent_runs``. One file for each queue, a few lines each."""

from app.bootstrap import worker_application

celery = worker_application()
