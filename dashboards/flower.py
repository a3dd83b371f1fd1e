"""Flower's options (https://flower.readthedocs.io/en/latest/config.html); address and port come from the topology.

Flower shows messages and workers. What was decided and why is in PostgreSQL, not here.

Without a password Flower only shows: its API, which is how it would control workers, answers 401. A password is set
by the variable ``FLOWER_BASIC_AUTH`` (``name:password``), and is then asked for; it permits the API, too.
"""

purge_offline_workers = 60
max_tasks = 10_000
natural_time = False
tasks_columns = "name,uuid,state,args,result,received,started,runtime,worker"
