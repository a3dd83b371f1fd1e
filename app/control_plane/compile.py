"""Compiles documents into releases: what one workflow's orchestrations will be pinned to, checked and closed.

The same documents and tools give the same release on every machine, whatever order the files were read in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from app.control_plane.agent_tools import check_agent_tools, check_first_provider
from app.control_plane.combination import check_combination
from app.control_plane.documents import Document, Documents
from app.control_plane.policies import check_policy
from app.control_plane.prices import counts_money, price_of
from app.control_plane.problems import DocumentError, Problem
from app.control_plane.reads import reads_of
from app.control_plane.statements import statements_of
from app.control_plane.validation import (
    check_agent,
    check_scripted,
    check_template,
    earlier_stages,
    variables_of,
)
from app.kernel.document import Frozen
from app.kernel.errors import NotFoundError
from app.kernel.release import (
    GATEWAY,
    AgentBundle,
    Policy,
    Price,
    Provider,
    Release,
    RemoteProvider,
    ScriptedProvider,
    WorkflowTemplate,
)
from app.kernel.tool_spec import Reads, ToolSpec

M = TypeVar("M", bound=Frozen)


class UnknownProviderError(NotFoundError):
    """No provider's document has that name."""

    code = "unknown_provider"


def newest_provider(documents: Documents, name: str) -> Provider:
    """The highest version of a provider. Raises UnknownProviderError."""
    versions = [document.model for (held, _), document in documents.providers.items() if held == name]
    if not versions:
        known = ", ".join(sorted({held for held, _ in documents.providers})) or "none"
        raise UnknownProviderError(f"There is no provider {name!r}.", f"Choose one of: {known}.")
    return max(versions, key=lambda provider: provider.version)


def compile_all(
    documents: Documents, tools: Mapping[str, ToolSpec], *, provider: str | None = None
) -> tuple[Release, ...]:
    """A release for every version of every workflow, by name and version.

    Args:
        provider: answers for every agent, in its newest version and alone; None leaves each agent its own.

    Raises:
        DocumentError: with the problems of all workflows together.
        UnknownProviderError: no document has the provider's name.
    """
    chosen = newest_provider(documents, provider) if provider is not None else None
    problems: set[Problem] = set()
    releases = []
    for name, version in sorted(documents.workflows):
        try:
            releases.append(compile_release(documents, name, version, tools, provider=chosen))
        except DocumentError as error:
            problems.update(error.problems)
    if problems:
        raise DocumentError(list(problems))
    return tuple(releases)


def compile_release(
    documents: Documents,
    workflow: str,
    version: int,
    tools: Mapping[str, ToolSpec],
    *,
    provider: Provider | None = None,
) -> Release:
    """The release of one version of one workflow; with ``provider``, that one answers for every agent.

    Raises:
        DocumentError: with every problem of the template and of the documents that it names.
    """
    document = documents.workflows.get((workflow, version))
    if document is None:
        known = ", ".join(f"{name}/{number}" for name, number in sorted(documents.workflows)) or "none"
        place = f"workflows/{workflow}/{version}"
        raise DocumentError([Problem(place, "", "there is no such workflow", f"Known: {known}.")])
    return _Compilation(documents, document, tools, provider).release()


