"""The names of spans and attributes, in one place: the GenAI conventions are still changing.

They follow OpenTelemetry's semantic conventions where those have a name. Content (prompts, answers,
arguments) is never an attribute; digests are.
"""

from __future__ import annotations

from typing import Final

TENANT_ID: Final = "tenant_id"
EVENT_ID: Final = "event_id"
ORCHESTRATION_ID: Final = "orchestration_id"
RUN_ID: Final = "run_id"
CORRELATION_KEYS: Final = (TENANT_ID, EVENT_ID, ORCHESTRATION_ID, RUN_ID)

SPAN_INGESTION: Final = "ingestion"
SPAN_ORCHESTRATION: Final = "orchestration"
SPAN_AGGREGATION: Final = "aggregation"
SPAN_DECISION: Final = "decision"
SPAN_DISPATCH: Final = "dispatch"
SPAN_RERUN: Final = "rerun"
SPAN_RESUME: Final = "resume"
SPAN_PROBE: Final = "probe"
SPAN_REVIEW_WAIT: Final = "review_wait"
SPAN_SETTLEMENT: Final = "settlement"
SPAN_CANCEL: Final = "cancel"
SPAN_GAVE_UP: Final = "gave_up"

WORKFLOW: Final = "interlock.workflow"
RELEASE: Final = "interlock.release"
REPLAY_ID: Final = "interlock.replay.id"
CHANNEL: Final = "interlock.channel"
STAGE: Final = "interlock.stage"
RULE: Final = "interlock.rule"
DECISION_DIGEST: Final = "interlock.decision.digest"
PROPOSAL_DIGEST: Final = "interlock.proposal.digest"
ACTION_ID: Final = "interlock.action.id"
ACTION_TOOL: Final = "interlock.action.tool"
TARGET: Final = "interlock.target"
ATTEMPT: Final = "interlock.attempt"
OUTCOME: Final = "interlock.outcome"
QUEUE: Final = "interlock.queue"
BATCH_SIZE: Final = "interlock.batch.size"
MESSAGE: Final = "message"
"""What the ids of messages' spans are derived from, besides their own."""
REDELIVERED: Final = "interlock.redelivered"
LINK: Final = "interlock.link"
"""On a link: why it is there, one of ``span_ids.LinkKind``."""
EFFECT: Final = "interlock.policy.effect"
"""What a judgement came to: ``permitted``, ``denied`` or ``approval``."""
POLICIES: Final = "interlock.policy.ids"
"""The ids of the policies that decided it."""
STEP_ID: Final = "interlock.step.id"
DEGRADED: Final = "interlock.degraded"
ACTIONS: Final = "interlock.actions"
ERROR_TYPE: Final = "error.type"
HTTP_STATUS: Final = "http.response.status_code"

EVENT_PROVIDER_HOP: Final = "interlock.provider.hop"
EVENT_PUBLISH_FAILED: Final = "interlock.publish.failed"
TO: Final = "to"
LEFT: Final = "left"
REASON: Final = "reason"

GEN_AI_OPERATION: Final = "gen_ai.operation.name"
GEN_AI_AGENT: Final = "gen_ai.agent.name"
GEN_AI_PROVIDER: Final = "gen_ai.provider.name"
GEN_AI_REQUEST_MODEL: Final = "gen_ai.request.model"
GEN_AI_RESPONSE_MODEL: Final = "gen_ai.response.model"
GEN_AI_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
GEN_AI_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
GEN_AI_TOOL: Final = "gen_ai.tool.name"

INVOKE_AGENT: Final = "invoke_agent"
CHAT: Final = "chat"
EXECUTE_TOOL: Final = "execute_tool"
"""The values of ``gen_ai.operation.name``."""


def agent_span(agent: str) -> str:
    """The name of a run's span."""
    return f"{INVOKE_AGENT} {agent}"


def model_span(model: str) -> str:
    """The name of the span of one question to a model."""
    return f"{CHAT} {model}"


def tool_span(tool: str) -> str:
    """The name of the span of one call of a tool."""
    return f"{EXECUTE_TOOL} {tool}"


def policy_span(tool: str) -> str:
    """The name of the span of one judgement of a call of a tool."""
    return f"policy {tool}"


def approval_span(tool: str) -> str:
    """The name of the span of one wait for people's consent."""
    return f"approval_wait {tool}"


def batch_span(queue: str) -> str:
    """The name of the span of a batch that no message carries: of an HTTP request, or a command."""
    return f"batch {queue}"
