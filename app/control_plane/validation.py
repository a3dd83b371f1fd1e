"""Checks a workflow against everything it names, before a release is made of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from app.control_plane.agent_tools import USE_ANOTHER_TARGET, without_key
from app.control_plane.expressions import Members, Variables, check_expression
from app.control_plane.problems import Problem
from app.kernel.document import Expression
from app.kernel.proposal_schema import compiled, problems
from app.kernel.release import AgentBundle, ScriptedProvider, ScriptedRule, Stage, WorkflowTemplate
from app.kernel.schema_check import misfit
from app.kernel.schema_words import fields_of
from app.kernel.tool_spec import ToolSpec
from interlock.canonical import JsonValue

_EVENT_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\*?|\*")
_FIELD = re.compile(r"[a-z][a-z0-9_]{0,62}")
_CORRECT = "Correct the expression."
_FALLBACKS = ("fallback", "fallback_rule", "fallback_review")


@dataclass
class Findings:
    """Collects the problems of one document."""

    path: str
    problems: list[Problem] = field(default_factory=list)

    def add(self, place: str, reason: str, remedy: str) -> None:
        """Notes a problem at a field of the document."""
        self.problems.append(Problem(self.path, place, reason, remedy))

    def expression(self, place: str, expression: Expression | None, variables: Variables) -> None:
        """Notes what is wrong with an expression."""
        for reason in check_expression(expression, variables) if expression else ():
            self.add(place, reason, _CORRECT)

    def expressions(self, place: str, expressions: Mapping[str, Expression], variables: Variables) -> None:
        """Notes what is wrong with named expressions."""
        for name, expression in expressions.items():
            self.expression(f"{place}.{name}", expression, variables)


def check_template(template: WorkflowTemplate, path: str, tools: Mapping[str, ToolSpec]) -> list[Problem]:
    """Everything that is wrong with a template by itself and against the tools that it calls."""
    findings = Findings(path)
    _check_subscriptions(template, findings)
    _check_distinct("trusted", template.trusted, findings)
    _check_names(template, findings)
    _check_order(template, findings)
    for stage in template.stages:
        _check_stage(stage, f"stages.{stage.name}", findings)
    _check_lookups(template, tools, findings)
    _check_targets(template, findings)
    _check_actions(template, tools, findings)
    ancestors = earlier_stages(template)
    for stage in template.stages:
        variables = variables_of(template, tools, ancestors[stage.name])
        findings.expression(f"stages.{stage.name}.when", stage.when, variables)
        findings.expressions(f"stages.{stage.name}.fallback_rule", stage.fallback_rule or {}, variables)
    every = variables_of(template, tools, tuple(stage.name for stage in template.stages))
    findings.expressions("decision", template.decision, every)
    decided: Variables = {**every, "decision": dict.fromkeys(template.decision)}
    findings.expression("reason", template.reason, decided)
    for action in template.actions:
        findings.expression(f"actions.{action.name}.when", action.when, decided)
        findings.expressions(f"actions.{action.name}.arguments", action.arguments, decided)
    return findings.problems


def check_agent(agent: AgentBundle, path: str, stages: Mapping[str, Variables]) -> list[Problem]:
    """What is wrong with an agent in the stages that call it, given what may be read in each."""
    findings = Findings(path)
    if len(set(agent.providers)) != len(agent.providers):
        findings.add("providers", "a provider is named twice", "Name each once.")
    if agent.hedge_after_seconds is not None and len(agent.providers) < 2:
        findings.add("hedge_after_seconds", "there is no second provider", "Name one, or remove it.")
    for stage, variables in stages.items():
        for name, expression in agent.inputs.items():
            for reason in check_expression(expression, variables):
                findings.add(f"inputs.{name}", f"in stage {stage!r}, {reason}", _CORRECT)
    return findings.problems


def check_scripted(
    provider: ScriptedProvider, path: str, agents: Mapping[str, AgentBundle], template: WorkflowTemplate
) -> list[Problem]:
    """What is wrong with a scripted provider's rules for these agents of the template.

    An answer that is an object must be a valid proposal; one that is meant to be invalid is written as text.
    """
    findings = Findings(path)
    for name, agent in agents.items():
        rules = [rule for rule in provider.rules if rule.agent == name]
        if not rules:
            findings.add(name, "it has no rule for this agent", f"Add {name}.yaml beside it.")
        inputs: Variables = {"inputs": dict.fromkeys(agent.inputs), "results": None}
        schemas = [stage.proposal for stage in template.stages if name in stage.agents]
        for position, rule in enumerate(rules):
            place = f"{name}.rules.{position}"
            findings.expression(f"{place}.when", rule.when, inputs)
            _check_outcome(rule, place, findings)
            for number, call in enumerate(rule.calls):
                if isinstance(call.arguments, Mapping):
                    findings.expressions(f"{place}.calls.{number}.arguments", call.arguments, inputs)
            if isinstance(rule.answer, Mapping):
                reasons = [_misfit(schema, rule.answer) for schema in schemas if not problems(schema)]
                if reasons and all(reasons):
                    findings.add(f"{place}.answer", str(reasons[0]), "Correct it, or write it as text.")
    return findings.problems


def _check_outcome(rule: ScriptedRule, place: str, findings: Findings) -> None:
    """A rule answers, fails or calls tools; beside its calls it may say something."""
    if rule.failure is None and "answer" not in rule.model_fields_set and not rule.calls:
        reason = "it has neither an answer nor a failure, and calls no tool"
        findings.add(place, reason, "Give it one of the three.")
    if rule.failure is not None and rule.answer != "":
        findings.add(place, "it has both an answer and a failure", "Give it one of the two.")
    if rule.failure is not None and rule.calls:
        findings.add(place, "it calls tools and fails", "Give it `calls` or `failure`.")
    if rule.calls and isinstance(rule.answer, Mapping):
        reason = "it calls tools, and has a proposal beside them, which nobody would read"
        findings.add(place, reason, "Write what it says beside its calls as text, or remove one of the two.")


def earlier_stages(template: WorkflowTemplate) -> dict[str, tuple[str, ...]]:
    """By stage: all that are settled before it starts, in the template's order. Cycles are no error."""
    return {stage.name: template.earlier(stage.name) for stage in template.stages}


