"""Flower's options (https://flower.readthedocs.io/en/latest/config.html); address and port come from the topology.

Flower shows messages and workers. What was decided and why is in PostgreSQL, not here.

It asks for a password, and only shows: ``read_only`` refuses whatever would control a worker or publish a message.
"""

import os

from app.supervisor.flower_access import basic_auth as _who_is_let_in
from config import settings as _settings

basic_auth = _who_is_let_in(os.environ, _settings.load().home)
read_only = True
enable_events = False  # It would be control; the workers send theirs unasked.
purge_offline_workers = 60
max_tasks = 10_000
natural_time = False
tasks_columns = "name,args,result,state,received,runtime"
