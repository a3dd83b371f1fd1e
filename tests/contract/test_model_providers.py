"""Guards: whatever a model's server does, each provider gives the same answer, or the same error with its fate."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from app.adapters.providers.open import PooledProviders
from app.adapters.providers.remote import MAX_ANSWER_BYTES
from app.adapters.secrets import ReferencedSecrets
from app.control_plane.compile import compile_release
from app.control_plane.documents import read_documents
from app.data_plane.models import (
    Correction,
    ModelAnswer,
    ModelRequest,
    ProviderRefusedError,
    ProviderUnavailableError,
)
from app.data_plane.tools import shipped_tools
from app.kernel.errors import Fate, InterlockError
from app.kernel.release import AnthropicProvider, OpenAICompatibleProvider, Release, RemoteProvider
from config.settings import CHECKOUT
from tests.eventually import assert_eventually
from tests.model_faults import (
    BEHAVIOURS,
    OTHER_MODEL,
    REFUSAL,
    RETRY_AFTER_SECONDS,
    Asked,
    Behaviour,
    FaultyModels,
    Protocol,
    faulty_models,
    nobody_listening,
)

REQUEST = ModelRequest(
    agent="triager",
    model="some-model-1",
    instructions="Label the issue.",
    inputs={"title": "It crashes"},
    schema={"type": "object"},
    temperature=0.5,
    max_output_tokens=100,
    timeout_seconds=10.0,
)
IMPATIENT = replace(REQUEST, timeout_seconds=0.5)
TEXT = '{"answer": 42}'
PROTOCOLS: tuple[Protocol, ...] = ("openai", "anthropic")


@dataclass(frozen=True)
class Fails:
    """An expected error."""

    code: str
    fate: Fate = Fate.TRANSIENT
    billed: bool = False
    wait: float | None = None
    tokens: bool = False


EXPECTED: dict[Behaviour, str | Fails] = {
    "answers": TEXT,
    "uncounted": TEXT,
    "in_parts": TEXT,
    "busy": Fails("provider_busy"),
    "busy_for_30_s": Fails("provider_busy", wait=RETRY_AFTER_SECONDS),
    "busy_for_1_s": Fails("provider_busy", wait=1),
    "fails": Fails("provider_failed"),
    "down": Fails("provider_busy"),
    "overloaded": Fails("provider_busy"),
    "hangs": Fails("provider_timed_out", billed=True),
    "drips": Fails("provider_timed_out", billed=True),
    "cuts": Fails("provider_failed", billed=True),
    "closes": Fails("provider_failed", billed=True),
    "empty_body": Fails("provider_malformed", billed=True),
    "empty_text": "",
    "not_json": Fails("provider_malformed", billed=True),
    "other_protocol": Fails("provider_malformed", billed=True),
    "wrong_schema": '{"no_such_field": [1, 2, 3]}',
    "five_megabytes": '{"why": "' + "x" * 5 * 1024 * 1024 + '"}',
    "endless": Fails("provider_malformed", billed=True),
    "endless_error": Fails("provider_failed"),
    "compressed": Fails("provider_malformed", billed=True),
    "other_model": TEXT,
    "refusal_text": REFUSAL,
    "declines": Fails("provider_no_text", Fate.PERMANENT, tokens=True),
    "stopped": Fails("provider_no_text", Fate.PERMANENT, tokens=True),
    "truncated": TEXT[: len(TEXT) // 2],
}


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(scope="module")
def any_release() -> Release:
    """Whose providers are replaced: the rest of it does not matter here."""
    documents = read_documents(CHECKOUT / "config")
    return compile_release(documents, "issue-triage", 1, shipped_tools())


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> Protocol:
    found: Protocol = request.param
    return found


def document(protocol: Protocol) -> RemoteProvider:
    common = {
        "name": "main",
        "version": 1,
        "model": "some-model-1",
        "api_key": "env:KEY",
        "base_url": "env:URL",
    }
    if protocol == "anthropic":
        return AnthropicProvider.model_validate({"kind": "anthropic", **common})
    return OpenAICompatibleProvider.model_validate({"kind": "openai_compatible", **common})


Ask = Callable[[ModelRequest], ModelAnswer]


def asking(release: Release, protocol: Protocol, url: str) -> Ask:
    """Asks over the wiring that workers use."""
    secrets = ReferencedSecrets({"URL": url, "KEY": "k3y"}, Path("/nonexistent"))
    provider = PooledProviders(secrets).open(
        release.model_copy(update={"providers": {"main": document(protocol)}}), "main"
    )
    return lambda request: asyncio.run(provider.ask(request))


def failing(ask: Ask, request: ModelRequest = REQUEST) -> InterlockError:
    with pytest.raises(InterlockError) as raised:
        ask(request)
    assert "k3y" not in str(raised.value)
    assert raised.value.remedy
    return raised.value


def test_every_behaviour_has_its_expected_end() -> None:
    assert set(EXPECTED) == set(BEHAVIOURS)


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_what_a_server_does_is_an_answer_or_an_error_with_its_fate(
    any_release: Release, protocol: Protocol, behaviour: Behaviour
) -> None:
    with faulty_models(behaviour, TEXT) as models:
        ask = asking(any_release, protocol, models.url(protocol))
        expected = EXPECTED[behaviour]
        if isinstance(expected, Fails):
            request = IMPATIENT if behaviour in ("hangs", "drips") else REQUEST
            _check_failure(failing(ask, request), expected, models)
        else:
            answer = ask(REQUEST)
            (asked,) = models.history
            model = OTHER_MODEL if behaviour == "other_model" else "some-model-1"
            counted = behaviour != "uncounted"
            tokens = (asked.input_tokens, asked.output_tokens) if counted else (0, 0)
            assert answer == ModelAnswer(expected, model, *tokens, counted=counted)
        assert len(models.history) == 1, "one question is one request"


def test_a_re_ask_shows_the_answer_and_why_it_was_none(any_release: Release, protocol: Protocol) -> None:
    """In the order of a conversation: the data, the answer as the model's own, and what is wrong with it."""
    correction = Correction('{"label": 7}', "label", "no such label")
    with faulty_models("answers", TEXT) as models:
        asking(any_release, protocol, models.url(protocol))(replace(REQUEST, correction=correction))
        (asked,) = models.history
    messages = asked.body["messages"]
    assert isinstance(messages, list)
    told = [message for message in messages if message["role"] != "system"]
    assert [message["role"] for message in told] == ["user", "assistant", "user"]
    assert told[1]["content"] == correction.answer
    assert "label" in told[2]["content"]
    assert correction.reason in told[2]["content"]