def variables_of(
    template: WorkflowTemplate, tools: Mapping[str, ToolSpec], stages: Sequence[str]
) -> Variables:
    """What an expression may read once these stages are settled."""
    snapshot: Members = {
        lookup.name: _properties(tools[lookup.tool].output_schema) if lookup.tool in tools else None
        for lookup in template.lookups
    }
    outcomes: Members = {
        stage.name: _properties(stage.proposal) for stage in template.stages if stage.name in stages
    }
    return {"event": None, "snapshot": snapshot, "stages": outcomes}


def _properties(schema: Mapping[str, JsonValue]) -> frozenset[str] | None:
    properties = schema.get("properties")
    return frozenset(properties) if isinstance(properties, Mapping) else None


def _check_subscriptions(template: WorkflowTemplate, findings: Findings) -> None:
    for position, pattern in enumerate(template.subscribes):
        if not _EVENT_TYPE.fullmatch(pattern):
            remedy = "Write the type, with * at its end for any rest."
            findings.add(f"subscribes.{position}", f"{pattern!r} is not an event type", remedy)
    _check_distinct("subscribes", template.subscribes, findings)


def _check_names(template: WorkflowTemplate, findings: Findings) -> None:
    _check_distinct("stages", [stage.name for stage in template.stages], findings)
    _check_distinct("lookups", [lookup.name for lookup in template.lookups], findings)
    _check_distinct("targets", [target.name for target in template.targets], findings)
    _check_distinct("actions", [action.name for action in template.actions], findings)
    for name in template.decision:
        if not _FIELD.fullmatch(name):
            findings.add(f"decision.{name}", "it is not a field's name", "Use small letters, digits and _.")
    if not template.decision:
        findings.add("decision", "it has no fields", "Say what the decision is.")
    called = {agent for stage in template.stages for agent in stage.agents}
    for agent in sorted(called - set(template.agent_versions)):
        findings.add("agent_versions", f"the agent {agent!r} has no version", f"Add `{agent}: <version>`.")
    for agent in sorted(set(template.agent_versions) - called):
        findings.add(f"agent_versions.{agent}", "no stage calls this agent", "Remove it.")


