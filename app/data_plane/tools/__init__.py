"""Tools: typed functions that agents and workflows may call, and what a release pins of them."""

from __future__ import annotations

from app.data_plane.tools.calling import call_reading_tool, carried, outgoing, read_result
from app.data_plane.tools.declaring import (
    Arguments,
    Content,
    Outgoing,
    Reading,
    Result,
    Structured,
    Tool,
    tool,
)
from app.data_plane.tools.registry import (
    check_arguments,
    find,
    input_model,
    load_tools,
    output_model,
    shipped_tools,
)

__all__ = [
    "Arguments",
    "Content",
    "Outgoing",
    "Reading",
    "Result",
    "Structured",
    "Tool",
    "call_reading_tool",
    "carried",
    "check_arguments",
    "find",
    "input_model",
    "load_tools",
    "outgoing",
    "output_model",
    "read_result",
    "shipped_tools",
    "tool",
]
