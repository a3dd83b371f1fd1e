"""A workflow that repeats whatever it is told: what its model says goes to tools, to a target, and to people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

WORKFLOW = "canary"
TENANT = "aviary"
TOOLS = "tests.canaries.tools"

_DOCUMENTS: Mapping[str, str] = {
    "workflows/canary/1/workflow.yaml": """
name: canary
version: 1
subscribes: [dev.interlock.issue]
trusted: [event.issue.number]
stages:
  - name: read
    agents: [teller]
    timeout_seconds: 60
    proposal:
      type: object
      properties:
        level: {type: string, enum: [post, ask, none]}
        why: {type: string, maxLength: 2000}
      required: [level, why]
      additionalProperties: false
    aggregation: {rule: first_valid}
    fallback_review: {expires_seconds: 3600}
decision: {level: stages.read.level, why: stages.read.why}
reason: decision.why
targets:
  - {name: tracker, honours_keys: true}
  - {name: pager, honours_keys: false}
actions:
  - name: post
    when: decision.level == "post"
    tool: notes.post
    target: tracker
    arguments: {about: event.issue.title, text: decision.why}
  - name: page
    when: decision.level == "post" && event.issue.number % 3 == 0
    tool: notes.page
    target: pager
    arguments: {about: event.issue.title, text: decision.why}
  - name: ask
    when: decision.level == "ask"
    tool: notes.ask
    target: tracker
    approval: {expires_seconds: 3600}
    arguments: {about: event.issue.title, text: decision.why}
policy: canary
policy_version: 1
agent_versions: {teller: 1}
""",
    "agents/teller/1/agent.yaml": """
name: teller
version: 1
inputs: {title: event.issue.title, text: event.issue.body, author: event.issue.author}
tools: [{tool: notes.read}, {tool: notes.break}]
providers: [model]
provider_versions: {model: 1}
timeout_seconds: 25
""",
    "agents/teller/1/instructions.md": "Say what is to be done about this.\n",
    "providers/model/1/provider.yaml": """
kind: openai_compatible
name: model
version: 1
model: canary-1
base_url: env:INTERLOCK_CANARY_MODEL_URL
api_key: env:INTERLOCK_CANARY_MODEL_KEY
breaker: {failures: 1000, open_seconds: 1}
price: {input_usd: "1", output_usd: "4"}
""",
    "policies/canary/1/policy.cedar": """
@id("read") permit (principal, action == Action::"notes.read", resource);
@id("break") permit (principal, action == Action::"notes.break", resource);
@id("post") permit (principal, action == Action::"notes.post", resource);
@id("page") permit (principal, action == Action::"notes.page", resource);
@id("ask") @approval("somebody reads it first") permit (principal, action == Action::"notes.ask", resource);
""",
    "tenants/aviary/1/tenant.yaml": """
name: aviary
version: 1
api_keys: [env:INTERLOCK_CANARY_API_KEY]
webhook_secrets: {github: [env:INTERLOCK_CANARY_WEBHOOK_SECRET]}
signing_key: env:INTERLOCK_CANARY_SIGNING_KEY
targets:
  tracker: {url: env:INTERLOCK_CANARY_TARGET_URL, allow: [127.0.0.0/8]}
  pager: {url: env:INTERLOCK_CANARY_TARGET_URL, allow: [127.0.0.0/8]}
""",
}


def write_documents(folder: Path) -> Path:
    """Write them down; returns the folder."""
    for path, text in _DOCUMENTS.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder
