"""Interlock's client: what a host application installs to enqueue governed agent workflows.

Import the part that is used (``interlock.envelope``, ``interlock.identity``): none loads Celery or Redis by itself.
"""

__version__ = "0.1.0"
