"""The tools that a command knows: the shipped ones, and those of the modules that the settings name."""

from __future__ import annotations

from collections.abc import Mapping

from app.data_plane.tools import load_tools
from app.kernel.tool_spec import ToolSpec
from config import settings


def tools_at_hand() -> Mapping[str, ToolSpec]:
    """Their contracts, by name. Raises InterlockError when a module of tools cannot be used."""
    return load_tools(settings.load().tool_modules)
