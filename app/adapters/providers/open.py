"""Makes model providers from a release's documents, one for each document and process."""

from __future__ import annotations

import threading

from app.adapters.secrets import Secrets
from app.data_plane.models import ModelProvider
from app.kernel.errors import DefectError
from app.kernel.release import (
    AnthropicProvider,
    OpenAICompatibleProvider,
    Provider,
    Release,
    ScriptedProvider,
)
from interlock.canonical import digest


class PooledProviders:
    """Opens providers and keeps them, so that releases with the same document share its connections.

    Args:
        secrets: what the providers' references are resolved with.
    """

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._by_release: dict[tuple[str, str], ModelProvider] = {}
        self._by_document: dict[str, ModelProvider] = {}
        self._lock = threading.Lock()

    def open(self, release: Release, name: str) -> ModelProvider:
        """The provider of that name in ``release``.

        Raises:
            DefectError: the release holds no such provider, which publishing should have refused.
        """
        found = self._by_release.get((release.digest, name))
        if found is not None:
            return found
        document = release.providers.get(name)
        if document is None:
            raise DefectError(
                f"The release {release.digest} names the provider {name!r} and does not hold it.",
                "Publish the workflow again; if it stays so, report it.",
            )
        with self._lock:
            key = digest(document.model_dump(mode="json"))
            provider = self._by_document.get(key) or self._make(document)
            self._by_document[key] = provider
            self._by_release[release.digest, name] = provider
        return provider

    def _make(self, document: Provider) -> ModelProvider:
        # Only here: a process pays for the libraries of those providers alone that its releases ask.
        if isinstance(document, ScriptedProvider):
            from app.adapters.providers.scripted import ScriptedModel

            return ScriptedModel(document)
        if isinstance(document, OpenAICompatibleProvider):
            from app.adapters.providers.openai_compatible import OpenAICompatibleModel

            return OpenAICompatibleModel(document, self._secrets)
        if isinstance(document, AnthropicProvider):
            from app.adapters.providers.anthropic_messages import AnthropicModel

            return AnthropicModel(document, self._secrets)
        from app.adapters.providers.local import LocalModel

        return LocalModel(document)
