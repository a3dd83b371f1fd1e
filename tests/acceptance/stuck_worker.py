"""``celery -A tests.acceptance.stuck_worker``: the first model that is asked never gives its thread back.

It stands for code that no time limit reaches: the whole event loop of the process waits for it. Margins are shortened,
so that a test need not wait for them.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from app.adapters import watchdog
from app.adapters.providers.scripted import ScriptedModel
from app.data_plane.models import ModelAnswer, ModelRequest
from app.data_plane.orchestration import steps
from tasks import celery
from tests.replacing import replace, replace_default

__all__ = ["celery"]

LEASE_MARGIN_SECONDS = 2.0

_ask = ScriptedModel.ask


async def _stuck_once(self: ScriptedModel, request: ModelRequest) -> ModelAnswer:
    try:
        (Path(os.environ["INTERLOCK_HOME"]) / "stuck").touch(exist_ok=False)
    except FileExistsError:
        return await _ask(self, request)
    threading.Event().wait()
    raise AssertionError("nobody sets the event")


replace(ScriptedModel, "ask", _stuck_once)
replace(steps, "LEASE_MARGIN_SECONDS", LEASE_MARGIN_SECONDS)
replace_default(watchdog.Watchdog.__init__, "margin_seconds", 1.0)
replace_default(watchdog.Watchdog.watching, "seconds", 3.0)