def _check_failure(error: InterlockError, expected: Fails, models: FaultyModels) -> None:
    assert (error.code, error.fate) == (expected.code, expected.fate)
    if isinstance(error, ProviderUnavailableError):
        assert (error.may_be_billed, error.retry_after_seconds) == (expected.billed, expected.wait)
    assert isinstance(error, ProviderRefusedError) == (expected.fate is Fate.PERMANENT)
    if isinstance(error, ProviderRefusedError):
        (asked,) = models.history
        assert error.tokens == (asked.input_tokens, asked.output_tokens)
        assert all(error.tokens) == expected.tokens


def test_a_refused_connection_costs_nothing_and_may_be_tried_again(
    any_release: Release, protocol: Protocol
) -> None:
    with nobody_listening() as url:
        error = failing(asking(any_release, protocol, url))
    assert isinstance(error, ProviderUnavailableError)
    assert (error.code, error.may_be_billed) == ("provider_unreachable", False)


@pytest.mark.parametrize("behaviour", ["endless", "endless_error"])
def test_an_answer_without_an_end_is_left_soon_after_its_limit(
    any_release: Release, protocol: Protocol, behaviour: Behaviour
) -> None:
    with faulty_models(behaviour) as models:
        failing(asking(any_release, protocol, models.url(protocol)))
        (asked,) = models.history
        assert_eventually(lambda: asked.ending == "closed_by_client", within=5)
    assert asked.sent < 4 * MAX_ANSWER_BYTES, "what is more than the limit lay in buffers on its way"


@pytest.mark.parametrize("behaviour", ["hangs", "drips"])
def test_a_server_that_is_left_sees_its_connection_close(
    any_release: Release, protocol: Protocol, behaviour: Behaviour
) -> None:
    with faulty_models(behaviour) as models:
        failing(asking(any_release, protocol, models.url(protocol)), IMPATIENT)
        assert_eventually(lambda: models.history[0].ending == "closed_by_client", within=5)


