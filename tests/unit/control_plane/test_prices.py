"""Guards: a release says what its models cost, the same on every machine and day, and money is never guessed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from app.control_plane.compile import compile_release
from app.control_plane.documents import Document, DocumentKey, read_documents
from app.control_plane.prices import price_of
from app.control_plane.problems import DocumentError, Problem
from app.data_plane.tools import shipped_tools
from app.kernel.release import (
    AnthropicProvider,
    DocumentedPrice,
    OpenAICompatibleProvider,
    Price,
    Provider,
    Release,
)

WORKFLOW = "workflows/issue-triage/1/workflow.yaml"


def provider(**fields: object) -> OpenAICompatibleProvider:
    return OpenAICompatibleProvider.model_validate(
        {
            "kind": "openai_compatible",
            "name": "main",
            "version": 3,
            "model": "gpt-4o-mini",
            "base_url": "env:URL",
            "api_key": "env:KEY",
            **fields,
        }
    )


def release_with(folder: Path, chosen: Provider) -> Release:
    documents = read_documents(folder)
    key = DocumentKey("provider", chosen.name, chosen.version)
    held = {**documents.providers, (chosen.name, chosen.version): Document(key, str(key), chosen)}
    documents = dataclasses.replace(documents, providers=held)
    return compile_release(documents, "issue-triage", 1, shipped_tools(), provider=chosen)


def with_budget(folder: Path, budget: str) -> None:
    path = folder / WORKFLOW
    path.write_text(path.read_text() + f"\nbudget: {budget}\n")


def test_the_documents_own_price_comes_first_and_is_rounded_up_to_micro_dollars() -> None:
    own = DocumentedPrice(input_usd="0.15", output_usd="0.000000001")
    assert price_of(provider(price=own)) == Price(
        input_per_million=150_000, output_per_million=1, source="providers/main/3"
    )


def test_else_it_is_the_one_that_genai_prices_came_with() -> None:
    found = price_of(provider(price_provider="openai"))
    assert found is not None
    assert (found.input_per_million, found.output_per_million) == (150_000, 600_000)
    assert found.source.startswith("genai-prices/")
    assert price_of(provider()) == found, "without a provider's name, whoever has the model"


def test_prices_from_the_network_change_no_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library may replace its own prices while a process runs."""
    from genai_prices import data_snapshot

    before = price_of(provider())
    empty = data_snapshot.DataSnapshot(providers=[], from_auto_update=True)
    monkeypatch.setattr(data_snapshot, "_custom_snapshot", empty)
    assert price_of(provider()) == before


@pytest.mark.parametrize("fields", [{"model": "my-own-model"}, {"price_provider": "nobody"}])
def test_a_model_that_nobody_knows_has_no_price(fields: dict[str, str]) -> None:
    assert price_of(provider(**fields)) is None


@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_the_shipped_providers_models_have_prices(folder: Path, name: str) -> None:
    newest = max(version for held, version in read_documents(folder).providers if held == name)
    chosen = read_documents(folder).providers[name, newest].model
    assert isinstance(chosen, OpenAICompatibleProvider | AnthropicProvider)
    assert list(release_with(folder, chosen).prices) == [name]


def test_a_price_decides_and_so_it_is_in_the_digest(folder: Path) -> None:
    cheap, dear = (
        release_with(folder, provider(price=DocumentedPrice(input_usd=usd, output_usd="1")))
        for usd in ("1", "2")
    )
    assert cheap.digest != dear.digest
    assert dear.prices["main"].input_per_million == 2_000_000


@pytest.mark.parametrize("budget", ["{usd: '1.50'}", "{tokens: 10, usd: '0'}"])
def test_where_money_is_counted_a_provider_without_a_price_is_refused(folder: Path, budget: str) -> None:
    with_budget(folder, budget)
    with pytest.raises(DocumentError) as refused:
        release_with(folder, provider(model="my-own-model"))
    (problem,) = refused.value.problems
    assert problem == Problem(
        "providers/main/3/provider.yaml",
        "price",
        "nobody says what 'my-own-model' costs, and the workflow has a budget in usd",
        "Write its `price`, or a `price_provider` that has it.",
    )
    assert release_with(folder, provider()).prices


@pytest.mark.parametrize("level", ["run_budget", "call_budget"])
def test_a_stages_budgets_count_money_too(folder: Path, level: str) -> None:
    path = folder / WORKFLOW
    text = path.read_text()
    path.write_text(text.replace("    aggregation:", f"    {level}: {{usd: '1'}}\n    aggregation:", 1))
    with pytest.raises(DocumentError, match="nobody says"):
        release_with(folder, provider(model="my-own-model"))


def test_where_none_is_counted_the_price_is_absent(folder: Path) -> None:
    with_budget(folder, "{tokens: 100000}")
    assert release_with(folder, provider(model="my-own-model")).prices == {}