def _check_distinct(place: str, names: Sequence[str], findings: Findings) -> None:
    for name in sorted({name for name in names if names.count(name) > 1}):
        findings.add(place, f"{name!r} is there twice", "Give each a name of its own.")


def _check_order(template: WorkflowTemplate, findings: Findings) -> None:
    known = {stage.name for stage in template.stages}
    for stage in template.stages:
        for earlier in stage.after:
            if earlier not in known:
                remedy = f"Name one of {', '.join(sorted(known))}."
                findings.add(f"stages.{stage.name}.after", f"there is no stage {earlier!r}", remedy)
        _check_distinct(f"stages.{stage.name}.after", stage.after, findings)
    in_cycle = [name for name, earlier in earlier_stages(template).items() if name in earlier]
    if in_cycle:
        reason = f"the stages {', '.join(sorted(in_cycle))} wait for each other"
        findings.add("stages", f"there is a cycle: {reason}", "Remove one `after` of the cycle.")


def _check_stage(stage: Stage, place: str, findings: Findings) -> None:
    _check_distinct(f"{place}.agents", stage.agents, findings)
    rule = stage.aggregation
    if rule.version != 1:
        reason = f"there is no version {rule.version} of {rule.rule!r}"
        findings.add(f"{place}.aggregation.version", reason, "Use 1.")
    for agent, weight in rule.weights.items():
        if agent not in stage.agents:
            reason = f"the agent {agent!r} is not in this stage"
            findings.add(f"{place}.aggregation.weights", reason, "Remove it.")
        if weight < 0:
            findings.add(f"{place}.aggregation.weights.{agent}", "it is below 0", "Use 0 or more.")
    if rule.weights and rule.rule != "weighted":
        findings.add(f"{place}.aggregation.weights", f"{rule.rule!r} has no weights", "Remove them.")
    given = [name for name in _FALLBACKS if getattr(stage, name) is not None]
    if len(given) > 1:
        reason = f"it has {' and '.join(given)}, and only one can answer when no proposal is valid"
        findings.add(place, reason, f"Keep one of {', '.join(given)}.")
    unsupported = problems(stage.proposal)
    for reason in unsupported:
        findings.add(f"{place}.proposal", reason, "See app/kernel/proposal_schema.py for what is supported.")
    if not unsupported:
        _check_against_proposal(stage, place, findings)


def _check_against_proposal(stage: Stage, place: str, findings: Findings) -> None:
    known = _properties(stage.proposal) or frozenset()
    over = stage.aggregation.over
    for name in over:
        if name not in known:
            remedy = f"Name one of {', '.join(sorted(known))}."
            findings.add(f"{place}.aggregation.over", f"the proposal has no field {name!r}", remedy)
    if not over and stage.aggregation.rule != "first_valid":
        findings.add(f"{place}.aggregation.over", "a vote is about fields, and none is named", "Name them.")
    if over and stage.aggregation.rule == "first_valid":
        findings.add(f"{place}.aggregation.over", "'first_valid' takes no vote", "Remove it.")
    reason = None if stage.fallback is None else _misfit(stage.proposal, stage.fallback)
    if reason:
        findings.add(f"{place}.fallback", reason, "Make it a valid proposal.")
    if stage.fallback_rule is not None:
        _check_fallback_rule(stage.fallback_rule, stage, place, findings)