class _Compilation:
    """One workflow's way to a release."""

    def __init__(
        self,
        documents: Documents,
        document: Document[WorkflowTemplate],
        tools: Mapping[str, ToolSpec],
        provider: Provider | None,
    ) -> None:
        self._documents = documents
        self._provider = provider
        self._template = document.model
        self._path = f"{document.path}/workflow.yaml"
        self._tools = tools
        self._problems = check_template(document.model, self._path, tools)

    def release(self) -> Release:
        agents = self._agents()
        providers = self._providers(agents)
        prices = self._prices(providers)
        policy = self._policy(agents)
        if self._problems or policy is None:
            raise DocumentError(sorted(set(self._problems)))
        used = {lookup.tool for lookup in self._template.lookups}
        used |= {action.tool for action in self._template.actions}
        used |= {called.tool for agent in agents.values() for called in agent.tools}
        return Release(
            template=self._template,
            agents=agents,
            providers=providers,
            policy=policy,
            tools={name: self._tools[name] for name in sorted(used)},
            prices=prices,
            gateway=GATEWAY,
            reads=self._reads(),
        )

    def _reads(self) -> dict[str, dict[str, Reads]]:
        decision = self._template.decision
        return {
            action.name: {
                name: reads_of(expression, decision) for name, expression in action.arguments.items()
            }
            for action in self._template.actions
        }

    def _agents(self) -> dict[str, AgentBundle]:
        found = {}
        ancestors = earlier_stages(self._template)
        for name, version in sorted(self._template.agent_versions.items()):
            document = self._find(
                self._documents.agents, "agent", name, version, self._path, f"agent_versions.{name}"
            )
            if document is None:
                continue
            found[name] = _answered_by(self._provider, document.model)
            readable = {
                stage.name: variables_of(self._template, self._tools, ancestors[stage.name])
                for stage in self._template.stages
                if name in stage.agents
            }
            path = f"{document.path}/agent.yaml"
            self._problems += check_agent(document.model, path, readable)
            self._problems += check_agent_tools(document.model, path, self._template, self._tools)
        return found

    def _providers(self, agents: Mapping[str, AgentBundle]) -> dict[str, Provider]:
        found: dict[str, Provider] = {}
        for agent in agents.values():
            path = f"agents/{agent.name}/{agent.version}/agent.yaml"
            if set(agent.provider_versions) != set(agent.providers):
                reason = "it names other providers than `providers` does"
                self._note(path, "provider_versions", reason, "Give each provider one version.")
            for name in agent.providers:
                version = agent.provider_versions.get(name, 0)
                if version:
                    self._add_provider(found, name, version, path)
            if self._provider is None:
                # Whoever chooses one provider for every agent chooses what it cannot do, too.
                self._problems += check_first_provider(agent, path, found)
        for name, provider in found.items():
            if isinstance(provider, ScriptedProvider):
                users = {key: agent for key, agent in agents.items() if name in agent.providers}
                place = f"providers/{name}/{provider.version}"
                self._problems += check_scripted(provider, place, users, self._template)
                found[name] = _only_rules_of(provider, users)
        return found

    def _add_provider(self, found: dict[str, Provider], name: str, version: int, path: str) -> None:
        field = f"provider_versions.{name}"
        document = self._find(self._documents.providers, "provider", name, version, path, field)
        if document is None:
            return
        if name in found and found[name].version != version:
            reason = f"another agent of this workflow uses version {found[name].version}"
            self._note(path, field, reason, "Use one version in one workflow.")
            return
        found[name] = document.model

    def _prices(self, providers: Mapping[str, Provider]) -> dict[str, Price]:
        """By provider; one without a price is a problem only where money is counted."""
        found: dict[str, Price] = {}
        for name, provider in providers.items():
            if not isinstance(provider, RemoteProvider):
                continue
            price = price_of(provider)
            if price is not None:
                found[name] = price
            elif counts_money(self._template):
                place = f"providers/{name}/{provider.version}/provider.yaml"
                reason = f"nobody says what {provider.model!r} costs, and the workflow has a budget in usd"
                self._note(place, "price", reason, "Write its `price`, or a `price_provider` that has it.")
        return found

    def _policy(self, agents: Mapping[str, AgentBundle]) -> Policy | None:
        template = self._template
        document = self._find(
            self._documents.policies, "policy", template.policy, template.policy_version, self._path, "policy"
        )
        if document is None:
            return None
        reasons = check_policy(document.model, self._tools)
        for reason in reasons:
            self._note(f"{document.path}/policy.cedar", "", reason, "Correct the policy.")
        if not reasons:
            statements = statements_of(document.model)
            self._problems += check_combination(template, agents, self._tools, statements, self._path)
        return document.model

    def _find(
        self,
        group: Mapping[tuple[str, int], Document[M]],
        kind: str,
        name: str,
        version: int,
        path: str,
        field: str,
    ) -> Document[M] | None:
        document = group.get((name, version))
        if document is None:
            known = ", ".join(f"{key}/{number}" for key, number in sorted(group)) or "none"
            reason = f"there is no {kind} {name!r} of version {version}"
            self._note(path, field, reason, f"Known: {known}.")
        return document

    def _note(self, path: str, field: str, reason: str, remedy: str) -> None:
        self._problems.append(Problem(path, field, reason, remedy))


def _answered_by(provider: Provider | None, agent: AgentBundle) -> AgentBundle:
    """The agent with this provider in place of its own."""
    if provider is None:
        return agent
    chain = {"providers": (provider.name,), "provider_versions": {provider.name: provider.version}}
    return agent.model_copy(update=chain)


def _only_rules_of(provider: ScriptedProvider, agents: Mapping[str, AgentBundle]) -> ScriptedProvider:
    """The rules that can answer here: those of another workflow's agents must not change this digest."""
    rules = tuple(rule for rule in provider.rules if rule.agent in agents)
    return provider.model_copy(update={"rules": rules})
