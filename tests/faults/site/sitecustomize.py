"""What the harness puts into the service's processes: nothing, unless the environment names an arming folder.

Python imports a module of this name at its start when its folder is on PYTHONPATH.
Source: docs.python.org/3/library/site.html.
"""

import os

if os.environ.get("FAULTS_ARMING"):
    from tests.faults.inside import crashing

    crashing.arm_this_process(os.environ["FAULTS_ARMING"])

if os.environ.get("FAULTS_PLANTED"):
    from tests.faults.inside import planting

    planting.plant(os.environ["FAULTS_PLANTED"])
