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
from app.data_plane.orchestration import recorder
from app.data_plane.ports import ModelAnswer, ModelRequest
from tasks import celery

__all__ = ["celery"]

_ask = ScriptedModel.ask


async def _stuck_once(self: ScriptedModel, request: ModelRequest) -> ModelAnswer:
    try:
        (Path(os.environ["INTERLOCK_HOME"]) / "stuck").touch(exist_ok=False)
    except FileExistsError:
        return await _ask(self, request)
    threading.Event().wait()
    raise AssertionError("nobody sets the event")


ScriptedModel.ask = _stuck_once  # type: ignore[method-assign]
recorder.RUN_LEASE_MARGIN_SECONDS = 2.0
watchdog.Watchdog.__init__.__kwdefaults__["margin_seconds"] = 1.0
watchdog.FIRST_LIMIT_SECONDS = 3.0
watchdog.Watchdog.watching.__wrapped__.__defaults__ = (3.0,)  # type: ignore[attr-defined]
