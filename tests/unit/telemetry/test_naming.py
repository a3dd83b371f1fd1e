"""The GenAI conventions are still changing: what we call things is what the pinned package calls them."""

from __future__ import annotations

from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as conventions

from app.telemetry import naming


def test_the_genai_names_are_those_of_the_conventions() -> None:
    """Every name of ours that begins with ``gen_ai.``; and no other module spells one."""
    known = {value for name, value in vars(conventions).items() if name.startswith("GEN_AI_")}
    ours = {value for name, value in vars(naming).items() if name.startswith("GEN_AI_")}
    assert ours
    assert ours <= known


def test_the_operations_are_those_of_the_conventions() -> None:
    """``chat``, ``invoke_agent`` and ``execute_tool`` are well-known values of ``gen_ai.operation.name``."""
    known = {one.value for one in conventions.GenAiOperationNameValues}
    assert {naming.CHAT, naming.INVOKE_AGENT, naming.EXECUTE_TOOL} <= known