def test_each_question_brings_the_key_and_the_prompt_and_no_hidden_retry(
    any_release: Release, protocol: Protocol
) -> None:
    with faulty_models() as models:
        asking(any_release, protocol, models.url(protocol))(REQUEST)
    (asked,) = models.history
    assert asked.protocol == protocol
    assert "authorization: bearer k3y\r\n" in asked.head.lower()
    assert asked.system.startswith("Label the issue.")
    assert '"It crashes"' in asked.user
    assert (asked.model, asked.body["max_tokens"]) == ("some-model-1", 100)


def test_questions_of_one_event_loop_share_connections(any_release: Release, protocol: Protocol) -> None:
    secrets = {"KEY": "k3y"}

    async def ask_often(models: FaultyModels) -> None:
        secrets["URL"] = models.url(protocol)
        release = any_release.model_copy(update={"providers": {"main": document(protocol)}})
        providers = PooledProviders(ReferencedSecrets(secrets, Path("/nonexistent")))
        for _ in range(5):
            await providers.open(release, "main").ask(REQUEST)

    with faulty_models() as models:
        asyncio.run(ask_often(models))
    assert (len(models.history), models.connections) == (5, 1)


def test_an_address_that_changed_counts_from_the_next_question_on(
    any_release: Release, protocol: Protocol
) -> None:
    environment = {"KEY": "k3y"}
    release = any_release.model_copy(update={"providers": {"main": document(protocol)}})
    provider = PooledProviders(ReferencedSecrets(environment, Path("/nonexistent"))).open(release, "main")

    async def ask_both(first: FaultyModels, second: FaultyModels) -> None:
        for models in (first, second):
            environment["URL"] = models.url(protocol)
            await provider.ask(REQUEST)

    with faulty_models() as first, faulty_models() as second:
        asyncio.run(ask_both(first, second))
        assert (len(first.history), len(second.history)) == (1, 1)


def test_an_address_that_is_none_is_refused_by_its_reference(
    any_release: Release, protocol: Protocol
) -> None:
    error = failing(asking(any_release, protocol, "localhost:8080"))
    assert (error.code, error.fate) == ("provider_refused", Fate.PERMANENT)
    assert "env:URL" in str(error)


def test_an_absent_key_is_said_by_its_reference_and_nothing_is_sent(
    any_release: Release, protocol: Protocol
) -> None:
    release = any_release.model_copy(update={"providers": {"main": document(protocol)}})
    with faulty_models() as models:
        secrets = ReferencedSecrets({"URL": models.url(protocol)}, Path("/nonexistent"))
        provider = PooledProviders(secrets).open(release, "main")
        error = failing(lambda request: asyncio.run(provider.ask(request)))
    assert (error.code, models.history) == ("secret_unavailable", [])
    assert "env:KEY" in str(error)


def test_a_key_that_no_header_can_hold_is_refused_by_its_reference(
    any_release: Release, protocol: Protocol
) -> None:
    release = any_release.model_copy(update={"providers": {"main": document(protocol)}})
    with faulty_models() as models:
        secrets = ReferencedSecrets(
            {"URL": models.url(protocol), "KEY": "k3y\nand more"}, Path("/nonexistent")
        )
        provider = PooledProviders(secrets).open(release, "main")
        error = failing(lambda request: asyncio.run(provider.ask(request)))
    assert (error.code, models.history) == ("provider_credentials", [])
    assert "env:KEY" in str(error)


def test_a_whole_workflow_can_have_each_agent_fail_in_its_own_way(
    any_release: Release, protocol: Protocol
) -> None:
    """The server chooses for each request, by what the agent is told."""

    def choose(asked: Asked) -> Behaviour:
        return "down" if "Label" in asked.system else "answers"

    with faulty_models(choose, lambda asked: asked.user) as models:
        ask = asking(any_release, protocol, models.url(protocol))
        assert failing(ask).code == "provider_busy"
        assert '"It crashes"' in ask(replace(REQUEST, instructions="Judge the change.")).text
    assert [asked.behaviour for asked in models.history] == ["down", "answers"]
