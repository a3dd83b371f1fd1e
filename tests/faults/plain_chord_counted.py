"""``celery -A tests.faults.plain_chord_counted``: Interlock's workers, which note model calls and repeated messages."""

from __future__ import annotations

import os
from pathlib import Path

from app.adapters.providers.scripted import ScriptedModel
from app.data_plane.models import ModelAnswer, ModelRequest
from tasks import celery
from tests.faults.plain_chord_load import Environment, note, note_redeliveries

__all__ = ["celery"]

_ask = ScriptedModel.ask


async def _noted_ask(model: ScriptedModel, request: ModelRequest) -> ModelAnswer:
    note(Path(os.environ[Environment.MODEL_CALLS]))
    return await _ask(model, request)


ScriptedModel.ask = _noted_ask  # type: ignore[method-assign, assignment]
note_redeliveries()
