"""Flower's options (https://flower.readthedocs.io/en/latest/config.html); address and port come from the topology.

Flower shows messages and workers. What was decided and why is in PostgreSQL, not here.
"""

purge_offline_workers = 60
max_tasks = 10_000
natural_time = False
tasks_columns = "name,uuid,state,args,result,received,started,runtime,worker"
