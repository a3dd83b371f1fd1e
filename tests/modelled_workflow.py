"""A workflow of one stage whose agents ask models over HTTP, in a chain of providers; it does nothing in the world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from app.data_plane.ingestion.accept import Submission
from app.kernel.release import (
    AgentBundle,
    AnthropicProvider,
    BreakerPolicy,
    DocumentedPrice,
    OpenAICompatibleProvider,
    Policy,
    Price,
    Provider,
    Release,
    WorkflowTemplate,
)
from config.settings import CHECKOUT
from interlock.canonical import JsonObject
from interlock.envelope import Envelope
from tests.branching_workflow import stage

MODEL = "some-model-1"
NEVER_OPENS = BreakerPolicy(failures=1000, open_seconds=1)
PRICE = DocumentedPrice(input_usd="1", output_usd="4")
PRICE_TABLE = Price(input_per_million=1_000_000, output_per_million=4_000_000, source="document")
KEY = {"TEST_MODEL_KEY": "k3y", "NO_PROXY": "127.0.0.1"}
"""The environment of whoever asks."""


def openai(name: str, url: str, breaker: BreakerPolicy = NEVER_OPENS) -> OpenAICompatibleProvider:
    """A provider at this address."""
    return OpenAICompatibleProvider(
        kind="openai_compatible",
        name=name,
        version=1,
        model=MODEL,
        base_url=url,
        api_key="env:TEST_MODEL_KEY",
        breaker=breaker,
        price=PRICE,
    )


def anthropic(name: str, url: str, breaker: BreakerPolicy = NEVER_OPENS) -> AnthropicProvider:
    """A provider at this address."""
    return AnthropicProvider(
        kind="anthropic",
        name=name,
        version=1,
        model=MODEL,
        base_url=url,
        api_key="env:TEST_MODEL_KEY",
        breaker=breaker,
        price=PRICE,
    )


def modelled_release(
    providers: Sequence[Provider],
    *,
    agents: Sequence[str] = ("alpha",),
    name: str = "modelled",
    agent: Mapping[str, object] | None = None,
    stage_fields: Mapping[str, object] | None = None,
    template: Mapping[str, object] | None = None,
) -> Release:
    """Agents that ask these providers in order; further fields of the agents, the stage and the template."""
    versions = {provider.name: provider.version for provider in providers}
    one = {
        "version": 1,
        "instructions": "Say how high the level is.",
        "inputs": {"title": "event.issue.title"},
        "providers": tuple(versions),
        "provider_versions": versions,
        "timeout_seconds": 5.0,
        "max_output_tokens": 50,
        **(agent or {}),
    }
    stage_of = stage(
        "classify",
        tuple(agents),
        **{"fallback": {"level": "low"}, "timeout_seconds": 20.0, **(stage_fields or {})},
    )
    return Release(
        template=WorkflowTemplate.model_validate(
            {
                "name": name,
                "version": 1,
                "subscribes": ("dev.interlock.issue",),
                "stages": (stage_of,),
                "decision": {"level": "stages.classify.level"},
                "reason": '"it is " + decision.level',
                "policy": name,
                "policy_version": 1,
                "agent_versions": dict.fromkeys(agents, 1),
                **(template or {}),
            }
        ),
        agents={agent_name: AgentBundle.model_validate({**one, "name": agent_name}) for agent_name in agents},
        providers={provider.name: provider for provider in providers},
        policy=Policy(name=name, version=1, cedar="permit (principal, action, resource);"),
        tools={},
        prices={
            provider.name: PRICE_TABLE
            for provider in providers
            if provider.kind in {"openai_compatible", "anthropic"}
        },
    )


def issues(names: Sequence[str]) -> list[Submission]:
    """One event for each name."""
    return [Submission(_issue(name)) for name in names]


def _issue(name: str) -> Envelope:
    data: JsonObject = {
        "kind": "issue",
        "number": 7,
        "title": "It broke",
        "body": "",
        "author": "ada",
        "state": "open",
    }
    return Envelope(
        id=name,
        source="/tests",
        type="dev.interlock.issue",
        tenantid="demo",
        dataschema="urn:interlock:schema:issue:2",
        data=data,
    )


def tenant_with_budget(folder: Path, budget: str) -> Path:
    """A folder of documents whose one tenant is the demo's with this budget (a YAML object)."""
    document = folder / "documents" / "tenants" / "demo" / "1" / "tenant.yaml"
    document.parent.mkdir(parents=True)
    shipped = (CHECKOUT / "config" / "tenants" / "demo" / "1" / "tenant.yaml").read_text()
    document.write_text(f"{shipped}budget: {budget}\n")
    return folder / "documents"
