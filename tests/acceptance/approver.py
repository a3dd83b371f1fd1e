"""A person in a process of their own: answers what is told on the input, each at its moment, and says what came of it.

``python -m tests.acceptance.approver``, with the settings of the service in its environment.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from typing import Literal

from app.bootstrap import Services, api_services
from app.data_plane.orchestration.approvals import Answer, give
from app.data_plane.orchestration.cancel import Cancellation, cancel
from app.kernel.errors import InterlockError
from app.kernel.release import Policy

TENANT = "demo"
Verb = Literal["approve", "deny", "cancel"]


@dataclass(frozen=True, slots=True)
class Order:
    """One answer to be given.

    Args:
        at: when, in seconds since the epoch; at once when that is over.
    """

    verb: Verb
    orchestration_id: str
    action_id: str
    actor: str
    at: float = 0.0
    shown: str = ""


def policy_in_force(services: Services, orchestration_id: str) -> Policy | None:
    """The policy of the release that the orchestration's workflow is routed to now."""
    history = services.store.histories([TENANT], [orchestration_id])[orchestration_id]
    workflow = services.releases.get(history.release).workflow
    for route in services.releases.routes():
        if route.workflow == workflow:
            return services.releases.get(route.release).policy
    return None


def carry_out(services: Services, order: Order) -> str:
    """What came of it: ``given``, or the code of the error."""
    while time.time() < order.at:
        continue
    try:
        if order.verb == "cancel":
            steps = _open_steps(services, order.orchestration_id)
            cancel(
                services.recorder,
                Cancellation(TENANT, order.orchestration_id, order.actor, "a race", steps),
            )
            return "given"
        give(
            services.recorder,
            Answer(
                TENANT,
                order.orchestration_id,
                order.action_id,
                consents=order.verb == "approve",
                actor=order.actor,
                reason="a race",
                shown=order.shown,
                policy=policy_in_force(services, order.orchestration_id),
            ),
            services.clock.now,
        )
    except InterlockError as error:
        return error.code
    return "given"


def _open_steps(services: Services, orchestration_id: str) -> tuple[str, ...]:
    with services.database.transaction([TENANT]) as connection:
        found = connection.execute(
            "SELECT step_id FROM work_index WHERE orchestration_id = %s AND finished_at IS NULL",
            [orchestration_id],
        )
        return tuple(row[0] for row in found)


def main() -> None:
    """An order a line in, what came of it a line out."""
    if os.environ.get("FAULTS_ARMING"):
        from tests.faults.inside import crashing

        crashing.arm_this_process(os.environ["FAULTS_ARMING"])
    services = api_services()
    services.check_ready()
    print("ready", flush=True)
    for line in sys.stdin:
        print(carry_out(services, Order(**json.loads(line))), flush=True)
    services.close()


def line_of(order: Order) -> bytes:
    """The order as its process reads it."""
    return json.dumps(asdict(order)).encode() + b"\n"


if __name__ == "__main__":
    main()