def _check_fallback_rule(
    rule: Mapping[str, Expression], stage: Stage, place: str, findings: Findings
) -> None:
    """It gives every field that a proposal must have, and none that it cannot have."""
    known = {told.name: told.required for told in fields_of(stage.proposal)}
    for name, required in known.items():
        if required and name not in rule:
            reason = f"a proposal needs the field {name!r}"
            findings.add(f"{place}.fallback_rule", reason, f"Add `{name}:` and its expression.")
    for name in rule:
        if name not in known:
            remedy = f"Name one of {', '.join(sorted(known))}."
            findings.add(f"{place}.fallback_rule.{name}", f"the proposal has no field {name!r}", remedy)


def _misfit(schema: Mapping[str, JsonValue], proposal: Mapping[str, JsonValue]) -> str | None:
    """Why ``proposal`` does not fit ``schema``, which is a supported one."""
    found = misfit(compiled(schema), proposal)
    return f"it does not fit the proposal's schema ({found})" if found is not None else None


def _check_lookups(template: WorkflowTemplate, tools: Mapping[str, ToolSpec], findings: Findings) -> None:
    for lookup in template.lookups:
        place = f"lookups.{lookup.name}"
        tool = _tool(lookup.tool, place, tools, findings)
        if tool is None:
            continue
        if tool.effect != "read":
            reason = f"{tool.name!r} has the effect {tool.effect!r}, and lookups only read"
            findings.add(f"{place}.tool", reason, "Call it in an action.")
        _check_arguments(lookup.arguments, tool, place, findings)
        findings.expressions(f"{place}.arguments", lookup.arguments, {"event": None})


def _check_targets(template: WorkflowTemplate, findings: Findings) -> None:
    for target in template.targets:
        path = target.probe_path or ""
        rest = path.replace("{key}", "", 1)
        if "{" in rest or "}" in rest:
            remedy = "Write {key} once, where the action's idempotency key belongs."
            findings.add(f"targets.{target.name}.probe_path", "only {key} is known, and once", remedy)
        if "#" in rest:
            findings.add(
                f"targets.{target.name}.probe_path",
                "a fragment (#) is never sent",
                "Take it out of the path.",
            )


def _check_actions(template: WorkflowTemplate, tools: Mapping[str, ToolSpec], findings: Findings) -> None:
    targets = {target.name for target in template.targets}
    for action in template.actions:
        place = f"actions.{action.name}"
        if action.target not in targets:
            remedy = f"Name one of {', '.join(sorted(targets)) or 'the targets that you declare'}."
            findings.add(f"{place}.target", f"there is no target {action.target!r}", remedy)
        tool = _tool(action.tool, place, tools, findings)
        if tool is None:
            continue
        if tool.effect == "read":
            findings.add(f"{place}.tool", f"{tool.name!r} only reads", "Make it a lookup.")
        if (keyless := without_key(tool, action.target, template)) is not None:
            findings.add(f"{place}.target", keyless, USE_ANOTHER_TARGET)
        _check_arguments(action.arguments, tool, place, findings)


def _tool(name: str, place: str, tools: Mapping[str, ToolSpec], findings: Findings) -> ToolSpec | None:
    if name not in tools:
        findings.add(
            f"{place}.tool", f"there is no tool {name!r}", f"Name one of {', '.join(sorted(tools))}."
        )
    return tools.get(name)


def _check_arguments(
    arguments: Mapping[str, Expression], tool: ToolSpec, place: str, findings: Findings
) -> None:
    for name in _argument_gaps(arguments, tool):
        reason = f"{tool.name!r} needs the argument {name!r}"
        findings.add(f"{place}.arguments", reason, f"Add `{name}:`.")
    known = _properties(tool.input_schema) or frozenset()
    for name in arguments:
        if name not in known:
            remedy = f"Use {', '.join(sorted(known))}."
            findings.add(f"{place}.arguments.{name}", f"{tool.name!r} has no such argument", remedy)


def _argument_gaps(arguments: Mapping[str, Expression], tool: ToolSpec) -> Iterator[str]:
    required = tool.input_schema.get("required", ())
    assert isinstance(required, (list, tuple))
    for name in required:
        if name not in arguments:
            yield str(name)
