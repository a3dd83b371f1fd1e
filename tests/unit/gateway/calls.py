"""What the tests of the gateway share: a tool that sends mail, a directory that is trusted, and a policy for both."""

from __future__ import annotations

from app.data_plane.gateway.judge import Principal, Question, Verdict, judge
from app.data_plane.gateway.provenance import Origin, Sources
from app.kernel.release import Policy
from app.kernel.tool_spec import ToolSpec
from interlock.canonical import JsonObject

MAIL = ToolSpec(
    name="mail.send",
    version=1,
    effect="egress",
    description="Sends a mail.",
    input_schema={
        "type": "object",
        "properties": {
            "to": {"type": "array", "items": {"type": "string"}},
            "cc": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "urgency": {"enum": ["now", "later"]},
            "copies": {"type": "integer", "minimum": 1},
            "price": {"type": "number"},
            "body": {"type": "string", "x-interlock": "content"},
        },
        "required": ["to", "body"],
    },
    output_schema={"type": "object"},
)
DIRECTORY = ToolSpec(
    name="directory.find",
    version=1,
    effect="read",
    trusted=True,
    input_schema={"type": "object", "properties": {"name": {"type": "string"}}},
    output_schema={
        "type": "object",
        "properties": {
            "email": {"type": "string", "format": "email"},
            "team": {"type": "string", "x-interlock": "structured"},
            "note": {"type": "string"},
            "phone": {"anyOf": [{"type": "string", "x-interlock": "structured"}, {"type": "null"}]},
            "desk": {"type": "integer"},
            "manager": {"$ref": "#/$defs/Person"},
            "groups": {"type": "array", "items": {"$ref": "#/$defs/Person"}},
            "labels": {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "x-interlock": "structured",
            },
        },
        "$defs": {
            "Person": {
                "type": "object",
                "properties": {"id": {"type": "string", "x-interlock": "structured"}},
            }
        },
    },
)


def policy(cedar: str) -> Policy:
    return Policy(name="test", version=1, cedar=cedar)


def asked(text: str) -> Sources:
    """Sources that know a request and nothing else."""
    sources = Sources()
    sources.add_text(Origin.EVENT, "request", text)
    return sources


def verdict(
    cedar: str, arguments: JsonObject, sources: Sources | None = None, tool: ToolSpec = MAIL
) -> Verdict:
    """What a policy says of an agent's call."""
    return judge(policy(cedar), question(arguments, sources or Sources(), tool))


def question(arguments: JsonObject, sources: Sources, tool: ToolSpec = MAIL) -> Question:
    return Question(
        principal=Principal("Agent", "clerk"),
        workflow="support",
        tool=tool.name,
        target="outbox",
        tenant_id="acme",
        arguments=arguments,
        provenance=sources.trace(arguments, tool),
        asked=sources.asked,
    )
