"""A workflow of one stage whose agent calls tools: it looks something up, and then writes or sends.

``reference.record`` is permitted by the policy for the subject ``routine``, needs a person's consent for ``risky`` (two
people for ``grave``), and nothing else is permitted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.data_plane.tools import shipped_tools
from app.kernel.release import (
    ActionTemplate,
    AgentBundle,
    Policy,
    Release,
    ScriptedCall,
    ScriptedProvider,
    ScriptedRule,
    Target,
    WorkflowTemplate,
)
from app.kernel.tool_spec import AgentTool, Approval
from tests.branching_workflow import stage

CEDAR = """
@id("read") permit (principal is Agent, action == Action::"directory.lookup", resource);
@id("routine") permit (principal, action == Action::"reference.record", resource)
when { context.arguments.subject == "routine" };
@id("risky") @approval("it is risky") permit (principal, action == Action::"reference.record", resource)
when { context.arguments.subject == "risky" };
@id("grave") @approval("it is grave") @four_eyes permit (principal, action == Action::"reference.record", resource)
when { context.arguments.subject == "grave" };
"""
LOOKUP = ScriptedCall(tool="directory.lookup", arguments={"collection": '"services"', "key": '"octo"'})


def record(subject: str, verdict: str = "fine") -> ScriptedCall:
    """A call that writes."""
    return ScriptedCall(
        tool="reference.record", arguments={"subject": f'"{subject}"', "verdict": f'"{verdict}"'}
    )


def calling_release(
    *turns: Sequence[ScriptedCall],
    action: str = "",
    expires_seconds: float = 3600.0,
    target: Mapping[str, object] | None = None,
    agent: Mapping[str, object] | None = None,
) -> Release:
    """An agent whose answers call these tools, turn by turn, and then say that the level is low.

    Args:
        action: the subject of an action that the decision asks for; none when it is empty.
    """
    rules = [
        ScriptedRule(agent="alpha", calls=tuple(calls), turn=number) for number, calls in enumerate(turns)
    ]
    rules.append(ScriptedRule(agent="alpha", answer={"level": "low"}))
    approval = Approval(expires_seconds=expires_seconds)
    actions = [
        ActionTemplate(
            name="record",
            tool="reference.record",
            target="tracker",
            arguments={"subject": f'"{action}"', "verdict": "decision.level"},
            approval=approval,
        )
    ]
    template = WorkflowTemplate(
        name="calling",
        version=1,
        subscribes=("dev.interlock.issue",),
        stages=(stage("classify", ("alpha",), fallback={"level": "high"}),),
        decision={"level": "stages.classify.level"},
        reason='"it is " + decision.level',
        targets=(Target.model_validate({"name": "tracker", "honours_keys": True, **(target or {})}),),
        actions=tuple(actions if action else ()),
        policy="calling",
        policy_version=1,
        agent_versions={"alpha": 1},
    )
    alpha = AgentBundle.model_validate(
        {
            "name": "alpha",
            "version": 1,
            "instructions": "Say how high the level is.",
            "inputs": {"title": "event.issue.title"},
            "providers": ("script",),
            "provider_versions": {"script": 1},
            "tools": (
                AgentTool(tool="directory.lookup"),
                AgentTool(tool="reference.record", target="tracker", approval=approval),
            ),
            **(agent or {}),
        }
    )
    tools = ("directory.lookup", "reference.record")
    return Release(
        template=template,
        agents={"alpha": alpha},
        providers={"script": ScriptedProvider(kind="scripted", name="script", version=1, rules=tuple(rules))},
        policy=Policy(name="calling", version=1, cedar=CEDAR),
        tools={name: shipped_tools()[name] for name in tools},
        gateway="gateway/1",
    )
