"""The scripted provider: deterministic answers chosen by rules over an agent's inputs, shipped as data.

It is the default of demo and tests, and it costs microseconds: nothing leaves the process.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import cel

from app.data_plane.models import ModelAnswer, ModelRequest, ProviderUnavailableError
from app.kernel.errors import PermanentError
from app.kernel.release import ScriptedFailure, ScriptedProvider
from interlock.canonical import JsonObject, canonical_bytes

# What the CEL library raises while it evaluates; an error is the value of the condition, and not true.
_EVALUATION_ERRORS = (LookupError, TypeError, ValueError, ArithmeticError, RuntimeError)

_BYTES_PER_TOKEN = 4


class NoScriptedAnswerError(PermanentError):
    """No rule of the scripted provider holds for the agent and its inputs."""

    code = "no_scripted_answer"


class InvalidScriptError(PermanentError):
    """A rule of the scripted provider is not CEL."""

    code = "invalid_script"


@dataclass(frozen=True, slots=True)
class _Rule:
    condition: cel.Program | None
    text: str
    failure: ScriptedFailure | None
    delay_seconds: float

    def holds(self, context: cel.Context) -> bool:
        if self.condition is None:
            return True
        try:
            return self.condition.execute(context) is True
        except _EVALUATION_ERRORS:
            return False


class ScriptedModel:
    """Answers with the first rule of the asking agent whose condition holds over ``inputs``.

    Raises:
        InvalidScriptError: a rule's condition does not compile.
    """

    def __init__(self, document: ScriptedProvider) -> None:
        self._name = document.name
        self._model = document.model
        rules: dict[str, list[_Rule]] = defaultdict(list)
        for rule in document.rules:
            condition = None if rule.when is None else _compile(document.name, rule.when)
            rules[rule.agent].append(_Rule(condition, _text(rule.answer), rule.failure, rule.delay_seconds))
        self._rules = dict(rules)

    async def ask(self, request: ModelRequest) -> ModelAnswer:
        """The scripted answer, after the rule's delay; tokens are counted as one for every four bytes.

        Raises:
            NoScriptedAnswerError: no rule holds.
            ProviderUnavailableError: the rule says so.
        """
        # One conversion for all rules: it costs twenty times an evaluation.
        context = cel.Context(variables={"inputs": request.inputs})
        for rule in self._rules.get(request.agent, ()):
            if rule.holds(context):
                if rule.delay_seconds > 0:
                    await asyncio.sleep(rule.delay_seconds)
                if rule.failure is not None:
                    raise self._failed(rule.failure)
                return self._answer(request, rule.text)
        raise NoScriptedAnswerError(
            f"The scripted provider {self._name!r} has no rule that holds for the agent {request.agent!r}.",
            "Add a rule for that agent without a condition, as the last one.",
        )

    def _failed(self, failure: ScriptedFailure) -> ProviderUnavailableError:
        return ProviderUnavailableError(
            failure.code,
            f"The scripted provider {self._name!r} fails here because its rule says so.",
            "It rehearses an outage: look at how the workflow ends, or take the rule's `failure` away.",
            retry_after_seconds=failure.retry_after_seconds,
            # As a real one: what timed out may have been worked on.
            may_be_billed=failure.code == "provider_timed_out",
        )

    def _answer(self, request: ModelRequest, text: str) -> ModelAnswer:
        asked = len(request.instructions.encode()) + len(canonical_bytes(request.inputs))
        return ModelAnswer(
            text=text,
            model=self._model,
            input_tokens=asked // _BYTES_PER_TOKEN + 1,
            output_tokens=len(text.encode()) // _BYTES_PER_TOKEN + 1,
        )


def _compile(provider: str, expression: str) -> cel.Program:
    try:
        return cel.compile(expression)
    except ValueError as error:
        raise InvalidScriptError(
            f"A rule of the scripted provider {provider!r} is not CEL: {expression!r}.",
            "Correct the expression; it sees one variable, inputs.",
        ) from error


def _text(answer: JsonObject | str) -> str:
    return canonical_bytes(answer).decode() if isinstance(answer, Mapping) else answer
